"""When a rule raises an alert, when it clears it, and between which figures it does neither."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.alert_rules.judge import Figures, Requests, judge
from schemas.alert_rules import AlertRule
from schemas.forecast import Assumption, Forecast, RunsOutAt

NOW = datetime(2027, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FAILURES_MAX = 5


def figures(**changed: Any) -> Figures:
    """A program in which all is well."""
    fine = Figures(
        NOW, is_on=True, valid_from=None, valid_until=None, shared=False, is_filled=False, pool_max=100_000,
        pooled=10_000, expiring=0, failures=0, error=None, requests=Requests(0, {}), forecast=runs_out(None),
    )  # fmt: skip
    return fine._replace(**changed)


def runs_out(days: float | None, *assumes: Assumption, before_end: bool = True) -> Forecast:
    at = None if days is None else NOW + days * DAY
    return Forecast(
        runs_out_at=RunsOutAt(p50=at, p90=at), cause=None if at is None else "stock",
        before_valid_until=at is not None and before_end, assumes=list(assumes),
    )  # fmt: skip


def refused(number: int, of: int) -> Requests:
    return Requests(of, {"pool_empty": number} if number else {})


# For each rule: figures that raise an alert, that leave it as it is, and that clear it.
CASES: list[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]] = [
    (
        {"kind": "runs_out_within", "within": "P2D"},
        [{"forecast": runs_out(0)}, {"forecast": runs_out(2)}, {"forecast": runs_out(0, "no_history", "reservations")}],
        [{"forecast": runs_out(2.1)}, {"forecast": runs_out(2.9)}, {"forecast": None}],
        [{"forecast": runs_out(3)}, {"forecast": runs_out(None)}, {"forecast": runs_out(1, before_end=False)},
         {"forecast": runs_out(1), "is_on": False}, {"forecast": runs_out(0, "no_history")}],
    ),
    (
        {"kind": "pool_below", "codes": 100},
        [{"pooled": 0}, {"pooled": 99}],
        [{"pooled": 100}, {"pooled": 148}],
        [{"pooled": 149}, {"pooled": 0, "shared": True}, {"pooled": 0, "is_on": False}],
    ),
    ({"kind": "pool_below", "codes": 1}, [{"pooled": 0}], [], [{"pooled": 1}]),
    (
        # Of a pool that is filled up to less than 1.5 times the threshold, what is half-way between them clears it.
        {"kind": "pool_below", "codes": 80},
        [{"pooled": 79, "is_filled": True, "pool_max": 100}, {"pooled": 79, "is_filled": True, "pool_max": 79}],
        [{"pooled": 80, "is_filled": True, "pool_max": 100}, {"pooled": 89, "is_filled": True, "pool_max": 100},
         {"pooled": 100, "is_filled": False, "pool_max": 100}, {"pooled": 118, "is_filled": True, "pool_max": 1_000}],
        [{"pooled": 90, "is_filled": True, "pool_max": 100}, {"pooled": 80, "is_filled": True, "pool_max": 80},
         {"pooled": 119, "is_filled": True, "pool_max": 1_000}],
    ),
    (
        {"kind": "ends_within", "within": "P2D"},
        [{"valid_until": NOW + DAY}, {"valid_until": NOW + DAY, "valid_from": NOW - 3 * DAY}],
        [],
        [{"valid_until": NOW + 2.1 * DAY}, {}, {"valid_until": NOW + DAY, "valid_from": NOW - DAY},
         {"valid_until": NOW - DAY, "is_on": False}],
    ),
    (
        {"kind": "codes_expire_within", "share": 0.5},
        [{"expiring": 5_000}, {"expiring": 10_000}],
        [{"expiring": 4_900}],
        [{"expiring": 3_000}, {"expiring": 0}, {"pooled": 0}, {"expiring": 9_000, "is_filled": True}],
    ),
    (
        {"kind": "refusals", "share": 0.1},
        [{"requests": refused(20, 200)}, {"requests": refused(200, 200), "is_on": False}],
        [{"requests": refused(19, 19)}, {"requests": refused(15, 200)}],
        [{"requests": refused(0, 0)}, {"requests": refused(10, 200)}],
    ),
    (
        {"kind": "remote_down"},
        [{"failures": 5}, {"failures": 9}],
        [{"failures": 1}, {"failures": 4}],
        [{"failures": 0}, {"failures": None}, {"failures": 5, "is_on": False}],
    ),
    (
        {"kind": "returns_share", "share": 0.1},
        [{"returned": 100, "attached": 1_000}, {"returned": 100, "attached": 0}],
        [{"returned": 99, "attached": 100}, {"returned": 100, "attached": 1_400}],
        [{"returned": 0, "attached": 0}, {"returned": 100, "attached": 1_500}],
    ),
    ({"kind": "fallback_used"}, [], [{}], []),
]  # fmt: skip


@pytest.mark.parametrize(("given", "bad", "between", "good"), CASES, ids=str)
def test_a_rule_raises_at_its_threshold_and_clears_at_half_as_much_again(
    given: dict[str, Any], bad: list[Any], between: list[Any], good: list[Any]
) -> None:
    rule = AlertRule.model_validate(given)
    for expected, cases in (((True, False), bad), ((False, False), between), ((False, True), good)):
        for case in cases:
            judgement = judge(rule, figures(**case), FAILURES_MAX)
            assert (judgement.is_bad, judgement.is_good) == expected, case


def test_the_figures_say_what_was_found() -> None:
    rule = AlertRule(kind="refusals")
    found = judge(rule, figures(requests=Requests(300, {"pool_empty": 40, "program_ended": 20})), FAILURES_MAX)
    assert found.figures == {"refused": 60, "requests": 300, "pool_empty": 40, "program_ended": 20}
