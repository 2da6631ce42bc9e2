"""How much of a remote program is ordered, and the secrets that its service knows Codewell by."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool import orders
from codewell.pool.demand import LowPool
from codewell.pool.fill import generate, needy_programs, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.remote import signing_secrets
from tests.support import factories
from tests.support.factories import message
from tests.support.remote_programs import asked, codes, remote, stock, store, taken
from tests.support.stock import list_block


async def test_a_pool_is_ordered_up_to_its_mark_once(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters)
    assert await needy_programs(connection) == [program.id]
    filled = await top_up(connection, minters, program.id)
    assert filled is not None
    assert (filled.pooled, filled.made, filled.ordered) == (0, 0, 25)
    assert await asked(connection) == [10, 10, 5]
    assert await needy_programs(connection) == []
    again = await top_up(connection, minters, program.id)
    assert again is not None
    assert again.ordered == 0
    rows = await connection.fetch("SELECT id, fields FROM remote_request")
    assert all(row["id"].version == 7 and row["fields"] == "{}" for row in rows)
    assert await audit(connection) == []


async def test_the_maximum_counts_what_is_on_order(connection: Connection, claims: Claims, minters: Minters) -> None:
    program = await remote(connection, minters, codes_max=30, pool_max=30, request_max=100)
    await manual.attach_named(connection, minters, "SPRING", "BY-HAND", "p-1", uuid7())
    await top_up(connection, minters, program.id)
    assert await stock(connection) == (0, 0, 29)
    for attempt in (
        manual.attach_named(connection, minters, "SPRING", "ANOTHER", "p-2", uuid7()),
        generate(connection, minters, program.id, 1, None),
        programs.update(connection, minters, "SPRING", {"codes_max": 29, "pool_max": 1}, 10),
    ):
        with pytest.raises(ProgramRefused):
            await attempt
    with pytest.raises(asyncpg.CheckViolationError, match="program_maximum"):
        await list_block(connection, program.id, ["X"])
    # What comes later is no refusal, though there is no room now.
    claimed = await claims.attach([message("SPRING")])
    assert len(claimed.waiting) == 1
    assert await store(connection, await taken(connection), codes(29)) == 29
    assert await stock(connection) == (29, 29, 0)
    assert await audit(connection) == []


async def test_not_all_of_a_large_pool_is_ordered_at_once(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, request_max=1, pool_max=500)
    await top_up(connection, minters, program.id)
    assert len(await asked(connection)) == 100
    await store(connection, await taken(connection), codes(1))
    await top_up(connection, minters, program.id)
    assert len(await asked(connection)) == 100
    assert await audit(connection) == []


async def test_no_more_is_asked_for_than_is_on_order(connection: Connection, claims: Claims, minters: Minters) -> None:
    program = await remote(connection, minters)
    assert (await claims.attach([message("SPRING")])).low == {program.id: LowPool(0, is_urgent=True)}
    await top_up(connection, minters, program.id)
    assert (await claims.attach([message("SPRING")])).low == {}


async def test_only_remote_programs_have_a_service(connection: Connection, minters: Minters) -> None:
    await factories.program(connection, minters)
    with pytest.raises(ProgramRefused, match="has no remote service"):
        await orders.service_of(connection, "SPRING")


async def test_secrets_overlap_while_they_change_and_are_not_in_the_clear(connection: Connection) -> None:
    minters = Minters(b"m" * 32)
    program = await remote(connection, minters)
    [first] = await signing_secrets.active_secrets(connection, minters, program.id)
    assert first.text.startswith("whsec_")
    assert len(first.key) == 32
    stored = await connection.fetchval("SELECT secret FROM remote_secret")
    assert first.key not in stored
    assert first.key.hex() not in repr(first)
    assert first.text not in repr(first)

    second, old = await signing_secrets.rotate(connection, minters, program.id)
    assert (old.key, second.ends_at) == (first.key, None)
    assert old.ends_at is not None
    assert timedelta(hours=23) < old.ends_at - datetime.now(UTC) <= timedelta(hours=24)
    for _ in range(signing_secrets.ACTIVE_SECRETS_MAX - 2):
        await signing_secrets.rotate(connection, minters, program.id)
    with pytest.raises(ProgramRefused, match="5 valid secrets"):
        await signing_secrets.rotate(connection, minters, program.id)
    await connection.execute("UPDATE remote_secret SET ends_at = now() WHERE ends_at IS NOT NULL")
    assert len(await signing_secrets.active_secrets(connection, minters, program.id)) == 1


async def test_the_first_secret_of_a_program_is_made_once(connections: Pool, minters: Minters) -> None:
    async with connections.acquire() as connection:
        program = await remote(connection, minters)
        # A program from before there were secrets.
        await connection.execute("DELETE FROM remote_secret")

    async def ask() -> bytes:
        async with connections.acquire() as own:
            [only] = await signing_secrets.active_secrets(own, minters, program.id)
            return only.key

    assert len(set(await asyncio.gather(*(ask() for _ in range(4))))) == 1
