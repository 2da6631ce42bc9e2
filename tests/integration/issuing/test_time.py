"""I6: nothing is attached outside the validity period or after a code's end, by the database's clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, Request
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import OFF, message, program, step
from tests.support.running import until
from tests.support.stock import list_block, reasons, until_waiting

# The same moment for each row that a statement changes.
SOON = "statement_timestamp() + interval '0.3 s'"
# Long enough for a slow machine to start waiting before it is over.
IN_A_WHILE = "statement_timestamp() + interval '2 s'"


async def attach_one(claims: Claims, request: Request) -> AnswerRow:
    [row] = (await claims.attach([request])).rows[request.id]
    return row


async def until_after(connection: Connection, moment: datetime) -> None:
    """Wait until the database's clock has passed the moment."""

    async def over() -> bool:
        passed: bool = await connection.fetchval("SELECT clock_timestamp() > $1", moment)
        return passed

    await until(over, "end")


async def answers(connection: Connection) -> tuple[list[datetime], list[datetime]]:
    """When codes were given and when they were refused, by the database's clock."""
    rows = await connection.fetch("SELECT answered_at, refusals FROM answer ORDER BY answered_at")
    given = [row["answered_at"] for row in rows if row["refusals"] is None]
    return given, [row["answered_at"] for row in rows if row["refusals"] is not None]


async def test_a_program_that_ends_meanwhile_gives_until_its_end_and_not_after(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 10_000, None)
    await attach_one(claims, message("SPRING"))
    until_then = await connection.fetchval(f"UPDATE program SET valid_until = {SOON} RETURNING valid_until")

    async def refused() -> bool:
        return (await attach_one(claims, message("SPRING"))).refusals is not None

    await until(refused, "end of the validity period")

    before, after = await answers(connection)
    assert max(before) < until_then <= min(after)
    assert "program_ended" in reasons([await attach_one(claims, step("SPRING"))])
    assert await audit(connection) == []


async def test_a_program_that_begins_meanwhile_gives_nothing_before(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await connection.execute("UPDATE program SET valid_from = now() + interval '1 h'")
    assert "program_not_started" in reasons([await attach_one(claims, message("SPRING"))])
    valid_from = await connection.fetchval(f"UPDATE program SET valid_from = {SOON} RETURNING valid_from")

    async def attached() -> bool:
        return (await attach_one(claims, message("SPRING"))).code is not None

    await until(attached, "begin of the validity period")

    given, refused = await answers(connection)
    assert max(refused) < valid_from <= min(given)
    assert (await overview.stock(connection, "SPRING")).made == spring.pool_max
    assert await audit(connection) == []


async def test_codes_that_end_meanwhile_are_given_until_their_end_and_not_after(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=5_000, **OFF)
    await generate(connection, minters, spring.id, 5_000, None)
    await attach_one(claims, message("SPRING"))
    ends = await connection.fetchval(f"UPDATE block SET expires_at = {SOON} RETURNING expires_at")

    async def refused() -> bool:
        return (await attach_one(claims, message("SPRING"))).refusals is not None

    await until(refused, "end of the codes' life")

    before, after = await answers(connection)
    assert max(before) < ends <= min(after)
    assert "maximum_reached" in reasons([await attach_one(claims, message("SPRING"))])
    assert await audit(connection) == []


@pytest.mark.parametrize("ending", ["block SET expires_at", "program SET valid_until"])
async def test_the_clock_goes_on_while_a_claim_waits(
    connection: Connection,
    bystander: Connection,
    claims: Claims,
    minters: Minters,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    monkeypatch.setattr("codewell.issuing.claim.BUSY_TIMEOUT_MS", 20_000)
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 10, None)
    what = ending.rpartition(" ")[2]
    ends = await connection.fetchval(f"UPDATE {ending} = {IN_A_WHILE} RETURNING {what}")
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block FOR UPDATE")
        waiting = asyncio.create_task(attach_one(claims, message("SPRING")))
        await until_waiting(connection)
        await until_after(connection, ends)

    assert (await waiting).refusals is not None
    assert (await overview.stock(connection, "SPRING")).attached == 0


@pytest.mark.parametrize("asked", [True, False])
async def test_the_clock_goes_on_while_somebody_else_makes_codes(
    connection: Connection, bystander: Connection, connections: Pool, minters: Minters, asked: bool
) -> None:
    spring = await program(connection, minters)
    ends = await connection.fetchval(f"UPDATE program SET valid_until = {IN_A_WHILE} RETURNING valid_until")
    async with connections.acquire() as one:
        async with bystander.transaction():
            await bystander.execute("SELECT FROM program FOR UPDATE")
            making = asyncio.create_task(
                generate(one, minters, spring.id, 10, None) if asked else top_up(one, minters, spring.id)
            )
            await until_waiting(connection)
            await until_after(connection, ends)
        await asyncio.wait([making])

    assert (making.exception() is not None) is asked
    assert (await overview.stock(connection, "SPRING")).made == 0


async def test_what_was_decided_after_waiting_is_dated_after_waiting(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that begins while a claim waits gives codes, and the audit finds nothing wrong with that."""
    monkeypatch.setattr("codewell.issuing.claim.BUSY_TIMEOUT_MS", 20_000)
    spring = await program(connection, minters, ttl="P1D", ttl_from="attachment", **OFF)
    await generate(connection, minters, spring.id, 10, None)
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block FOR UPDATE")
        waiting = asyncio.create_task(attach_one(claims, message("SPRING")))
        await until_waiting(connection)
        begins = await connection.fetchval("UPDATE program SET valid_from = clock_timestamp() RETURNING valid_from")
        await connection.execute("UPDATE program SET valid_from = created_at")
        await until_after(connection, begins)

    row = await waiting
    answered_at = await connection.fetchval("SELECT answered_at FROM answer")
    assert answered_at > begins
    assert row.expires_at == answered_at + timedelta(days=1)
    assert await audit(connection) == []


async def test_the_dead_stand_in_nobodys_way(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await list_block(connection, spring.id, ["DEAD-1", "DEAD-2"], lives=timedelta(microseconds=-1))
    await list_block(connection, spring.id, ["ALIVE"], lives=timedelta(days=1))

    first = await attach_one(claims, message("SPRING"))
    second = await attach_one(claims, message("SPRING"))

    assert first.code == "ALIVE"
    assert "pool_empty" in reasons([second])
    assert await audit(connection) == []


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("valid_until = now()", "program_ended"),
        ("valid_from = now() + interval '1 h'", "program_not_started"),
        ("active = false", "program_inactive"),
        ("removed_at = now()", "program_inactive"),
    ],
)
@pytest.mark.parametrize("pooled", [0, 10])
async def test_outside_its_time_a_program_gives_and_makes_nothing(
    connection: Connection, claims: Claims, minters: Minters, setting: str, reason: str, pooled: int
) -> None:
    spring = await program(connection, minters)
    if pooled:
        await generate(connection, minters, spring.id, pooled, None)
    await connection.execute(f"UPDATE program SET {setting}")

    rows = [await attach_one(claims, request) for request in (message("SPRING"), message("SPRING", preview=True))]

    assert all(f'"{reason}"' in reasons([row]) for row in rows)
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached) == (pooled, 0)


async def test_a_deadline_is_judged_by_the_databases_clock(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    now = await connection.fetchval("SELECT now()")

    late = await attach_one(claims, message("SPRING", deadline=now))
    in_time = await attach_one(claims, message("SPRING", deadline=now + timedelta(hours=1)))
    ancient = await attach_one(claims, message("SPRING", "NOPE", deadline=datetime(1, 1, 1, tzinfo=UTC)))

    assert "deadline_passed" in reasons([late])
    assert "deadline_passed" in reasons([ancient])
    assert in_time.code is not None
    assert (await overview.stock(connection, "SPRING")).attached == 1
    assert spring.pool_max > 1


@pytest.mark.parametrize("ttl_from", ["creation", "attachment"])
async def test_the_life_of_a_code_begins_where_the_program_says(
    connection: Connection, claims: Claims, minters: Minters, ttl_from: Any
) -> None:
    ttl = timedelta(days=2, microseconds=5)
    spring = await program(connection, minters, ttl=ttl, ttl_from=ttl_from)
    await generate(connection, minters, spring.id, 10, None)

    row = await attach_one(claims, message("SPRING"))

    created = await connection.fetchrow("SELECT created_at, expires_at FROM block")
    answered_at = await connection.fetchval("SELECT answered_at FROM answer")
    assert row.expires_at == (created["created_at"] if ttl_from == "creation" else answered_at) + ttl
    assert created["expires_at"] == (created["created_at"] + ttl if ttl_from == "creation" else None)
    assert await audit(connection) == []
