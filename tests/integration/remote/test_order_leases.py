"""Requests to remote services: in whose hands they are, when they are tried again, when they are given up."""

import asyncio

from codewell.audit.promises import audit
from codewell.errors import RemoteFailed
from codewell.infra.postgres.connection import Connection, Pool
from codewell.pool import orders
from codewell.pool.fill import top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.remote import order_leases
from codewell.remote.order_leases import Order, give_up_old, record_failure
from tests.support.remote_programs import (
    DAY_S,
    FAILED,
    LEASE_S,
    REFUSED,
    circuit,
    codes,
    no_more_pauses,
    remote,
    stock,
    store,
    take,
    taken,
)


async def test_a_request_is_in_one_hand_until_its_lease_is_over(connections: Pool, minters: Minters) -> None:
    async with connections.acquire() as connection:
        program = await remote(connection, minters, pool_max=40)
        await top_up(connection, minters, program.id)

    async def take_all() -> list[Order]:
        found = []
        async with connections.acquire() as own:
            # Another has the service's row for a moment: then there is nothing to take for that moment.
            while len(await own.fetch("SELECT FROM remote_request WHERE leased_until IS NULL")):
                order = await take(own, LEASE_S, {}, 100)
                found += [] if order is None else [order]
        return found

    got = [order.id for orders_ in await asyncio.gather(*(take_all() for _ in range(4))) for order in orders_]
    assert len(set(got)) == len(got) == 4
    async with connections.acquire() as connection:
        assert await take(connection, LEASE_S, {}, 100) is None
        await connection.execute("UPDATE remote_request SET leased_until = now() WHERE id = $1", got[0])
        again = await taken(connection)
        assert (again.id, again.attempt) == (got[0], 2)
        assert await audit(connection) == []


async def test_who_has_lost_its_lease_has_no_say_in_what_comes_next(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    lost = await taken(connection, 0)
    held = await taken(connection)
    assert held.id == lost.id
    assert not await record_failure(connection, lost, REFUSED, 0)
    assert await take(connection, LEASE_S, {}, 100) is None
    assert (await orders.service_of(connection, "SPRING")).failures == 0
    # Its answer is as good as the other's.
    assert await store(connection, lost, codes(10)) == 10
    assert await store(connection, held, codes(10)) is None
    assert await audit(connection) == []


async def test_attempts_come_ever_later(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    pauses = []
    for _ in range(10):
        order = await taken(connection)
        assert not await record_failure(connection, order, FAILED, DAY_S)
        pauses.append(
            await connection.fetchval(
                "SELECT extract(epoch FROM next_attempt_at - statement_timestamp())::float8 FROM remote_request"
            )
        )
        await no_more_pauses(connection)
    for attempt, pause_s in enumerate(pauses):
        planned_s = min(0.5 * 2**attempt, 30)
        assert 0.5 * planned_s - 1 < pause_s <= 1.5 * planned_s
    row = await connection.fetchrow("SELECT attempts, refused, error, state FROM remote_request")
    assert tuple(row) == (10, 0, str(FAILED), "open")


async def test_the_service_is_left_alone_for_as_long_as_it_asks_but_not_for_ever(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters)
    await top_up(connection, minters, program.id)
    wait = "SELECT extract(epoch FROM rest_until - statement_timestamp())::float8 FROM remote_service"
    await record_failure(connection, await taken(connection), RemoteFailed("429", wait_s=100), DAY_S)
    assert 95 < await connection.fetchval(wait) <= 100
    # The program's other requests would be told the same.
    assert await take(connection, LEASE_S, {}, 100) is None
    await no_more_pauses(connection)
    await record_failure(connection, await taken(connection), RemoteFailed("429", wait_s=1e8), DAY_S)
    assert 3_595 < await connection.fetchval(wait) <= 3_600


async def test_the_circuit_opens_is_tried_with_one_request_and_closes(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=80)
    await top_up(connection, minters, program.id)
    for failures in range(orders.FAILURES_MAX):
        assert (await orders.service_of(connection, "SPRING")).failures == failures
        assert await circuit(connection) == "closed"
        await record_failure(connection, await taken(connection), FAILED, DAY_S)
    assert await circuit(connection) == "open"
    service = await orders.service_of(connection, "SPRING")
    assert (service.requests_open, service.on_order, service.error) == (8, 80, str(FAILED))
    assert service.rest_until is not None
    assert await take(connection, LEASE_S, {}, 100) is None

    await no_more_pauses(connection)
    assert await circuit(connection) == "half open"
    probe = await taken(connection)
    assert await take(connection, LEASE_S, {}, 100) is None
    await record_failure(connection, probe, FAILED, DAY_S)
    assert await circuit(connection) == "open"

    await no_more_pauses(connection)
    assert await store(connection, await taken(connection), codes(10)) == 10
    service = await orders.service_of(connection, "SPRING")
    assert (service.circuit, service.failures, service.rest_until) == ("closed", 0, None)
    assert service.error == str(FAILED)
    for _ in range(3):
        await taken(connection)
    assert await audit(connection) == []


async def test_a_slow_program_gets_no_more_than_its_share(connection: Connection, minters: Minters) -> None:
    slow = await remote(connection, minters, "SLOW", pool_max=100)
    quick = await remote(connection, minters, "QUICK", pool_max=20)
    for program in (slow, quick):
        await top_up(connection, minters, program.id)
    in_hand = {slow.id: 2, quick.id: 1}
    for name in ("QUICK", "SLOW", "QUICK", "SLOW"):
        order = await take(connection, LEASE_S, in_hand, 4)
        assert order is not None
        assert order.program == name
        in_hand[order.program_id] += 1
    assert in_hand == {slow.id: 4, quick.id: 3}
    assert await take(connection, LEASE_S, in_hand, 4) is None


async def test_a_request_whose_answers_are_refused_is_given_up_and_ordered_anew(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    outcomes = []
    for _ in range(order_leases.REFUSED_MAX):
        order = await taken(connection)
        outcomes.append(await record_failure(connection, order, REFUSED, DAY_S))
        await no_more_pauses(connection)
    assert outcomes == [False] * (order_leases.REFUSED_MAX - 1) + [True]
    assert await stock(connection) == (0, 0, 0)
    # Codes of an answer that comes now belong to no request.
    assert await store(connection, order, codes(10)) is None
    await top_up(connection, minters, program.id)
    assert (await taken(connection)).id != order.id
    assert await audit(connection) == []


async def test_a_request_without_an_answer_is_given_up_in_the_end(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=30)
    await top_up(connection, minters, program.id)
    await connection.execute("UPDATE remote_request SET created_at = now() - interval '1 day'")
    assert not await record_failure(connection, await taken(connection), FAILED, DAY_S + 60)
    assert await record_failure(connection, await taken(connection), FAILED, DAY_S)
    held = await taken(connection)
    await programs.set_active(connection, "SPRING", False)
    assert await give_up_old(connection, DAY_S + 60) == 0
    assert await give_up_old(connection, DAY_S) == 1
    assert await stock(connection) == (0, 0, held.asked)
    assert await audit(connection) == []


async def test_several_are_dealt_out_to_the_programs_that_have_fewest(connection: Connection, minters: Minters) -> None:
    made = [await remote(connection, minters, name, pool_max=most) for name, most in (("A", 90), ("B", 90), ("C", 20))]
    for program in made:
        await top_up(connection, minters, program.id)
    a, b, c = (program.id for program in made)

    async def dealt(in_hand: dict[int, int], most: int) -> list[int]:
        got = await order_leases.lease_orders(connection, LEASE_S, in_hand, 4, most)
        return [sum(order.program_id == one for order in got) for one in (a, b, c)]

    assert await dealt({a: 3}, 4) == [0, 2, 2]
    assert await dealt({a: 3, b: 2}, 8) == [1, 2, 0]
    assert await dealt({a: 4, b: 4}, 8) == [0, 0, 0]
    assert sorted(await dealt({}, 5)) == [0, 2, 3]
    assert await audit(connection) == []


async def test_a_service_that_is_tried_gets_one_request_though_several_are_wanted(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, pool_max=80)
    await top_up(connection, minters, program.id)
    for _ in range(orders.FAILURES_MAX):
        await record_failure(connection, await taken(connection), FAILED, DAY_S)
    await no_more_pauses(connection)
    [probe] = await order_leases.lease_orders(connection, LEASE_S, {}, 100, 8)
    assert await order_leases.lease_orders(connection, LEASE_S, {}, 100, 8) == []
    assert await store(connection, probe, codes(10)) == 10
    assert len(await order_leases.lease_orders(connection, LEASE_S, {}, 100, 8)) == 7
    assert await audit(connection) == []


async def test_orders_are_leased_ahead_of_services_whose_last_request_was_good(
    connection: Connection, minters: Minters
) -> None:
    good, failed = [await remote(connection, minters, name, pool_max=80) for name in ("GOOD", "FAILED")]
    for program in (good, failed):
        await top_up(connection, minters, program.id)
    [order] = await order_leases.lease_orders(connection, LEASE_S, {good.id: 1}, 1, 1)
    await record_failure(connection, order, FAILED, DAY_S)
    prefetched = await order_leases.prefetch_orders(connection, LEASE_S, {good.id: 3, failed.id: 3})
    assert [one.program for one in prefetched] == ["GOOD"] * 3
    # They are in one hand, as any others.
    others = await order_leases.lease_orders(connection, LEASE_S, {failed.id: 100}, 100, 100)
    assert len({one.id for one in (*prefetched, *others)}) == len(prefetched) + len(others) == 8
    assert await order_leases.prefetch_orders(connection, LEASE_S, {good.id: 3}) == []
    assert await audit(connection) == []


async def test_an_order_that_was_not_sent_goes_back_as_it_was(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    before = await connection.fetchrow("SELECT * FROM remote_request")
    await order_leases.return_orders(connection, [await taken(connection)])
    assert await connection.fetchrow("SELECT * FROM remote_request") == before
    again = await taken(connection)
    assert again.attempt == 1


async def test_who_has_lost_its_lease_returns_nothing(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    lost = await taken(connection, 0)
    held = await taken(connection)
    await order_leases.return_orders(connection, [lost])
    assert await take(connection, LEASE_S, {}, 100) is None
    assert await store(connection, held, codes(10)) == 10
    await order_leases.return_orders(connection, [held])
    assert await connection.fetchval("SELECT attempts FROM remote_request") == 2
