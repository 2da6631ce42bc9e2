"""Which pools are reported to the generator, and when."""

import pytest

from codewell.pool.demand import TOP_UP_DELAY_S, DemandSchedule, LowPool, low_pool
from tests.support.factories import rules

FEW = LowPool(3, is_urgent=True)
SOME = LowPool(90, is_urgent=False)


@pytest.mark.parametrize(
    ("pooled", "on_order", "low"),
    [
        (100, 0, None),
        (99, 0, LowPool(99, is_urgent=False)),
        (50, 0, LowPool(50, is_urgent=False)),
        (49, 0, LowPool(49, is_urgent=True)),
        (49, 51, None),
        (49, 1, LowPool(49, is_urgent=False)),
        (-3, 0, LowPool(0, is_urgent=True)),
    ],
)
def test_each_pool_below_its_mark_is_low_and_codes_on_order_count(
    pooled: int, on_order: int, low: LowPool | None
) -> None:
    assert low_pool(rules(pool_max=100, on_order=on_order, room=500, campaign_can_create=True), pooled) == low


def test_a_pool_that_nothing_fills_is_not_low() -> None:
    assert low_pool(rules(pool_max=100, room=0, campaign_can_create=True), 0) is None
    assert low_pool(rules(pool_max=100, room=5, campaign_can_create=False, scenario_can_create=False), 0) is None


def test_a_pool_with_few_codes_is_due_at_once_and_then_once_an_interval() -> None:
    schedule = DemandSchedule(0.25)
    schedule.add({1: FEW}, 10.0)
    assert schedule.take_due(10.0) == {1: 3}
    schedule.add({1: FEW}, 10.1)
    schedule.add({1: LowPool(2, is_urgent=True)}, 10.2)
    assert schedule.take_due(10.2) == {}
    assert schedule.wait_s(10.2) == pytest.approx(0.05)
    assert schedule.take_due(10.25) == {1: 2}
    assert schedule.wait_s(10.25) is None


def test_a_pool_with_many_codes_waits_for_more_requests_but_not_for_their_end() -> None:
    schedule = DemandSchedule(0.25)
    schedule.add({1: SOME}, 10.0)
    schedule.add({1: LowPool(80, is_urgent=False)}, 10.9)
    assert schedule.take_due(10.99) == {}
    assert schedule.take_due(10.0 + TOP_UP_DELAY_S) == {1: 80}


def test_a_pool_that_runs_low_while_it_waits_is_due_at_once_and_only_once() -> None:
    schedule = DemandSchedule(0.25)
    schedule.add({1: SOME, 2: SOME}, 10.0)
    schedule.add({1: FEW}, 10.1)
    assert schedule.take_due(10.1) == {1: 3}
    assert schedule.take_due(12.0) == {2: 90}
    assert schedule.take_due(20.0) == {}
