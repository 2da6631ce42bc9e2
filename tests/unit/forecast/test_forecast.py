"""Causes, edges and what a forecast assumes, of programs that give the same number of codes in each hour."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from codewell.forecast.demand import HISTORY_H
from codewell.forecast.forecast import ForecastInput, PooledCodes, Shortfall, forecasts_of, levels_of
from schemas.forecast import Forecast
from schemas.moments import LATEST
from tests.unit.forecast.simulation import BEGIN, HOUR, reading

RATE = 100
STEADY = np.full(HISTORY_H + 168, RATE)
NOW = BEGIN + len(STEADY) * HOUR
FILLED: dict[str, Any] = {"kind": "template", "may_create": True}


def forecast(found: ForecastInput) -> Forecast:
    return forecasts_of(found)[0]


def hours(found: Forecast) -> Any:
    assert found.runs_out_at.p50 is not None
    return (found.runs_out_at.p50 - NOW) / HOUR


def given(pooled: int, **changed: Any) -> Forecast:
    return forecast(reading(STEADY, pooled, **changed))


@pytest.mark.parametrize(
    ("changed", "pooled", "left", "cause"),
    [
        ({}, 5_000, 50, "stock"),
        ({"kind": "template"}, 5_000, 50, "stock"),
        (FILLED | {"room": 20_000}, 5_000, 250, "maximum"),
        (FILLED, 5_000, 50, "maximum"),
        # A person's order comes although no source may have codes made.
        ({"kind": "remote", "on_order": 3_000, "room": 10_000}, 5_000, 80, "stock"),
        ({"kind": "remote", "may_create": True, "room": 20_000, "mark": 5_000, "rate": 1_000.0}, 5_000, 250, "maximum"),
        ({"kind": "remote", "may_create": True, "room": 20_000, "mark": 5_000, "rate": 60.0}, 5_000, 125,
         "remote_too_slow"),
        # The slow service's codes are used up before the pool is empty.
        ({"kind": "remote", "may_create": True, "room": 600, "mark": 5_000, "rate": 60.0}, 5_000, 56, "maximum"),
        ({"kind": "remote", "may_create": True, "room": 20_000, "mark": 5_000, "is_remote_down": True}, 5_000, 50,
         "remote_too_slow"),
        ({}, 0, 0, "stock"),
        (FILLED, 0, 0, "maximum"),
    ],
)  # fmt: skip
def test_what_ends_first_is_the_cause(changed: dict[str, Any], pooled: int, left: float, cause: str) -> None:
    found = given(pooled, **changed)
    assert hours(found) == pytest.approx(left, rel=0.03, abs=0.1)
    assert found.cause == cause
    assert found.before_valid_until


@pytest.mark.parametrize("elapsed", [0.0, 0.01, 0.5, 0.999])
def test_the_minute_of_the_hour_is_of_no_matter(elapsed: float) -> None:
    found = forecast(reading(STEADY, 5_000, int(RATE * elapsed), elapsed))
    assert hours(found) - elapsed == pytest.approx(50, abs=1)


def test_a_template_without_an_end_never_runs_out() -> None:
    found = given(100_000, **FILLED, room=2**62, mark=100_000)
    assert (found.runs_out_at.p50, found.runs_out_at.p90, found.cause) == (None, None, None)
    assert not found.before_valid_until
    assert found.assumes == ["usual_weeks", "filled", "two_years"]


def test_a_pool_that_is_kept_full_of_codes_that_expire_uses_up_the_maximum() -> None:
    """10,000 codes live for two days each; only 4,800 of them are given."""
    found = given(10_000, **FILLED, room=90_000, mark=10_000, life=timedelta(days=2))
    assert hours(found) == pytest.approx(480, rel=0.01)
    assert found.cause == "expiry"
    # With a demand that gives them all before, none expires.
    found = given(1_000, **FILLED, room=99_000, mark=1_000, life=timedelta(days=2))
    assert hours(found) == pytest.approx(1_000, rel=0.01)
    assert found.cause == "maximum"


def test_pooled_codes_end_at_their_expiry_unless_they_are_given_before() -> None:
    ends = NOW + timedelta(hours=30.4)
    found = given(5_000, until=ends)
    assert (found.runs_out_at.p50, found.runs_out_at.p90, found.cause) == (ends, ends, "expiry")
    found = given(2_000, until=ends)
    assert hours(found) == pytest.approx(20, rel=0.02)
    assert found.cause == "stock"
    # A program that gives nothing loses them too.
    dead = forecast(reading(np.zeros(HISTORY_H, int), 2_000, until=BEGIN + timedelta(days=90)))
    assert (dead.runs_out_at.p50, dead.cause) == (BEGIN + timedelta(days=90), "expiry")


def test_what_expires_before_it_is_given_is_lost() -> None:
    soon, later = (PooledCodes(1, NOW + timedelta(hours=left), codes) for left, codes in ((5, 2_000), (90, 300)))

    def of(*stock: PooledCodes) -> Forecast:
        return forecast(reading(STEADY, 0)._replace(stock=stock))

    # 500 of the 2,000 are given; then those with more life, and those that live for ever.
    found = of(PooledCodes(1, None, 2_700), later, soon)
    assert hours(found) == pytest.approx(5 + 30, rel=0.03)
    assert found.cause == "stock"
    # Most of them are lost.
    found = of(PooledCodes(1, None, 100), later, soon)
    assert hours(found) == pytest.approx(5 + 4, rel=0.03)
    assert found.cause == "expiry"


def test_a_validity_period_that_ends_first_is_the_cause() -> None:
    ends = NOW + timedelta(hours=20)
    found = given(5_000, valid_until=ends)
    assert (found.runs_out_at.p50, found.cause, found.before_valid_until) == (ends, "validity_end", False)
    found = given(5_000, valid_until=NOW + timedelta(hours=60))
    assert hours(found) == pytest.approx(50, rel=0.03)
    assert (found.cause, found.before_valid_until) == ("stock", True)
    # It has ended.
    found = given(5_000, valid_until=NOW - timedelta(days=9))
    assert (found.runs_out_at.p50, found.cause) == (NOW - timedelta(days=9), "validity_end")
    # At the edges of what a program may have.
    found = given(5_000, **FILLED, room=2**62, valid_until=LATEST)
    assert (found.cause, found.before_valid_until) == ("validity_end", False)
    assert given(5_000, valid_from=datetime(9999, 1, 1, tzinfo=UTC)).runs_out_at.p50 is None


def test_no_code_is_given_before_the_validity_period() -> None:
    found = given(5_000, valid_from=NOW + timedelta(days=3))
    assert hours(found) == pytest.approx(72 + 50, rel=0.03)
    assert found.assumes == ["usual_weeks", "not_started"]


@pytest.mark.parametrize(("left_h", "pooled"), [(0.9, 20), (11 * 24 + 20.0, 300), (80 * 24 + 5.0, 300)])
@pytest.mark.parametrize("send_at_h", [None, 0.0, 1e9])
def test_no_code_is_given_before_it_in_the_step_in_which_it_begins(
    left_h: float, pooled: int, send_at_h: float | None
) -> None:
    """Steps are an hour, a day and a week long. A reservation without a time, or with an earlier one, waits too."""
    shortfalls = [] if send_at_h == 1e9 else [
        Shortfall(1, None if send_at_h is None else NOW + timedelta(hours=send_at_h), pooled // 2)
    ]  # fmt: skip
    found = given(pooled, valid_from=NOW + timedelta(hours=left_h), shortfalls=shortfalls)
    codes = pooled // 2 if shortfalls else pooled
    assert hours(found) == pytest.approx(left_h + codes / RATE, abs=max(0.1, 0.05 * pooled / RATE))


def test_a_remote_program_with_an_empty_pool_lacks_nothing_before_it_begins() -> None:
    begin = NOW + timedelta(days=3)
    remote = {"kind": "remote", "may_create": True, "room": 20_000, "mark": 5_000, "is_remote_down": True}
    assert given(0, **remote, valid_from=begin).runs_out_at.p50 == begin


def test_two_million_codes_announced_at_noon_move_the_forecast_at_noon() -> None:
    """Of 5 million codes; the campaign is sent in ten days and its reservation got no code yet."""
    rate = 3_000
    steady = np.full(HISTORY_H + 12, rate)
    noon = BEGIN + len(steady) * HOUR

    def left(*shortfalls: Shortfall) -> float:
        at = forecast(reading(steady, 5_000_000, shortfalls=shortfalls)).runs_out_at.p50
        assert at is not None
        return (at - noon) / HOUR

    announced = left(Shortfall(1, noon + timedelta(days=10), 2_000_000))
    assert left() == pytest.approx(5_000_000 / rate, rel=0.02)
    assert announced == pytest.approx(3_000_000 / rate, rel=0.02)
    # Nobody said when, or it is being sent.
    assert left(Shortfall(1, None, 2_000_000)) == pytest.approx(announced, rel=0.01)
    assert left(Shortfall(1, noon - HOUR, 2_000_000)) == pytest.approx(announced, rel=0.01)
    # It is over.
    assert left(Shortfall(1, noon - timedelta(days=2), 2_000_000)) == left()
    # After all others: nothing to take from.
    assert left(Shortfall(1, noon + timedelta(days=300), 2_000_000)) == left()
    # More than there is: the day of the campaign is the end.
    assert left(Shortfall(1, noon + timedelta(days=10), 9_000_000)) == pytest.approx(240, abs=0.1)
    # Of two, the later one takes the last; what is in between is the usual demand.
    some = [Shortfall(1, noon + timedelta(days=days), 2_000_000) for days in (50, 51)]
    assert left(*some) == pytest.approx(50 * 24, abs=0.1)
    some = [Shortfall(1, noon + timedelta(days=days), 700_000) for days in (50, 51)]
    assert left(*some) == pytest.approx(51 * 24, abs=0.1)


def test_a_shared_code_is_not_used_up() -> None:
    shared = {"shared": True, "has_shared": True}
    ends = NOW + timedelta(days=4)
    assert given(0, **shared).cause is None
    found = given(0, **shared, shared_until=ends)
    assert (found.runs_out_at.p50, found.cause, found.assumes) == (ends, "expiry", ["shared"])
    # Its successors, made one by one.
    found = given(0, **shared, **FILLED, shared_until=ends, room=3, life=timedelta(days=10))
    assert hours(found) == 24 * (4 + 30)
    # For longer than anybody counts.
    many = given(0, **shared, **FILLED, shared_until=ends, room=2**62, life=timedelta(days=36_500))
    assert (many.runs_out_at.p50, many.cause) == (None, None)
    assert given(0, shared=True).cause == "stock"
    assert given(1, shared=True).cause is None


def test_a_program_that_is_off_has_no_forecast() -> None:
    found = given(5, is_on=False, valid_until=NOW + HOUR)
    assert found.model_dump() == {
        "runs_out_at": {"p50": None, "p90": None}, "cause": None, "before_valid_until": False,
        "assumes": ["switched_off"],
    }  # fmt: skip


def test_the_first_hour_of_a_program_is_taken_for_each() -> None:
    young = forecast(reading(np.zeros(0, int), 1_000, current=40, elapsed=0.5))
    assert young.runs_out_at.p50 == BEGIN + (0.5 + 25) * HOUR
    assert young.assumes == ["short_history"]
    none = forecast(reading(np.zeros(0, int), 1_000))
    assert (none.runs_out_at.p50, none.assumes) == (None, ["no_history", "two_years"])


def test_what_came_back_is_no_demand() -> None:
    """Of 100 codes an hour half come back, and in the last hours more came back than were given."""
    half = np.full(HISTORY_H, RATE // 2)
    half[-3:] = -400
    found = forecast(reading(half, 5_000))
    assert found.runs_out_at.p50 is not None
    assert (found.runs_out_at.p50 - BEGIN) / HOUR - HISTORY_H == pytest.approx(100, rel=0.2)


def test_each_program_of_a_batch_has_the_forecast_that_it_has_alone() -> None:
    alone = [reading(STEADY, 5_000), reading(STEADY * 3, 90_000, until=NOW + timedelta(days=9)),
             reading(STEADY[:200], 7_000, **FILLED, room=10_000, life=timedelta(days=20), mark=7_000),
             reading(STEADY, 900, kind="remote", may_create=True, room=9_000, rate=20.0, mark=1_000)]  # fmt: skip
    batch = ForecastInput(
        NOW,
        [one.facts[0]._replace(id=number) for number, one in enumerate(alone)],
        [one.stock[0]._replace(program_id=number) for number, one in enumerate(alone)],
        [],
        alone[0].history._replace(
            hours=np.concatenate([one.history.hours for one in alone]),
            current=np.concatenate([one.history.current for one in alone]),
            is_older=np.concatenate([one.history.is_older for one in alone]),
        ),
    )
    for one, together in zip(alone, forecasts_of(batch), strict=True):
        single = forecast(one._replace(now=NOW))
        assert together == single
    assert forecasts_of(ForecastInput(NOW, [], [], [], batch.history._replace(
        hours=np.zeros((0, HISTORY_H)), current=np.zeros(0), is_older=np.zeros(0, bool)))) == []  # fmt: skip


def test_the_levels_that_are_expected() -> None:
    [levels] = levels_of(reading(STEADY, 1_000), 24)
    assert [one.usual for one in levels[:3]] == [900, 800, 700]
    assert levels[-1].usual == 0
    assert all(one.high <= one.usual for one in levels)
    assert levels[0].at == NOW + HOUR
    # A shared code stays.
    [levels] = levels_of(reading(STEADY, 1, shared=True), 24)
    assert {one.usual for one in levels} == {1}
    # A pool that is filled stays at its mark until the maximum is near.
    [levels] = levels_of(reading(STEADY, 1_000, **FILLED, room=800, mark=1_000), 24)
    assert [one.usual for one in levels][6:11] == [1_000, 1_000, 900, 800, 700]
