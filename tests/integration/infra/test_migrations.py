import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from codewell.errors import SchemaMismatch
from codewell.infra.postgres import migrations
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import ROLES, Migration, check_schema, load_migrations, migrate
from tests.support.stock import until_waiting

NAMES = [migration.name for migration in load_migrations()]
LATEST = len(NAMES)


@pytest.fixture
async def fresh(empty_database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(empty_database_url)
    yield opened
    await opened.close()


async def tables(connection: Connection) -> set[str]:
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return {row["relname"] for row in rows}


def test_numbers_have_no_gap_and_names_say_more_than_a_number() -> None:
    assert [migration.number for migration in load_migrations()] == list(range(1, LATEST + 1))
    assert all(len(name) > len("0001_.sql") for name in NAMES)


async def test_all_are_applied_once(fresh: Connection) -> None:
    assert await migrate(fresh) == [*NAMES, ROLES]
    before = await tables(fresh)
    await check_schema(fresh)

    assert await migrate(fresh) == []
    assert await tables(fresh) == before
    assert [row["name"] for row in await fresh.fetch("SELECT name FROM migration ORDER BY number")] == NAMES


async def test_of_two_at_once_one_does_the_work(fresh: Connection, empty_database_url: str) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(connect_and_migrate(empty_database_url)) for _ in range(4)]

    assert sorted(task.result() for task in tasks) == [[], [], [], [*NAMES, ROLES]]
    await check_schema(fresh)


async def connect_and_migrate(url: str) -> list[str]:
    connection = await asyncpg.connect(url, server_settings={"lock_timeout": "1"})
    try:
        return await migrate(connection)
    finally:
        await connection.close()


async def test_the_second_waits_for_the_first_however_long_that_takes(
    fresh: Connection, empty_database_url: str
) -> None:
    first = await asyncpg.connect(empty_database_url)
    transaction = first.transaction()
    await transaction.start()
    await migrate(first)
    second = asyncio.create_task(connect_and_migrate(empty_database_url))
    await until_waiting(fresh)

    await transaction.rollback()
    await first.close()

    assert await second == [*NAMES, ROLES]


async def test_only_what_is_missing_is_applied(fresh: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate(fresh)
    more = Migration(LATEST + 1, "more.sql", "CREATE TABLE more (id int); INSERT INTO more VALUES (1)")
    monkeypatch.setattr(migrations, "load_migrations", lambda: [*load_migrations(), more])

    with pytest.raises(SchemaMismatch) as raised:
        await check_schema(fresh)
    assert str(raised.value) == (
        f"The database's schema has version {LATEST}, but this program needs version {LATEST + 1}: run codewell "
        "migrate first."
    )
    assert await migrate(fresh) == ["more.sql"]
    await check_schema(fresh)
    assert await fresh.fetchval("SELECT count(*) FROM more") == 1


async def test_a_migration_that_fails_leaves_nothing(fresh: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Migration(LATEST + 1, "bad.sql", "CREATE TABLE bad (id int); SELECT 1 / 0")
    monkeypatch.setattr(migrations, "load_migrations", lambda: [*load_migrations(), bad])

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(fresh)

    assert await tables(fresh) == set()


async def test_a_newer_schema_is_refused(fresh: Connection) -> None:
    await migrate(fresh)
    await fresh.execute("INSERT INTO migration VALUES ($1, 'from_tomorrow.sql')", LATEST + 1)
    before = await tables(fresh)

    checks: list[Any] = [check_schema, migrate]
    for check in checks:
        with pytest.raises(SchemaMismatch) as raised:
            await check(fresh)
        assert str(raised.value) == (
            f"The database's schema has version {LATEST + 1}, but this program supports versions up to {LATEST}: "
            "install the version of codewell that migrated the database."
        )
    assert await tables(fresh) == before


async def test_a_database_without_a_schema_is_named_as_version_0(fresh: Connection) -> None:
    with pytest.raises(SchemaMismatch, match=f"has version 0, but this program needs version {LATEST}: run "):
        await check_schema(fresh)
    assert await tables(fresh) == set()
