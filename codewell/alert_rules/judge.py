"""Judges the rules of one program by its figures. Pure.

Each rule comes down to one number: how far its figure is from its threshold, above 1 on the good side. An alert is
raised at 1 and cleared at CLEAR_AT, so that figures that go up and down a little don't raise it again and again. A
figure that cannot get as far, or does not go up and down, is cleared earlier.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from math import inf
from typing import Any, Final, NamedTuple, TypeVar

from schemas.alert_rules import AlertRule, RuleKind
from schemas.forecast import Forecast

_T = TypeVar("_T")

CLEAR_AT: Final = 1.5
# A few refusals or returns are no sign of a fault.
REFUSED_MIN: Final = 20
RETURNED_MIN: Final = 100


class Requests(NamedTuple):
    """Requests of the last minutes: how many there were, and how many were refused, by reason."""

    number: int
    refused: Mapping[str, int]


class Figures(NamedTuple):
    """What the rules of a program are judged by. Codes, unless it says otherwise."""

    now: datetime
    is_on: bool
    """Whether it is switched on and has not ended."""
    valid_from: datetime | None
    valid_until: datetime | None
    shared: bool
    is_filled: bool
    """Whether codes are made or ordered by themselves."""
    pool_max: int
    """Up to how many, if so."""
    pooled: int
    expiring: int
    """Those of `pooled` that expire within the rule's time."""
    failures: int | None
    """Failed requests to its remote service in a row; None: it has none."""
    error: str | None
    requests: Requests
    returned: int = 0
    attached: int = 0
    """In the last hour, as `returned`."""
    forecast: Forecast | None = None
    """None: not known this time."""


class Judgement(NamedTuple):
    """`distance` from the threshold; None: nothing is known, so an alert stays as it is."""

    distance: float | None
    figures: dict[str, Any]

    @property
    def is_bad(self) -> bool:
        """Whether an alert is to be raised."""
        return self.distance is not None and self.distance <= 1

    @property
    def is_good(self) -> bool:
        """Whether an open alert is to be cleared."""
        return self.distance is not None and self.distance >= CLEAR_AT


GOOD: Final = Judgement(inf, {})
UNKNOWN: Final = Judgement(None, {})


def judge(rule: AlertRule, figures: Figures, failures_max: int) -> Judgement:
    """How far the program is from this rule. `failures_max`: from then on its remote service is not asked."""
    if rule.kind == "remote_down":
        return _remote_down(figures, failures_max)
    # Refusals of a program that is off or has ended are worth an alert too; what comes of it later is not.
    if rule.kind == "refusals":
        return _refusals(rule, figures)
    return _OF_PROGRAMS[rule.kind](rule, figures) if figures.is_on else GOOD


def _runs_out(rule: AlertRule, figures: Figures) -> Judgement:
    forecast = figures.forecast
    if forecast is None:
        return UNKNOWN
    at = forecast.runs_out_at.p50
    # A new program is empty, and has no requests.
    is_unused = "no_history" in forecast.assumes and "reservations" not in forecast.assumes
    if at is None or not forecast.before_valid_until or is_unused:
        return GOOD
    details = {"runs_out_at": at.isoformat(), "cause": forecast.cause, "pooled": figures.pooled}
    return Judgement((at - figures.now) / _given(rule.within), details)


def _pool(rule: AlertRule, figures: Figures) -> Judgement:
    if figures.shared:
        return GOOD
    codes = _given(rule.codes)
    # A full pool may never be far from the threshold, and one in use is seldom quite full.
    if figures.is_filled and figures.pooled >= max(codes, (codes + figures.pool_max) / 2):
        return GOOD
    # A pool with as many codes as the rule names is not below.
    return Judgement((figures.pooled + 1) / codes, {"pooled": figures.pooled, "codes": codes})


def _ends(rule: AlertRule, figures: Figures) -> Judgement:
    end, begin = figures.valid_until, figures.valid_from
    # A program that is short by design needs no reminder of its end.
    if end is None or (begin is not None and end - begin < CLEAR_AT * _given(rule.within)):
        return GOOD
    # Only a change of the end takes it further away, so that alert cannot come again and again.
    distance = (end - figures.now) / _given(rule.within)
    return Judgement(distance, {"valid_until": end.isoformat()}) if distance <= 1 else GOOD


def _expiry(rule: AlertRule, figures: Figures) -> Judgement:
    if figures.is_filled or figures.shared or not figures.expiring:
        return GOOD
    share = figures.expiring / figures.pooled
    return Judgement(_given(rule.share) / share, {"expiring": figures.expiring, "pooled": figures.pooled})


def _refusals(rule: AlertRule, figures: Figures) -> Judgement:
    refused = sum(figures.requests.refused.values())
    details = {"refused": refused, "requests": figures.requests.number, **figures.requests.refused}
    return _share(_given(rule.share), refused, figures.requests.number, REFUSED_MIN, details)


def _remote_down(figures: Figures, failures_max: int) -> Judgement:
    if figures.failures is None or not figures.is_on or figures.failures == 0:
        return GOOD
    details = {"failures": figures.failures, "error": figures.error}
    return Judgement(0, details) if figures.failures >= failures_max else UNKNOWN


def _returns(rule: AlertRule, figures: Figures) -> Judgement:
    details = {"returned": figures.returned, "attached": figures.attached}
    return _share(_given(rule.share), figures.returned, figures.attached, RETURNED_MIN, details)


def _fallback(_: AlertRule, __: Figures) -> Judgement:
    """The worker that gives a fallback's code raises its alert."""
    return UNKNOWN


def _given(value: _T | None) -> _T:
    """What a rule of this kind always has."""
    if value is None:
        raise ValueError("a rule lacks what its kind is measured by")
    return value


def _share(limit: float, part: int, whole: int, part_min: int, details: dict[str, Any]) -> Judgement:
    if part == 0:
        return GOOD
    distance = limit * max(whole, part) / part
    # Too few to raise an alert; one that is open stays until the share is better.
    return Judgement(distance if part >= part_min or distance >= CLEAR_AT else max(distance, 1.01), details)


_OF_PROGRAMS: Final[Mapping[RuleKind, Callable[[AlertRule, Figures], Judgement]]] = {
    "runs_out_within": _runs_out,
    "pool_below": _pool,
    "ends_within": _ends,
    "codes_expire_within": _expiry,
    "returns_share": _returns,
    "fallback_used": _fallback,
}
