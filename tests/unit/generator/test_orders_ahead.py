"""Orders that are leased ahead: how many, of which programs, which one is sent next, and when they go back."""

import pytest

from codewell.infra.uuid7 import uuid7
from codewell.remote.order_leases import Order
from services.generator import orders_ahead
from services.generator.orders_ahead import QUICK_S, OrdersAhead


def order(program_id: int) -> Order:
    return Order(uuid7(), program_id, f"P{program_id}", "https://codes.example/", 10, {}, 1, 0)


def ahead_of(*program_ids: int, per_program_max: int = 4) -> OrdersAhead:
    ahead = OrdersAhead(per_program_max)
    for program_id in program_ids:
        ahead.answered(program_id, QUICK_S)
        ahead.add(order(program_id))
    return ahead


def test_only_a_service_that_answers_quickly_has_orders_ahead() -> None:
    ahead = OrdersAhead(4)
    assert ahead.room({1: 4, 2: 1}) == {}
    ahead.answered(1, QUICK_S)
    ahead.answered(2, 2 * QUICK_S)
    assert ahead.room({1: 4, 2: 1}) == {1: 4}
    ahead.answered(1, 2 * QUICK_S)
    assert ahead.room({1: 4, 2: 1}) == {}


def test_a_program_without_running_exchanges_has_no_room() -> None:
    assert ahead_of(1, 2).room({2: 1}) == {2: 3}


def test_more_are_leased_once_half_are_sent() -> None:
    ahead = ahead_of(1, 1, 1)
    assert ahead.room({1: 4}) == {}
    assert ahead.take({}) is not None
    assert ahead.room({1: 4}) == {1: 2}


def test_the_program_with_the_fewest_exchanges_is_next_and_none_has_more_than_its_share() -> None:
    ahead = ahead_of(1, 2, 2)
    taken = [ahead.take(running) for running in ({1: 3, 2: 2}, {1: 3, 2: 4}, {1: 4, 2: 4}, {1: 4, 2: 3}, {})]
    assert [one and one.program_id for one in taken] == [2, 1, None, 2, None]


def test_what_has_waited_for_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = ahead_of(1, 2)
    assert ahead.drop_old() == []
    monkeypatch.setattr(orders_ahead, "AHEAD_MAX_S", -1.0)
    assert ahead.take({}) is None
    assert sorted(one.program_id for one in ahead.drop_old()) == [1, 2]
    assert ahead.drop_all() == []


def test_a_failure_drops_the_program_s_orders_until_it_has_answered_again() -> None:
    ahead = ahead_of(1, 1, 2)
    assert [one.program_id for one in ahead.drop(1)] == [1, 1]
    assert ahead.room({1: 1, 2: 1}) == {2: 3}
    ahead.answered(1, QUICK_S)
    assert ahead.room({1: 1}) == {1: 4}
    assert [one.program_id for one in ahead.drop_all()] == [2]
