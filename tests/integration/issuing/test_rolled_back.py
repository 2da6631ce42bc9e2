"""A claim that ends in the middle gives its codes back by ending."""

import asyncio

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import message, program
from tests.support.stock import codes, stop_in_the_middle, until_waiting


async def test_a_cancelled_claim_leaves_its_codes_to_the_next(
    connection: Connection, bystander: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile")
    await generate(connection, minters, spring.id, 50, None)
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(20)]
    other = await stop_in_the_middle(bystander, max(requests, key=lambda request: request.id))
    claim = asyncio.create_task(claims.attach(requests))
    await until_waiting(connection)

    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    await other.rollback()

    assert await connection.fetchval("SELECT count(*) FROM answer") == 0
    stock = await overview.stock(connection, "SPRING")
    assert (stock.attached, stock.pooled) == (0, 50)
    assert connections.get_idle_size() == connections.get_size()
    claimed = await claims.attach(requests)
    assert sorted(rows[0].position or 0 for rows in claimed.rows.values()) == list(range(20))
    assert await audit(connection) == []


async def test_a_claim_whose_connection_breaks_leaves_its_codes_to_the_next(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 50, None)
    requests = [message("SPRING") for _ in range(20)]
    other = await stop_in_the_middle(bystander, requests[-1])
    claim = asyncio.create_task(claims.attach(requests))
    await until_waiting(connection)

    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with pytest.raises(UNAVAILABLE_ERRORS):
        await claim
    await other.rollback()

    assert (await overview.stock(connection, "SPRING")).attached == 0
    claimed = await claims.attach(requests)
    assert len(set(codes(claimed.rows, requests)) - {None}) == 20
    assert await audit(connection) == []


async def test_an_answer_that_comes_meanwhile_sends_the_rest_round_again(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    """The other worker's answer stands; what was drawn for it goes to nobody and is given next."""
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 50, None)
    requests = [message("SPRING") for _ in range(20)]
    other = await stop_in_the_middle(bystander, requests[7])
    claim = asyncio.create_task(claims.attach(requests))
    await until_waiting(connection)

    await other.commit()
    claimed = await claim

    assert claimed.rows[requests[7].id][0].refusals == "[]"
    given = set(codes(claimed.rows, requests))
    assert len(given) == 20
    assert sorted(rows[0].position or 0 for rows in claimed.rows.values() if rows[0].code) == list(range(19))
    assert await audit(connection) == []
