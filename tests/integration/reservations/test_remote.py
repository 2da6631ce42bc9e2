"""Reservations in programs of remote services: pending until the orders arrive, which nothing else takes."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.issuing.waits import Wait
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.reservations import pending, reservations, states
from schemas.reservations import ReservationChanges
from tests.integration.reservations.test_claims import reserve
from tests.support.factories import OFF, message
from tests.support.remote_programs import asked, codes, remote, stock, store, taken
from tests.support.stock import attach_all, reasons
from tests.support.stock import codes as codes_of


async def test_an_order_fills_the_reservation_and_not_the_pool(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    """The last delivery is short: what it lacks is ordered again."""
    program = await remote(connection, minters, **OFF)
    mine = await reserve(connection, minters, program.id, 25)
    assert (mine.state, mine.reserved, mine.left, mine.parts.on_order) == ("pending", 25, 0, 25)
    assert await asked(connection) == [10, 10, 5]
    await states.note_changes(connection)
    assert await states.unpublished(connection) == []

    orders = [await taken(connection) for _ in range(3)]
    for number, order in enumerate(orders):
        count = order.asked - (2 if number == 2 else 0)
        await store(connection, order, codes(count, number * 100))
        assert await audit(connection) == []
    found = await reservations.get(connection, program.id, mine.id)
    assert (found.state, found.left, found.on_order) == ("pending", 23, 2)
    asked_for = [message("SPRING", campaign_id="autumn"), message("SPRING")]
    rows = await attach_all(claims, asked_for)
    assert [code is None for code in codes_of(rows, asked_for)] == [True, False]

    assert await pending.order_missing(connection, program.id) == 2
    assert await pending.order_missing(connection, program.id) == 0
    await store(connection, await taken(connection), codes(2, 900))
    found = await reservations.get(connection, program.id, mine.id)
    assert (found.state, found.used, found.left, found.on_order) == ("ready", 1, 24, 0)
    await states.note_changes(connection)
    assert [one.state for one in await states.unpublished(connection)] == ["ready"]
    assert await audit(connection) == []


@pytest.mark.parametrize("overflow", ["pool", "refuse"])
async def test_a_campaign_waits_for_the_codes_that_are_on_order_for_it(
    connection: Connection, claims: Claims, minters: Minters, overflow: str
) -> None:
    """The maximum allows no other, and no campaign may create one."""
    program = await remote(connection, minters, codes_max=2, pool_max=2, **OFF)
    mine = await reserve(connection, minters, program.id, 2, overflow=overflow)
    asked_for = [message("SPRING") for _ in range(3)]
    other = message("SPRING", campaign_id="autumn")

    claimed = await claims.attach([*asked_for, other])

    assert [request.id for request in claimed.waiting] == [request.id for request in asked_for]
    assert list(claimed.rows) == [other.id]
    assert '"reason":"maximum_reached"' in reasons(claimed.rows[other.id])
    late = message("SPRING")
    rows = (await claims.attach([late._replace(wait=Wait(datetime.now(UTC)))])).rows
    [refusal] = json.loads(reasons(rows[late.id]))
    assert refusal["reason"] == "remote_failed"
    assert refusal["detail"].startswith("The remote service of SPRING gave no code in time.")
    await store(connection, await taken(connection), codes(2))
    claimed = await claims.attach(claimed.waiting)
    assert [code is None for code in codes_of(claimed.rows, asked_for)] == [False, False, True]
    reason = "maximum_reached" if overflow == "pool" else "pool_empty"
    assert f'"reason":"{reason}"' in reasons(claimed.rows[asked_for[2].id])
    assert (await reservations.get(connection, program.id, mine.id)).used == 2
    assert await audit(connection) == []


async def test_the_pool_is_ordered_beside_a_pending_reservation(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, codes_max=1_000, pool_max=25)
    await reserve(connection, minters, program.id, 30)

    await top_up(connection, minters, program.id)

    assert await stock(connection) == (0, 0, 55)
    assert await audit(connection) == []


async def test_orders_of_a_reservation_that_shrank_or_ended_come_to_the_pool(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, **OFF)
    mine = await reserve(connection, minters, program.id, 20)
    less = await reservations.change(connection, minters, program.id, mine.id, ReservationChanges(count=5))
    assert (less.reserved, less.on_order) == (5, 5)
    await store(connection, await taken(connection), codes(10))
    assert (await reservations.get(connection, program.id, mine.id)).left == 5
    await reservations.release(connection, program.id, mine.id)
    await store(connection, await taken(connection), codes(10, 100))

    assert await stock(connection) == (20, 20, 0)
    assert await connection.fetchval("SELECT sum(size) FROM block WHERE open") == 20
    assert await audit(connection) == []


async def test_delivered_codes_that_expire_before_the_send_become_shortfall(
    connection: Connection, minters: Minters
) -> None:
    """What no delivery had is ordered again, and codes that were ordered for something else count for nothing."""
    program = await remote(connection, minters, codes_max=1_000, request_max=20, **OFF)
    now = datetime.now(UTC)
    until = now + timedelta(days=20)
    soon = await reserve(connection, minters, program.id, 5, "soon", until=until, send_at=now + timedelta(days=1))
    late = await reserve(connection, minters, program.id, 20, "late", until=until, send_at=now + timedelta(days=10))
    a_week = now + timedelta(days=7)
    await generate(connection, minters, program.id, 3, None)

    orders = sorted([await taken(connection) for _ in range(3)], key=lambda order: order.asked)
    await store(connection, orders[0], codes(3, 900, expires_at=now + timedelta(hours=1)))
    assert (await reservations.get(connection, program.id, late.id)).on_order == 20
    await store(connection, orders[2], codes(18, 100, expires_at=a_week))
    found = await reservations.get(connection, program.id, soon.id)
    assert (found.state, found.reserved, found.left, found.shortfall) == ("ready", 5, 5, 0)
    found = await reservations.get(connection, program.id, late.id)
    assert (found.state, found.reserved, found.on_order, found.shortfall) == ("pending", 7, 7, 13)
    await store(connection, orders[1], codes(5, expires_at=a_week))
    found = await reservations.get(connection, program.id, late.id)
    assert (found.state, found.reserved, found.on_order, found.shortfall) == ("pending", 2, 2, 18)

    assert await pending.order_missing(connection, program.id) == 2
    await store(connection, await taken(connection), codes(2, 200, expires_at=a_week + timedelta(days=7)))
    assert await pending.order_missing(connection, program.id) == 0
    found = await reservations.get(connection, program.id, late.id)
    assert (found.state, found.reserved, found.left, found.shortfall) == ("ready", 2, 2, 18)
    assert await stock(connection) == (28, 28, 0)
    assert await audit(connection) == []
