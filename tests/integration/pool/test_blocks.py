"""How many blocks a pool has: enough for the workers that are there, few however many codes are made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.issuing.claim import Claims
from codewell.pool.block_sizes import blocks_needed
from codewell.pool.fill import FillResult, announce_worker, generate, needy_programs, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import message, program
from tests.support.running import until
from tests.support.stock import delete_codes, list_block

WORKERS = 6


@pytest.fixture
async def workers(database_url: str) -> AsyncIterator[Pool]:
    """As many connections as there are workers, each announced and idle."""
    async with pool(database_url, "codewell-test", WORKERS, announce_worker) as opened:
        async with AsyncExitStack() as held:
            for _ in range(WORKERS):
                await held.enter_async_context(opened.acquire())
        yield opened


async def open_blocks(connection: Connection) -> list[int]:
    rows = await connection.fetch("SELECT size FROM block WHERE open ORDER BY size")
    return [row["size"] for row in rows]


async def fill_until_content(connection: Connection, minters: Minters, program_id: int) -> int:
    """Look at the pool as often as it takes, and return how often that was."""
    looks = 0
    while await needy_programs(connection):
        await top_up(connection, minters, program_id)
        looks += 1
        assert looks < 10
    return looks


async def test_a_new_pool_has_blocks_for_the_workers_that_are_there(
    connection: Connection, workers: Pool, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=50_000, pool_max=50_000)

    await top_up(connection, minters, spring.id)

    assert len(await open_blocks(connection)) == blocks_needed(WORKERS) == 12
    assert await needy_programs(connection) == []
    assert await audit(connection) == []


async def test_a_worker_is_counted_while_its_connection_lives(
    connection: Connection, database_url: str, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=50_000, pool_max=50_000)
    await top_up(connection, minters, spring.id)
    assert len(await open_blocks(connection)) == blocks_needed(0) == 4
    assert await needy_programs(connection) == []

    come = [await asyncpg.connect(database_url) for _ in range(WORKERS)]
    for one in come:
        # Once or twice, it is one worker.
        await announce_worker(one)
        await announce_worker(one)
    assert await needy_programs(connection) == [spring.id]
    for one in come:
        await one.close()

    async def nobody_needs() -> bool:
        return await needy_programs(connection) == []

    await until(nobody_needs, "end of the workers")


async def test_workers_that_come_later_get_the_halves_of_the_largest(
    connection: Connection, workers: Pool, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=50_000, pool_max=50_000)
    await list_block(connection, spring.id, ["X"])
    async with connection.transaction():
        await generate(connection, minters, spring.id, 49_999, '{"discount": "10"}')
        # As if it had been made when nobody else was there.
        await connection.execute("DELETE FROM block WHERE kind = 'range'")
        await connection.execute(
            "INSERT INTO block (program_id, kind, version, first, size, fields, origin) "
            """VALUES ($1, 'range', 1, 0, 49999, '{"discount": "10"}', 'generate')""",
            spring.id,
        )

    looks = await fill_until_content(connection, minters, spring.id)

    assert looks > 1
    sizes = await open_blocks(connection)
    assert len(sizes) >= 12
    assert sum(sizes) == 50_000
    assert max(sizes) < 49_999 / 4
    assert (await overview.stock(connection, "SPRING")).made == 49_999
    assert await connection.fetchval("SELECT count(*) FROM block WHERE fields IS NOT NULL") == len(sizes) - 1
    assert await audit(connection) == []


async def test_halves_are_cut_from_what_is_left_and_give_no_code_twice(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=4_000, pool_max=4_000)
    await top_up(connection, minters, spring.id)
    given: list[str | None] = []
    async with connections.acquire() as one:
        await announce_worker(one)
        for look in range(8):
            taken, _ = await asyncio.gather(
                claims.attach([message("SPRING") for _ in range(400)]), top_up(one, minters, spring.id)
            )
            given += [rows[0].code for rows in taken.rows.values()]
            assert await audit(connection) == [], look

    assert len(set(given)) == len(given) == 3_200


async def test_a_block_with_holes_or_in_use_stays_whole(
    connection: Connection, bystander: Connection, workers: Pool, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=8_000, pool_max=8_000)
    await connection.execute("UPDATE program SET made = 8000")
    await connection.execute("UPDATE template_version SET next_number = 8000")
    for first in (0, 4_000):
        await connection.execute(
            "INSERT INTO block (program_id, kind, version, first, size, origin) "
            "VALUES ($1, 'range', 1, $2, 4000, 'generate')",
            spring.id,
            first,
        )
    await delete_codes(connection, 1, [7])
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block WHERE id = 2 FOR UPDATE")
        assert await top_up(connection, minters, spring.id) == FillResult("SPRING", 7_999, 0)

    assert await open_blocks(connection) == [4_000, 4_000]
    await top_up(connection, minters, spring.id)
    assert await open_blocks(connection) == [2_000, 2_000, 4_000]
    assert await audit(connection) == []


async def test_small_pools_are_not_cut_into_crumbs(connection: Connection, workers: Pool, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=900, pool_max=900)

    await top_up(connection, minters, spring.id)
    await top_up(connection, minters, spring.id)

    assert await open_blocks(connection) == [450, 450]
    assert await needy_programs(connection) == []
