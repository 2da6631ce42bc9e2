"""How full pools were: written once in ten minutes, read for a chart, deleted when old."""

from datetime import UTC, datetime, timedelta

import asyncpg

from codewell.infra.postgres.connection import pool
from codewell.pool import fill, level_history
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ProgramSettings
from tests.support.servers import as_role


async def make(connection: asyncpg.Connection, name: str, codes: int) -> int:
    source = {"kind": "template", "template": name + "-{string 12}"}
    settings = ProgramSettings.model_validate({"name": name, "source": source, "codes_max": 1_000})
    made = await programs.create(connection, Minters(None), settings, 10)
    if codes:
        await fill.generate(connection, Minters(None), made.id, codes, None)
    return made.id


async def test_a_generator_writes_the_levels_once_in_ten_minutes(
    connection: asyncpg.Connection, database_url: str
) -> None:
    spring, empty = await make(connection, "SPRING", 30), await make(connection, "EMPTY", 0)
    gone = await make(connection, "GONE", 5)
    await programs.remove(connection, "GONE")
    async with pool(as_role(database_url, "generator"), "codewell-test", 1) as own, own.acquire() as generator:
        await level_history.record(generator)
        await fill.generate(connection, Minters(None), spring, 20, None)
        await level_history.record(generator)

    since = datetime.now(UTC) - timedelta(hours=1)
    [level] = await level_history.read(connection, spring, since)
    assert level.pooled == 30
    assert level.at.minute % level_history.STEP_MINUTES == level.at.second == 0
    assert [one.pooled for one in await level_history.read(connection, empty, since)] == [0]
    assert await level_history.read(connection, gone, since) == []


async def test_old_levels_are_deleted(connection: asyncpg.Connection, database_url: str) -> None:
    spring = await make(connection, "SPRING", 0)
    for days in (0, 34, 36):
        await connection.execute(
            "INSERT INTO pool_level VALUES ($1, now() - make_interval(days => $2), 1)", spring, days
        )
    async with pool(as_role(database_url, "generator"), "codewell-test", 1) as own, own.acquire() as generator:
        await level_history.delete_old(generator)

    assert len(await level_history.read(connection, spring, datetime(2020, 1, 1, tzinfo=UTC))) == 2
