"""Orders that are leased prefetched: how many, of which programs, which one is sent next, and when they go back."""

import pytest

from codewell.infra.uuid7 import uuid7
from codewell.remote.order_leases import Order
from services.generator import prefetched_orders
from services.generator.prefetched_orders import QUICK_S, PrefetchedOrders


def order(program_id: int) -> Order:
    return Order(uuid7(), program_id, f"P{program_id}", "https://codes.example/", 10, {}, 1, 0)


def prefetched_of(*program_ids: int, per_program_max: int = 4) -> PrefetchedOrders:
    prefetched = PrefetchedOrders(per_program_max)
    for program_id in program_ids:
        prefetched.answered(program_id, QUICK_S)
        prefetched.add(order(program_id))
    return prefetched


def test_only_a_service_that_answers_quickly_has_prefetched_orders() -> None:
    prefetched = PrefetchedOrders(4)
    assert prefetched.room({1: 4, 2: 1}) == {}
    prefetched.answered(1, QUICK_S)
    prefetched.answered(2, 2 * QUICK_S)
    assert prefetched.room({1: 4, 2: 1}) == {1: 4}
    prefetched.answered(1, 2 * QUICK_S)
    assert prefetched.room({1: 4, 2: 1}) == {}


def test_a_program_without_running_exchanges_has_no_room() -> None:
    assert prefetched_of(1, 2).room({2: 1}) == {2: 3}


def test_more_are_leased_once_half_are_sent() -> None:
    prefetched = prefetched_of(1, 1, 1)
    assert prefetched.room({1: 4}) == {}
    assert prefetched.take({}) is not None
    assert prefetched.room({1: 4}) == {1: 2}


def test_the_program_with_the_fewest_exchanges_is_next_and_none_has_more_than_its_share() -> None:
    prefetched = prefetched_of(1, 2, 2)
    taken = [prefetched.take(running) for running in ({1: 3, 2: 2}, {1: 3, 2: 4}, {1: 4, 2: 4}, {1: 4, 2: 3}, {})]
    assert [one and one.program_id for one in taken] == [2, 1, None, 2, None]


def test_what_has_waited_for_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    prefetched = prefetched_of(1, 2)
    assert prefetched.drop_old() == []
    monkeypatch.setattr(prefetched_orders, "PREFETCHED_MAX_S", -1.0)
    assert prefetched.take({}) is None
    assert sorted(one.program_id for one in prefetched.drop_old()) == [1, 2]
    assert prefetched.drop_all() == []


def test_a_failure_drops_the_program_s_orders_until_it_has_answered_again() -> None:
    prefetched = prefetched_of(1, 1, 2)
    assert [one.program_id for one in prefetched.drop(1)] == [1, 1]
    assert prefetched.room({1: 1, 2: 1}) == {2: 3}
    prefetched.answered(1, QUICK_S)
    assert prefetched.room({1: 1}) == {1: 4}
    assert [one.program_id for one in prefetched.drop_all()] == [2]
