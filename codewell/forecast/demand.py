"""The demand for codes that a program's past lets expect: its usual week, its level, its trend. Pure.

All programs of a batch are computed together; arrays have a row for each of them.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WEEK_H: Final = 168
WEEKS: Final = 4
HISTORY_H: Final = WEEKS * WEEK_H
_DAY_H: Final = 24
# Of the same hour of four weeks.
_HIGH_QUANTILE: Final = 0.9
# How much higher the high demand is where fewer than two weeks tell how much weeks differ.
_HIGH_UNKNOWN: Final = 1.25
# Share of a trend that is left a week later.
_TREND_KEPT: Final = 0.85
# A trend is a slope that is larger than the square root of so many variances of it.
_TREND_DOUBTS: Final = 4
# The share of the demand that is spread evenly, so that no hour of the week is impossible.
_EVEN_SHARE: Final = 0.02
# Levels that a trend may lead to, as multiples of the level now.
_TREND_LEAST, _TREND_MOST = 0.2, 4.0


class History(NamedTuple):
    """What programs gave, less what came back, in codes."""

    hours: Floats
    """Of the last HISTORY_H whole hours of UTC, oldest first."""
    current: Floats
    """Of the hour that has begun."""
    elapsed: float
    """The share of that hour that has passed, from 0 to below 1."""
    is_older: NDArray[np.bool_]
    """Whether there is any before those hours."""


class Demand(NamedTuple):
    """The demand to expect. The first hour of a week in it is the hour that has begun."""

    usual: Floats
    """Share of the week's demand in each of its hours; they add up to 1."""
    high: Floats
    """The same where demand is high."""
    level: Floats
    """Usual demand of a week now (codes)."""
    high_level: Floats
    trend: Floats
    """By how much the level grows in the next week, and less in each week after it (codes)."""
    surprise: Floats
    """What the last hour had above the usual demand, which fades within hours (codes)."""
    hours_known: NDArray[np.int64]
    """How many whole hours passed since the first code was given, at most HISTORY_H."""


def demand_of(history: History) -> Demand:
    """The demand to expect, from the past."""
    hours, elapsed = history.hours, history.elapsed
    known = _hours_known(hours, history.is_older)
    last_hour = np.maximum(0.0, history.current + hours[:, -1] * (1 - elapsed))
    weeks = hours.reshape(-1, WEEKS, WEEK_H)
    median, high, mean = _of_same_hours(weeks, known)
    totals = weeks.sum(axis=2)[:, ::-1]
    usual_total = _of_weeks(totals, known // WEEK_H)
    usual = _shape(median, mean, usual_total)
    level = _level(hours, usual, usual_total, known, last_hour)
    ratio = _high_ratio(weeks, known, usual_total)
    expected = level * (usual[:, -1] * (1 - elapsed) + usual[:, 0] * elapsed)
    return Demand(
        usual, _shape(high, mean, usual_total * ratio), level, level * ratio, _trend(totals, known // WEEK_H),
        last_hour - expected, known,
    )  # fmt: skip


def _hours_known(hours: Floats, is_older: NDArray[np.bool_]) -> NDArray[np.int64]:
    has_given = hours != 0
    since_first = np.where(has_given.any(axis=1), HISTORY_H - has_given.argmax(axis=1), 0)
    return np.where(is_older, HISTORY_H, since_first)


def weekly_levels(demand: Demand, level: Floats, weeks: int) -> Floats:
    """The level of each of the next `weeks`, as its trend leads there."""
    steps = np.cumsum(_TREND_KEPT ** np.arange(weeks)) - 0.5
    # No more than the level itself: a trend is that of the usual demand.
    grown = level[:, None] + demand.trend[:, None] * steps
    return np.clip(grown, _TREND_LEAST * level[:, None], _TREND_MOST * level[:, None])


def _of_same_hours(weeks: Floats, known: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Median, high quantile and mean of the same hour of the weeks that are known."""
    if_known = np.arange(HISTORY_H).reshape(WEEKS, WEEK_H) >= HISTORY_H - known[:, None, None]
    count = if_known.sum(axis=1)
    mean = np.where(if_known, weeks, 0.0).sum(axis=1) / np.maximum(count, 1)
    ordered = np.sort(np.where(if_known, weeks, np.inf), axis=1)
    median = _quantile(ordered, count, 0.5)
    high = _quantile(ordered, count, _HIGH_QUANTILE)
    # Less than a week: each hour is as the same hour of the other days, or as the mean of all hours.
    young = known < WEEK_H
    if young.any():
        filled = _by_hour_of_day(mean[young], count[young])
        median[young] = high[young] = mean[young] = filled
    return np.maximum(median, 0.0), np.maximum(high, 0.0), np.maximum(mean, 0.0)


def _quantile(ordered: Floats, count: NDArray[np.int64], share: float) -> Floats:
    """The quantile of the first `count` of each hour's ordered values; 0 where there are none."""
    place = share * np.maximum(count - 1, 0)
    low = np.floor(place).astype(np.int64)
    rest = place - low
    below = np.take_along_axis(ordered, low[:, None, :], axis=1)[:, 0]
    above = np.take_along_axis(ordered, np.minimum(low + 1, WEEKS - 1)[:, None, :], axis=1)[:, 0]
    below, above = np.where(count > 0, below, 0.0), np.where(rest > 0, above, 0.0)
    quantile: Floats = below + rest * (above - below) * (rest > 0)
    return quantile


def _by_hour_of_day(mean: Floats, count: NDArray[np.int64]) -> Floats:
    days, is_known = mean.reshape(-1, 7, _DAY_H), (count > 0).reshape(-1, 7, _DAY_H)
    times = is_known.sum(axis=1)
    of_day = days.sum(axis=1) / np.maximum(times, 1)
    overall = days.sum(axis=(1, 2)) / np.maximum(is_known.sum(axis=(1, 2)), 1)
    has_day = (times > 0).all(axis=1)[:, None]
    filled: Floats = np.tile(np.where(has_day, of_day, overall[:, None]), 7)
    return filled


def _of_weeks(totals: Floats, count: NDArray[np.int64]) -> Floats:
    """The median of the totals of whole weeks, newest first."""
    ordered = np.sort(np.where(np.arange(WEEKS) < count[:, None], totals, np.inf), axis=1)[:, :, None]
    median: Floats = np.maximum(_quantile(ordered, count[:, None], 0.5)[:, 0], 0.0)
    return median


def _trend(totals: Floats, count: NDArray[np.int64]) -> Floats:
    """By how much the totals of four whole weeks, newest first, grow a week.

    The slope of the line through them, less where they are far from it: one week out of the ordinary makes no trend.
    """
    at = np.arange(WEEKS)[::-1] - (WEEKS - 1) / 2
    slope = totals @ at / (at @ at)
    rest = totals - totals.mean(axis=1, keepdims=True) - slope[:, None] * at
    doubt = _TREND_DOUBTS * (rest**2).sum(axis=1) / (WEEKS - 2) / (at @ at)
    kept = np.maximum(0.0, 1 - np.divide(doubt, slope**2, out=np.ones_like(slope), where=slope != 0))
    trend: Floats = np.where(count >= WEEKS, slope * kept, 0.0)
    return trend


def _high_ratio(weeks: Floats, known: NDArray[np.int64], usual_total: Floats) -> Floats:
    """A week of high days, each as the same day of four weeks at its high quantile, over the usual week."""
    days = weeks.reshape(-1, WEEKS, 7, _DAY_H).sum(axis=3)
    is_known = np.arange(WEEKS)[:, None] * 7 + np.arange(7) >= WEEKS * 7 - known[:, None, None] // _DAY_H
    count = is_known.sum(axis=1)
    ordered = np.sort(np.where(is_known, days, np.inf), axis=1)
    high = _quantile(ordered, count, _HIGH_QUANTILE).sum(axis=1)
    # A short history says little of how weeks differ.
    has_weeks = (known >= 2 * WEEK_H) & (usual_total > 0)
    ratio: Floats = np.divide(high, usual_total, out=np.full_like(high, _HIGH_UNKNOWN), where=has_weeks)
    at_least: Floats = np.maximum(ratio, 1.0)
    return at_least


def _shape(of_hours: Floats, mean: Floats, total: Floats) -> Floats:
    """The share of each hour. What the week has beyond the hours' own quantiles is spread as their means are."""
    beyond = np.maximum(mean - of_hours, 0.0)
    spread = np.maximum(total - of_hours.sum(axis=1), 0.0) / np.maximum(beyond.sum(axis=1), 1e-9)
    wanted = of_hours + beyond * np.minimum(spread, 1.0)[:, None]
    # Nothing usual: what there was at all is the best guess.
    wanted = np.where(wanted.sum(axis=1, keepdims=True) > 0, wanted, mean)
    sums = wanted.sum(axis=1, keepdims=True)
    even = 1.0 / WEEK_H
    shares = np.divide(wanted, sums, out=np.full_like(wanted, even), where=sums > 0)
    shape: Floats = (1 - _EVEN_SHARE) * shares + _EVEN_SHARE * even
    return shape


def _level(
    hours: Floats, usual: Floats, usual_total: Floats, known: NDArray[np.int64], last_hour: Floats
) -> Floats:  # fmt: skip
    """The level of a week: the median of what the last weeks, the last day, and the six days before it say.

    So neither one day that is out of the ordinary nor one such week moves it, and a lasting change does in two days.
    """
    day = _week_level(hours[:, -_DAY_H:], usual[:, -_DAY_H:])
    days = _week_level(hours[:, -WEEK_H:-_DAY_H], usual[:, :-_DAY_H])
    level = np.median(np.stack([usual_total, day, days]), axis=0)
    # Less than a week: all of it.
    is_in = np.arange(WEEK_H) >= WEEK_H - known[:, None]
    young = hours[:, -WEEK_H:].sum(axis=1) / np.maximum((usual * is_in).sum(axis=1), 1e-9)
    level = np.where(known >= WEEK_H, level, np.where(known > 0, young, last_hour * WEEK_H))
    at_least: Floats = np.maximum(level, 0.0)
    return at_least


def _week_level(hours: Floats, usual: Floats) -> Floats:
    """The level of a week of which these hours are the given shares."""
    level: Floats = hours.sum(axis=1) / np.maximum(usual.sum(axis=1), 1e-9)
    return level
