"""What the page of a program shows of its last hour and day, when it is opened and while it is open."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from schemas.overview import ExpectedLevel, StockLevel
from schemas.usage import ProgramUsage
from services.console.pages import refusal_words
from services.console.pages.refusal_words import Refused

# Rates are those of the last whole minutes.
_RATE_MINUTES: Final = 5


Level: TypeAlias = tuple[datetime, int | None, int | None, int | None]
"""When, the codes ready then, and those to expect: with the usual demand, with a high one."""


@dataclass(frozen=True)
class Rates:
    """Answers with a code by the source of the request (1/s), over the last minutes."""

    campaign: float
    scenario: float
    person: float


@dataclass(frozen=True)
class ProgramFigures:
    """`points`: the codes attached and the requests refused in each whole minute.

    `levels`: the pool's, now, and those to expect, with the usual demand and with a high one.
    """

    usage: ProgramUsage
    rates: Rates
    refusals: Sequence[Refused]
    points: Sequence[tuple[datetime, int, int]]
    levels: Sequence[Level]


def figures_of(
    usage: ProgramUsage,
    levels: Sequence[StockLevel],
    expected: Sequence[ExpectedLevel],
    pooled: int,
    now: datetime,
) -> ProgramFigures:
    """The figures, with `pooled` codes in the pool now."""
    shown: list[Level] = [(one.at, one.pooled, None, None) for one in levels]
    # The drawings of what is to expect begin where the pool is.
    shown.append((now, pooled, pooled, pooled) if expected else (now, pooled, None, None))
    shown += [(one.at, None, one.usual, one.high) for one in expected]
    return ProgramFigures(usage, _rates(usage), refusal_words.rows(usage.total.refused), _points(usage), shown)


def _rates(usage: ProgramUsage) -> Rates:
    # The last minute has not ended.
    until = usage.end.timestamp() - 60
    since = until - 60 * _RATE_MINUTES
    recent = [step.attached for step in usage.steps if since <= step.at.timestamp() < until]
    seconds = 60 * _RATE_MINUTES
    return Rates(
        sum(one.campaign for one in recent) / seconds,
        sum(one.scenario for one in recent) / seconds,
        sum(one.person for one in recent) / seconds,
    )


def _points(usage: ProgramUsage) -> list[tuple[datetime, int, int]]:
    """Minutes without any usage are there too."""
    by_minute = {step.at: step for step in usage.steps}
    points = []
    for at in range(int(usage.start.timestamp()), int(usage.end.timestamp()) - 60, 60):
        moment = datetime.fromtimestamp(at, UTC)
        step = by_minute.get(moment)
        if step is None:
            points.append((moment, 0, 0))
        else:
            attached = step.attached.campaign + step.attached.scenario + step.attached.person
            points.append((moment, attached, sum(step.refused.values())))
    return points
