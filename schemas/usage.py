"""Workers, lag and usage as the HTTP API answers them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas.api import Page
from schemas.events import FALLBACKS_MAX, ShortName
from schemas.strict_model import StrictModel

Step = Literal["minute", "hour"]


class Worker(StrictModel):
    """A process of Codewell, as it reported itself within the last seconds.

    `state`: `lost` has not reported for 15 s without saying that it stops. `waiting_for`: what it waits for, with the
    reason; empty: it is ready. `counters`: rates (1/s), latencies (ms) and lag (records) since its report before.
    """

    id: str
    service: Literal["issuer", "generator", "console", "lifecycle"]
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    state: Literal["running", "stopping", "stopped", "lost"]
    ready: bool
    waiting_for: dict[str, str]
    counters: dict[str, float | dict[str, float] | None]


class Workers(StrictModel):
    """All workers, by service and age; those that stopped or are lost are listed for a while."""

    workers: list[Worker]


class Lag(StrictModel):
    """How far a group of consumers is behind on one topic, in records."""

    topic: str
    group: str
    lag: int


class Lags(StrictModel):
    """The lag of all groups, and how many letters each dead-letter topic holds, replayed and purged ones included.

    `read_at`: when Kafka answered.
    """

    read_at: datetime
    lags: list[Lag]
    dead_letters: dict[str, int]


class Attached(StrictModel):
    """Codes by the source of their requests."""

    campaign: int = 0
    scenario: int = 0
    person: int = 0


class Usage(StrictModel):
    """What a program gave. `reused`: answers with the code that the profile had already. `refused`: by reason.

    `returned`, `quarantined`, `voided`: codes that came back to the pool, and codes of failed sends that began to wait,
    and that were deleted after it.

    `fallbacks`: codes that its first, second and third fallback gave in its place; they are among `attached` or
    `reused` of those programs.

    Codes attached by an import or at their generation are not among them, nor is what commands do.
    """

    attached: Attached
    reused: int
    refused: dict[str, int]
    returned: int
    quarantined: int
    voided: int
    activated: int
    fallbacks: Annotated[list[int], Field(min_length=FALLBACKS_MAX, max_length=FALLBACKS_MAX)]


class UsageStep(Usage):
    """The usage of one minute or hour, which begins at `at`."""

    at: datetime


class ProgramUsage(StrictModel):
    """A program's usage by minute or hour, oldest first, and in total. Steps without any usage are left out.

    The last five seconds may be missing, as workers report that often.
    """

    program: ShortName
    step: Step
    start: Annotated[datetime, Field(description="Begin of the first step.")]
    end: Annotated[datetime, Field(description="End of the last step.")]
    steps: list[UsageStep]
    total: Usage


class UsageSummary(Usage):
    """A program's usage in the last 60 minutes, codes attached in each of them, oldest first, and today.

    Today began at midnight in CODEWELL_TIME_ZONE.
    """

    program: ShortName
    attached_by_minute: Annotated[list[int], Field(min_length=60, max_length=60)]
    attached_today: int


class UsageSummaries(Page[UsageSummary]):
    """A page of programs' usage, by name."""
