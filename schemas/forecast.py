"""When a program runs out of codes, as the HTTP API answers it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas.events import ShortName
from schemas.strict_model import StrictModel

Cause = Literal["maximum", "stock", "remote_too_slow", "expiry", "validity_end"]
Assumption = Literal[
    "no_history",
    "short_history",
    "usual_weeks",
    "growth",
    "decline",
    "filled",
    "reservations",
    "remote_rate",
    "remote_rate_unknown",
    "remote_down",
    "shared",
    "not_started",
    "switched_off",
    "two_years",
]


class RunsOutAt(StrictModel):
    """When the program gives its last code: with its usual demand, and with a demand as high as one day in ten has.

    `p90` is never after `p50`. Null: not within two years.
    """

    p50: datetime | None
    p90: datetime | None


class Forecast(StrictModel):
    """When a program runs out of codes, and why.

    `cause`: `maximum`, it may have no more codes; `stock`, none are made by themselves; `remote_too_slow`, its remote
    service brings fewer than are asked for; `expiry`, more codes expire than are given, or the last ones do;
    `validity_end`, its validity period ends before. Null: it does not run out within two years. The words of `assumes`
    are in docs/forecast.md.
    """

    runs_out_at: RunsOutAt
    cause: Cause | None
    before_valid_until: Annotated[
        bool, Field(description="Whether it runs out at p50 while its validity period lasts, which may have no end.")
    ]
    assumes: list[Assumption]


class ProgramForecast(Forecast):
    """The forecast of one program of several."""

    program: ShortName
