"""When the supply of codes is used up: demand and supply, hour by hour and then day by day. Pure.

A batch of programs is computed together; arrays have a row for each of them. Hours are those from now on.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codewell.forecast.demand import WEEK_H, Demand, Floats, weekly_levels
from schemas.forecast import Cause

# By the hour for a week, then by the day for seven, then by the week, up to two years.
HOURS: Final = WEEK_H
_DAY_H: Final = 24
_DAY_WEEKS: Final = 7
_WEEKS: Final = 104
HORIZON_H: Final = _WEEKS * WEEK_H
_STEP_ENDS: Final = np.concatenate([
    np.arange(1, HOURS + 1),
    HOURS + _DAY_H * np.arange(1, 7 * _DAY_WEEKS + 1),
    WEEK_H * np.arange(_DAY_WEEKS + 2, _WEEKS + 1),
])  # fmt: skip
# In which of the next hours the rest of what the last hour had above the usual comes.
_FADING: Final = np.exp(-np.arange(8.0)) / np.exp(-np.arange(8.0)).sum()
# Of rounding, in codes.
_EPSILON: Final = 1e-6


class CodeSupply(NamedTuple):
    """What programs have and may get."""

    pooled: Floats
    """Codes that can be given now, none of them reserved."""
    expiring: tuple[NDArray[np.int64], Floats, Floats]
    """Pooled codes that can be given for a limited time: the program's row, the hours left, the codes."""
    more: Floats
    """Codes that may come by themselves: made up to the maximum, or delivered."""
    is_filled: NDArray[np.bool_]
    """Whether codes are made as the pool gets low; otherwise only what is on order comes."""
    mark: Floats
    """Up to how many codes the pool is filled."""
    life_h: Floats
    """How long a new code can be given; inf: for ever."""
    rate: Floats
    """How many codes the remote service delivers an hour; inf: it has none, or it is unknown."""
    starts_h: Floats
    """When the program begins to give codes; 0 or less: it has begun."""
    extra: tuple[NDArray[np.int64], Floats, Floats]
    """Demand beyond the usual one: the program's row, when (h), the codes."""


class Steps(NamedTuple):
    """The steps of the walk: their ends (h), and the demand in each (codes)."""

    ends: Floats
    demand: Floats


class RunsOut(NamedTuple):
    """When programs run out (h, inf for not within two years), and the index of the cause in CAUSES."""

    hours: Floats
    cause: NDArray[np.int64]


CAUSES: Final[tuple[Cause, ...]] = ("maximum", "stock", "remote_too_slow", "expiry")
_MAXIMUM, _STOCK, _REMOTE, _EXPIRY = range(4)


def steps_of(demand: Demand, elapsed: float, supply: CodeSupply, *, is_high: bool) -> Steps:
    """The demand that comes, in steps."""
    shape, level = (demand.high, demand.high_level) if is_high else (demand.usual, demand.level)
    levels = weekly_levels(demand, level, _WEEKS)
    ends = _STEP_ENDS - elapsed
    hourly = shape * levels[:, :1]
    hourly[:, 0] *= 1 - elapsed
    hourly[:, : len(_FADING)] += demand.surprise[:, None] * _FADING
    of_days = shape.reshape(-1, 1, 7, _DAY_H).sum(axis=3)
    daily = (of_days * levels[:, 1 : 1 + _DAY_WEEKS, None]).reshape(len(shape), 7 * _DAY_WEEKS)
    codes = np.maximum(np.concatenate([hourly, daily, levels[:, 1 + _DAY_WEEKS :]], axis=1), 0.0)
    _without_demand_before(codes, ends, supply.starts_h)
    rows, at, extra = supply.extra
    np.add.at(codes, (rows, _step_at(ends, at)), extra)
    return Steps(ends, codes)


def runs_out(steps: Steps, supply: CodeSupply) -> RunsOut:
    """When the supply does not cover the demand any more, and why."""
    gone = _gone(steps, supply)
    total = supply.pooled + supply.more
    hours, place = _reached(steps.ends, gone.position, total, np.zeros_like(total), supply.starts_h)
    _with_extra_in_step(steps.ends, gone.position, supply, hours, place)
    rows = np.arange(len(total))
    lost = gone.position[rows, place] - gone.given[rows, place]
    is_lost = (lost > gone.given[rows, place]) & (total > 0)
    cause = np.where(is_lost, _EXPIRY, np.where(supply.is_filled, _MAXIMUM, _STOCK))
    by_expiry = _by_last_expiry(steps, supply, gone, place)
    hours, cause = np.where(by_expiry, _last_expiry(supply), hours), np.where(by_expiry, _EXPIRY, cause)
    late = _reached_by_deficit(steps, supply)
    return RunsOut(np.minimum(hours, late), np.where(late < hours, _REMOTE, cause))


def levels(steps: Steps, supply: CodeSupply, hours: int) -> Floats:
    """How many codes stand ready at the end of each of the next `hours`, up to HOURS."""
    left = (supply.pooled + supply.more)[:, None] - _gone(steps, supply).position[:, :hours]
    # A pool that is filled is never above its mark, and one that lacks deliveries is below it.
    ready: Floats = np.maximum(np.minimum(left, _full(supply)[:, None] - _deficits(steps, supply)[:, :hours]), 0.0)
    return ready


def _without_demand_before(codes: Floats, ends: Floats, starts_h: Floats) -> None:
    if (starts_h > 0).any():
        lengths = np.diff(ends, prepend=0.0)
        share = np.clip((ends - starts_h[:, None]) / lengths, 0.0, 1.0)
        np.multiply(codes, share, out=codes)


def _step_at(ends: Floats, at: Floats) -> NDArray[np.int64]:
    """The step in which a moment is; the last one for what is later."""
    return np.minimum(np.searchsorted(ends, at), len(ends) - 1)


class _Gone(NamedTuple):
    """What of the supply is gone at the end of each step (codes)."""

    expired: Floats
    """What expires unless it is given before."""
    given: Floats
    position: Floats
    """Given or expired."""


def _gone(steps: Steps, supply: CodeSupply) -> _Gone:
    """What is gone by and by. Codes that expire soonest are given first.

    So at least those are gone that have expired, and what is given is reflected at that line.
    """
    ends, codes = steps
    given = np.cumsum(codes, axis=1)
    position, expired = given, np.zeros_like(codes)
    rows, left_h, expiring = supply.expiring
    if len(rows):
        is_within = left_h <= ends[-1]
        np.add.at(expired, (rows[is_within], _step_at(ends, left_h[is_within])), expiring[is_within])
        np.cumsum(expired, axis=1, out=expired)
        position = given + np.maximum.accumulate(np.maximum(expired - given, 0.0), axis=1)
    # A pool that is kept full of codes that expire uses up at least one pool in each of their lives.
    is_kept = supply.is_filled & (supply.more > 0) & np.isfinite(supply.life_h)
    if is_kept.any():
        turned_over = np.where(is_kept, np.minimum(supply.mark, supply.pooled + supply.more) / supply.life_h, 0.0)
        position = np.maximum(position, turned_over[:, None] * ends)
    return _Gone(expired, given, position)


def _reached(
    ends: Floats, position: Floats, total: Floats, begin: Floats, starts_h: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """When the position, which is `begin` now, reaches the total (h, inf for never), and in which step.

    In the step in which the program begins, it does not move before that.
    """
    is_reached = position >= total[:, None] - _EPSILON
    is_ever = is_reached.any(axis=1)
    place = np.where(is_ever, is_reached.argmax(axis=1), len(ends) - 1)
    before, start = _before(ends, position, place, begin)
    step = position[np.arange(len(total)), place] - before
    start = np.where(total > 0, np.clip(starts_h, start, ends[place]), start)
    share = np.divide(total - before, step, out=np.zeros_like(step), where=step > 0)
    return np.where(is_ever, start + np.clip(share, 0.0, 1.0) * (ends[place] - start), np.inf), place


def _with_extra_in_step(
    ends: Floats, position: Floats, supply: CodeSupply, hours: Floats, place: NDArray[np.int64]
) -> None:
    """Set the hours anew where demand beyond the usual one is in the step: it comes at its moment, not all along."""
    rows, at, codes = supply.extra
    is_in = np.isfinite(hours[rows]) & (place[rows] == _step_at(ends, at))
    for row in np.unique(rows[is_in]):
        before, [start] = _before(ends, position[row : row + 1], place[row : row + 1], np.zeros(1))
        mine = sorted(zip(at[is_in & (rows == row)], codes[is_in & (rows == row)], strict=True))
        start = min(max(start, supply.starts_h[row]), ends[place[row]])
        steady = position[row, place[row]] - before[0] - sum(extra for _, extra in mine)
        length = ends[place[row]] - start
        rate = max(steady, 0.0) / length if length > 0 else 0.0
        left = supply.pooled[row] + supply.more[row] - before[0]
        hours[row] = _used_up(left, rate, start, mine)


def _used_up(left: float, rate: float, start: float, extra: Sequence[tuple[float, float]]) -> float:
    """When `left` codes are given (h): at a rate (1/h) from `start` on, and more at some moments, in their order."""
    for at, codes in extra:
        if left <= rate * (at - start):
            break
        left -= rate * (at - start) + codes
        start = at
        if left <= 0:
            return at
    return start + left / rate if rate > 0 else start


def _before(ends: Floats, position: Floats, place: NDArray[np.int64], begin: Floats) -> tuple[Floats, Floats]:
    """The position at the begin of a step, and its time (h)."""
    is_first = place == 0
    return (
        np.where(is_first, begin, position[np.arange(len(place)), place - 1]),
        np.where(is_first, 0.0, ends[place - 1]),
    )


def _last_expiry(supply: CodeSupply) -> Floats:
    rows, left_h, _ = supply.expiring
    last = np.zeros_like(supply.pooled)
    np.maximum.at(last, rows, left_h)
    return last


def _by_last_expiry(steps: Steps, supply: CodeSupply, gone: _Gone, place: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where no code is made, all expire, and the last ones do so in this step before they are given."""
    rows = np.arange(len(place))
    all_expire = (supply.more <= 0) & (supply.pooled > 0) & (gone.expired[rows, place] >= supply.pooled - _EPSILON)
    before, start = _before(steps.ends, gone.position, place, np.zeros_like(supply.pooled))
    demand = steps.demand[rows, place]
    left_h = np.divide(supply.pooled - before, demand, out=np.full_like(demand, np.inf), where=demand > 0)
    return all_expire & (start + left_h * (steps.ends[place] - start) > _last_expiry(supply))


def _full(supply: CodeSupply) -> Floats:
    """Up to how many codes the pool may have."""
    total = supply.pooled + supply.more
    return np.where(supply.is_filled, np.minimum(np.maximum(supply.mark, supply.pooled), total), total)


def _deficits(steps: Steps, supply: CodeSupply) -> Floats:
    """By how much a pool that a remote service fills is below its full size, at the end of each step."""
    is_limited = np.isfinite(supply.rate)
    if not is_limited.any():
        return np.zeros_like(steps.demand)
    rate = np.where(is_limited, supply.rate, 0.0)[:, None]
    moved = (_full(supply) - supply.pooled)[:, None] + np.cumsum(steps.demand, axis=1) - rate * steps.ends
    deficit = moved - np.minimum(np.minimum.accumulate(moved, axis=1), 0.0)
    return np.where(is_limited[:, None], deficit, 0.0)


def _reached_by_deficit(steps: Steps, supply: CodeSupply) -> Floats:
    """When such a pool is empty although codes are on their way (h); inf: never."""
    is_limited = np.isfinite(supply.rate) & (supply.more > 0)
    if not is_limited.any():
        return np.full(len(is_limited), np.inf)
    full = _full(supply)
    hours, _ = _reached(steps.ends, _deficits(steps, supply), full, full - supply.pooled, supply.starts_h)
    # An empty pool is no lack before the program begins.
    return np.where(is_limited, np.maximum(hours, supply.starts_h), np.inf)
