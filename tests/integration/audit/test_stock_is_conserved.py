"""I4: whenever anybody looks, the codes that a program made and took in are all somewhere."""

import asyncio
from pathlib import Path

import pytest

from codewell.audit.promises import audit
from codewell.imports import run
from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate, make_for_request, top_up
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import Source
from codewell.programs import overview
from tests.support.concurrent_users import Everybody, look_at_all
from tests.support.factories import message, program
from tests.support.remote_programs import remote
from tests.support.stock import attach_all, delete_codes, list_block


async def test_stock_is_conserved_at_every_commit(
    connection: Connection, connections: Pool, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=3_000, pool_max=300, ttl="P1D")
    holed = await list_block(connection, spring.id, [f"X{n}" for n in range(50)])
    await delete_codes(connection, holed, range(10, 20))
    looks = []

    async def fill() -> None:
        for _ in range(5):
            async with connections.acquire() as one:
                await top_up(one, minters, spring.id)
            async with connections.acquire() as one:
                await make_for_request(one, minters, spring.id, Source.CAMPAIGN, 150, 1_000)
            async with connections.acquire() as one:
                await generate(one, minters, spring.id, 20, None)

    async def work(worker: Claims) -> None:
        for _ in range(8):
            await attach_all(worker, [message("SPRING") for _ in range(60)])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in (fill(), work(claims), work(others))]
        while not all(task.done() for task in tasks):
            looks.append(await overview.stock(connection, "SPRING"))

    looks.append(await overview.stock(connection, "SPRING"))
    assert len({(look.made, look.attached) for look in looks}) > 2
    for look in looks:
        assert look.made + look.imported == look.pooled + look.attached + look.expired + look.deleted
        assert min(look.pooled, look.attached, look.expired, look.deleted) >= 0
        assert look.made + look.imported <= look.codes_max
    assert (looks[-1].attached, looks[-1].imported, looks[-1].deleted) == (960, 50, 10)
    given = await connection.fetchval("SELECT count(*) FROM answer WHERE code IS NOT NULL AND NOT again")
    assert given == looks[-1].attached
    assert await audit(connection) == []


async def test_i4_holds_at_any_moment_while_everything_happens_at_once(
    connection: Connection, database_url: str, minters: Minters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CHUNK_ROWS", 20)
    await program(connection, minters, reuse="profile", ttl="P1D", codes_max=20_000)
    await remote(connection, minters, "DISTANT", codes_max=3_000, pool_max=60)
    looks = 0

    async with pool(database_url, "codewell-test", 20) as connections:
        everybody = Everybody(connections, tmp_path)
        async with asyncio.TaskGroup() as group:
            work = group.create_task(everybody.work(files=14))
            while not work.done():
                assert await audit(connection) == []
                await look_at_all(connection)
                looks += 1

    assert looks > 10
    # Chance has left nothing out.
    did = {"activate", "deactivate", "detach", "delete", "live", "name", "forget", "export", "expire", "generate_for"}
    assert did <= everybody.done.keys()
    for moved in ("taken_back", "attached"):
        assert await connection.fetchval(f"SELECT sum({moved}) FROM import") > 0
    assert await connection.fetchval("SELECT sum(received) FROM remote_request") > 0
    assert await audit(connection) == []


async def test_codes_whose_life_ended_in_the_pool_are_counted_as_expired(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, campaign_can_create=False)
    await generate(connection, minters, spring.id, 40, None)
    await claims.attach([message("SPRING") for _ in range(15)])
    await connection.execute("UPDATE block SET expires_at = now()")

    stock = await overview.stock(connection, "SPRING")

    assert (stock.made, stock.pooled, stock.attached, stock.expired) == (40, 0, 15, 25)
