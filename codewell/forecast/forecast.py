"""Forecasts of a batch of programs, from what the database says of them. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from codewell.forecast.demand import HISTORY_H, WEEK_H, Demand, Floats, History, demand_of
from codewell.forecast.walk import CAUSES, HORIZON_H, CodeSupply, Steps, levels, runs_out, steps_of
from schemas.forecast import Assumption, Cause, Forecast, RunsOutAt
from schemas.overview import ExpectedLevel

# A trend that is less than this share of the level a week is not worth a word.
_TREND_SHARE: Final = 0.05
# How long after its time a campaign still asks for what its reservation lacks.
_SENDING_H: Final = 24.0


class ProgramFacts(NamedTuple):
    """A program as one statement read it. Numbers are codes."""

    id: int
    is_on: bool
    valid_from: datetime | None
    valid_until: datetime | None
    kind: str
    """`template`, `remote` or `import`."""
    may_create: bool
    shared: bool
    mark: int
    room: int
    on_order: int
    life: timedelta | None
    """How long a new code can be given; None: for ever."""
    rate: float | None
    """How many codes an hour its remote service delivers; None: unknown, or it has none."""
    is_remote_down: bool
    shared_until: datetime | None
    """When the code that all share ends; None: never, or there is none."""
    has_shared: bool
    is_reserved: bool
    """Whether it has open reservations."""


class PooledCodes(NamedTuple):
    """Pooled codes of a program, of which none are reserved, that can be given until a moment; None: for ever."""

    program_id: int
    until: datetime | None
    codes: int


class Shortfall(NamedTuple):
    """Codes that a reservation lacks and its campaign takes from the pool, and when; None: unknown."""

    program_id: int
    send_at: datetime | None
    codes: int


class ForecastInput(NamedTuple):
    """A batch of programs at one moment. `history` has a row for each of `facts`."""

    now: datetime
    facts: Sequence[ProgramFacts]
    stock: Sequence[PooledCodes]
    shortfalls: Sequence[Shortfall]
    history: History


class _ProgramNumbers(NamedTuple):
    """What the arrays say of one program."""

    hours: float
    hours_at_high: float
    cause: int
    level: float
    trend: float
    hours_known: int


def forecasts_of(reading: ForecastInput) -> list[Forecast]:
    """The forecast of each program, in the order of `facts`."""
    demand, supply = demand_of(reading.history), supply_of(reading)
    usual, high = (runs_out(steps, supply) for steps in _both(reading, demand, supply))
    # As plain numbers at once: one by one takes longer than all that came before.
    columns = (usual.hours, np.minimum(usual.hours, high.hours), usual.cause, demand.level, demand.trend,
               demand.hours_known)  # fmt: skip
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [_forecast(reading, place, _ProgramNumbers(*row)) for place, row in enumerate(rows)]


def levels_of(reading: ForecastInput, hours: int) -> list[list[ExpectedLevel]]:
    """How many codes stand ready at the end of each of the next hours, for each program."""
    demand, supply = demand_of(reading.history), supply_of(reading)
    steps = _both(reading, demand, supply)
    usual, high = (np.rint(levels(one, supply, hours)).astype(np.int64) for one in steps)
    ends = [reading.now + timedelta(hours=float(end)) for end in steps[0].ends[:hours]]
    return [
        [ExpectedLevel(at=at, usual=int(one), high=int(other)) for at, one, other in zip(ends, *both, strict=True)]
        for both in zip(usual, high, strict=True)
    ]


def supply_of(reading: ForecastInput) -> CodeSupply:
    """The supply of the programs."""
    facts, now = reading.facts, reading.now
    place = {one.id: at for at, one in enumerate(facts)}
    pooled = np.zeros(len(facts))
    rows, left, codes = [], [], []
    for one in reading.stock:
        pooled[place[one.program_id]] += one.codes
        if one.until is not None:
            rows.append(place[one.program_id])
            left.append(max(0.0, _hours(one.until, now)))
            codes.append(float(one.codes))
    is_filled = np.array([one.may_create and one.kind != "import" for one in facts], bool)
    more = np.array([_more(one) for one in facts], float)
    return CodeSupply(
        pooled, (np.array(rows, np.int64), np.array(left), np.array(codes)), more, is_filled,
        np.array([one.mark for one in facts], float),
        np.array([np.inf if one.life is None else max(one.life / _HOUR, 1 / 60) for one in facts]),
        np.array([_rate(one) for one in facts], float),
        np.array([_starts_h(one, now) for one in facts], float),
        _extra(reading, place),
    )  # fmt: skip


_HOUR: Final = timedelta(hours=1)
_NEVER: Final = float("inf")


def _both(reading: ForecastInput, demand: Demand, supply: CodeSupply) -> tuple[Steps, Steps]:
    # A shared code is not used up by those who get it.
    gives = np.array([not one.shared for one in reading.facts], float)[:, None]
    usual, high = (steps_of(demand, reading.history.elapsed, supply, is_high=is_high) for is_high in (False, True))
    return usual._replace(demand=usual.demand * gives), high._replace(demand=high.demand * gives)


def _hours(moment: datetime, now: datetime) -> float:
    return (moment - now) / _HOUR


def _starts_h(one: ProgramFacts, now: datetime) -> float:
    """When the program begins to give codes (h)."""
    return 0.0 if one.valid_from is None else max(0.0, _hours(one.valid_from, now))


def _more(one: ProgramFacts) -> float:
    ordered = one.on_order if one.kind == "remote" else 0
    return float(ordered + (max(0, one.room) if one.may_create and one.kind != "import" else 0))


def _rate(one: ProgramFacts) -> float:
    if one.kind != "remote":
        return np.inf
    if one.is_remote_down:
        return 0.0
    return np.inf if one.rate is None else one.rate


def _extra(reading: ForecastInput, place: dict[int, int]) -> tuple[np.ndarray, Floats, Floats]:
    found = []
    for one in reading.shortfalls:
        at_h = 0.0 if one.send_at is None else _hours(one.send_at, reading.now)
        if at_h > -_SENDING_H:
            row = place[one.program_id]
            found.append((row, max(at_h, _starts_h(reading.facts[row], reading.now)), float(one.codes)))
    rows, at, codes = zip(*found, strict=True) if found else ((), (), ())
    return np.array(rows, np.int64), np.array(at, float), np.array(codes, float)


def _forecast(reading: ForecastInput, place: int, of: _ProgramNumbers) -> Forecast:
    one, now = reading.facts[place], reading.now
    if not one.is_on:
        return Forecast(
            runs_out_at=RunsOutAt(p50=None, p90=None), cause=None, before_valid_until=False, assumes=["switched_off"]
        )
    hours, soon = of.hours, of.hours_at_high
    cause: Cause | None = CAUSES[of.cause]
    if one.shared:
        hours, cause = _shared(reading, place)
        soon = hours
    hours, soon = (_NEVER if one_of > HORIZON_H else one_of for one_of in (hours, soon))
    ends = _NEVER if one.valid_until is None else _hours(one.valid_until, now)
    is_before = hours < ends
    is_never = min(hours, ends) == _NEVER
    if not is_before:
        cause = None if is_never else "validity_end"
    return Forecast(
        runs_out_at=RunsOutAt(p50=_moment(one, now, hours, ends), p90=_moment(one, now, soon, ends)), cause=cause,
        before_valid_until=is_before,
        assumes=_assumes(one, of, now, is_never=is_never),
    )  # fmt: skip


def _moment(one: ProgramFacts, now: datetime, hours: float, ends: float) -> datetime | None:
    if ends <= hours:
        return one.valid_until
    return None if hours == _NEVER else now + timedelta(seconds=round(hours * 3_600))


def _shared(reading: ForecastInput, place: int) -> tuple[float, Cause]:
    """When a program ends whose code is shared: with the last of its codes, which follow one another."""
    one, now = reading.facts[place], reading.now
    life_h = np.inf if one.life is None else one.life / _HOUR
    begin = hours = 0.0
    if one.has_shared:
        hours = np.inf if one.shared_until is None else max(0.0, _hours(one.shared_until, now))
    mine = [stock for stock in reading.stock if stock.program_id == one.id and stock.codes > 0]
    for stock in sorted(mine, key=lambda stock: (stock.until is None, stock.until or now)):
        until = np.inf if stock.until is None else _hours(stock.until, now)
        hours = max(hours, until)
    more = _more(one)
    if more > 0:
        hours += more * life_h
    if hours > begin:
        return hours, "expiry"
    return hours, "maximum" if one.may_create and one.kind != "import" else "stock"


def _assumes(one: ProgramFacts, of: _ProgramNumbers, now: datetime, *, is_never: bool) -> list[Assumption]:
    found: list[Assumption] = []
    if one.shared:
        found.append("shared")
    elif of.hours_known == 0 and of.level == 0:
        found.append("no_history")
    else:
        found.append("usual_weeks" if of.hours_known > HISTORY_H - WEEK_H else "short_history")
        if of.level > 0 and abs(of.trend) > _TREND_SHARE * of.level:
            found.append("growth" if of.trend > 0 else "decline")
    if one.valid_from is not None and one.valid_from > now:
        found.append("not_started")
    if _more(one) > 0:
        found.append("filled")
    if one.kind == "remote":
        known_rate: Assumption = "remote_rate_unknown" if one.rate is None else "remote_rate"
        found.append("remote_down" if one.is_remote_down else known_rate)
    if one.is_reserved:
        found.append("reservations")
    if is_never:
        found.append("two_years")
    return found
