"""When a program runs out of codes, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schemas.forecast import Assumption, Cause, Forecast
from services.console.pages.words import _

_CAUSES: Final[dict[Cause, str]] = {
    "maximum": _("Then it holds as many codes as it may ever have: raise the maximum before."),
    "stock": _("No more codes are made by themselves: generate or import some before."),
    "remote_too_slow": _("The remote service brings codes more slowly than they are asked for."),
    "expiry": _("More codes expire in the pool than are given: let them live longer, or keep fewer ready."),
    "validity_end": _("Its validity period ends before its codes do."),
}
_ASSUMES: Final[dict[Assumption, str]] = {
    "no_history": _("No code was given in the last four weeks, and none will be."),
    "short_history": _("The program is young: each week is as its few days so far."),
    "usual_weeks": _("Each week is as the last four weeks, with what the last day and hour changed."),
    "growth": _("Demand has grown for four weeks; it goes on to, less each week."),
    "decline": _("Demand has fallen for four weeks; it goes on to, less each week."),
    "filled": _("The pool is filled until the maximum is reached."),
    "reservations": _("Reserved codes go to their campaigns, beside the usual demand."),
    "remote_rate": _("The remote service delivers as fast as it did for its last requests."),
    "remote_rate_unknown": _("The remote service delivers at once, as no request has shown its speed yet."),
    "remote_down": _("The remote service fails now, and delivers nothing."),
    "shared": _("All profiles get one code, so that only its end matters."),
    "not_started": _("No code is given before the validity period begins."),
    "switched_off": _("The program is off and gives no codes."),
    "two_years": _("Nothing later than in two years is foreseen."),
}


def cause_in_words(cause: str) -> str:
    """Why it runs out, and what to do."""
    return {str(one): words for one, words in _CAUSES.items()}.get(cause, cause)


@dataclass(frozen=True)
class RunsOutWords:
    """A forecast in words. `soon`: when it runs out at high demand, if that is sooner."""

    title: str
    at: datetime | None
    soon: datetime | None
    cause: str
    assumes: Sequence[str]


def words_of_forecast(found: Forecast) -> RunsOutWords:
    """The forecast in words."""
    usual, high = found.runs_out_at.p50, found.runs_out_at.p90
    if usual is None:
        title = _("Does not run out")
    else:
        title = _("Gives codes until") if found.cause == "validity_end" else _("Runs out")
    return RunsOutWords(
        title, usual, high if high != usual else None, "" if found.cause is None else _CAUSES[found.cause],
        [_ASSUMES[one] for one in found.assumes],
    )  # fmt: skip
