"""What a claim does while others have locked what it wants."""

import asyncio

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import message, program
from tests.support.stock import codes, until_waiting

SHORT_MS = 100
# Below the limit of any lock, so that who waits for one fails here.
NOBODY_WAITS_S = 5.0


@pytest.mark.parametrize("held_back", [False, True])
async def test_a_claim_waits_for_the_last_block_and_goes_on(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters, held_back: bool
) -> None:
    """Whoever has the block gives its codes back or takes them; both are known only at the end of his transaction."""
    spring = await program(connection, minters, codes_max=5, pool_max=5)
    await generate(connection, minters, spring.id, 5, None)
    other = bystander.transaction()
    await other.start()
    await bystander.execute("SELECT id FROM block FOR UPDATE")
    requests = [message("SPRING") for _ in range(3)]
    waiting = asyncio.create_task(claims.attach(requests))
    await until_waiting(connection)

    if held_back:
        await other.rollback()
    else:
        await bystander.execute("UPDATE block SET next = size, attached = size, open = false")
        await other.commit()
    claimed = await waiting

    assert claimed.waiting == []
    given = codes(claimed.rows, requests)
    if held_back:
        assert len(set(given)) == 3
        assert await audit(connection) == []
    else:
        assert given == [None] * 3
        assert "maximum_reached" in (claimed.rows[requests[0].id][0].refusals or "")


async def test_a_block_that_nobody_has_is_taken_at_once(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    for _ in range(3):
        await generate(connection, minters, spring.id, 10, None)
    async with bystander.transaction():
        locked = await bystander.fetchval("SELECT id FROM block ORDER BY id LIMIT 1 FOR UPDATE")
        requests = [message("SPRING") for _ in range(20)]
        claimed = await claims.attach(requests)

    assert claimed.waiting == []
    assert locked not in {rows[0].block_id for rows in claimed.rows.values()}
    assert len(set(codes(claimed.rows, requests))) == 20


async def test_who_waits_too_long_is_put_off_and_the_others_are_not(
    connection: Connection,
    bystander: Connection,
    claims: Claims,
    minters: Minters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codewell.issuing.claim.BUSY_TIMEOUT_MS", SHORT_MS)
    for name in ("STUCK", "FREE"):
        made = await program(connection, minters, name)
        await generate(connection, minters, made.id, 10, None)
    stuck = [message("STUCK"), message("FREE", "STUCK")]
    free = [message("FREE"), message("STUCK", "NOPE")]
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block JOIN program p ON p.id = program_id WHERE name = 'STUCK' FOR UPDATE")
        claimed = await claims.attach([*stuck, *free])

    assert {request.id for request in claimed.waiting} == {request.id for request in stuck}
    assert claimed.rows.keys() == {request.id for request in free}
    # Nothing was decided for them, so nothing is stored: they get their codes when they come again.
    later = await claims.attach(claimed.waiting)
    assert later.waiting == []
    assert all(row.code for request in stuck for row in later.rows[request.id])
    assert (await overview.stock(connection, "FREE")).attached == 2
    assert await audit(connection) == []


async def test_who_can_not_make_codes_in_time_is_put_off(
    connection: Connection,
    bystander: Connection,
    claims: Claims,
    minters: Minters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codewell.issuing.claim.BUSY_TIMEOUT_MS", SHORT_MS)
    for name in ("STUCK", "FREE"):
        await program(connection, minters, name)
    stuck, free = message("STUCK"), message("FREE")
    async with bystander.transaction():
        await bystander.execute("SELECT FROM program WHERE name = 'STUCK' FOR UPDATE")
        claimed = await claims.attach([stuck, free])

    assert claimed.waiting == [stuck]
    assert codes(claimed.rows, [free]) != [None]
    assert codes((await claims.attach([stuck])).rows, [stuck]) != [None]
    assert await audit(connection) == []


async def test_who_fills_a_program_is_in_nobodys_way(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile")
    await generate(connection, minters, spring.id, 5, None)
    request = message("SPRING")
    async with bystander.transaction():
        await top_up(bystander, minters, spring.id)
        async with asyncio.timeout(NOBODY_WAITS_S):
            claimed = await claims.attach([request])

    assert claimed.rows[request.id][0].code is not None
    assert await audit(connection) == []


async def test_who_notes_something_on_one_code_has_not_locked_its_block(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 5, None)
    first, second = message("SPRING"), message("SPRING")
    await claims.attach([first])
    async with bystander.transaction():
        await bystander.execute("INSERT INTO code_state (block_id, position, activated_at) VALUES (1, 0, now())")
        async with asyncio.timeout(NOBODY_WAITS_S):
            claimed = await claims.attach([second])

    assert claimed.waiting == []
    assert claimed.rows[second.id][0].position == 1
    assert await audit(connection) == []


async def test_what_a_killed_worker_had_locked_is_free_again(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 5, None)
    await bystander.execute("BEGIN")
    await bystander.execute("SELECT id FROM block FOR UPDATE")
    request = message("SPRING")
    waiting = asyncio.create_task(claims.attach([request]))
    await until_waiting(connection)

    await connection.execute("SELECT pg_terminate_backend($1)", bystander.get_server_pid())
    claimed = await waiting

    assert claimed.rows[request.id][0].position == 0
    assert await audit(connection) == []
