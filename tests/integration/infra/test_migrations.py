import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from codewell.errors import SchemaLocked, SchemaMismatch
from codewell.infra.postgres import migration_locks as locks
from codewell.infra.postgres import migrations
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import ROLES, Migration, check_schema, load_migrations, migrate, newer_version
from tests.support.running import until
from tests.support.stock import until_waiting

NAMES = [migration.name for migration in load_migrations()]
LATEST = load_migrations()[-1].number


@pytest.fixture
async def fresh(empty_database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(empty_database_url)
    yield opened
    await opened.close()


async def tables(connection: Connection) -> set[str]:
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return {row["relname"] for row in rows}


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


@pytest.fixture
def more(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets this version have more migrations, each of these statements; their tables are `more_1` and so on."""

    def add(*statements: str) -> None:
        added = [
            Migration(LATEST + number, f"{LATEST + number:04}_more.sql", sql)
            for number, sql in enumerate(statements, start=1)
        ]
        monkeypatch.setattr(migrations, "load_migrations", lambda: [*load_migrations(), *added])

    return add


INDEX = "-- min_worker: 1\n-- Beside writers.\nCREATE INDEX CONCURRENTLY more_by_id ON more (id);\n"
ASKS_FOR_ITS_TURN = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%advisory_lock%' AND pid <> pg_backend_pid()"""
IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('more_by_id')"


async def test_two_that_build_an_index_beside_writers_do_not_wait_for_each_other(
    connection: Connection, database_url: str, more: Callable[..., None]
) -> None:
    await connection.execute("CREATE TABLE more (id int)")
    more(INDEX)
    # The build waits for this transaction, and the second run for the build.
    old = await asyncpg.connect(database_url)
    transaction = old.transaction(isolation="repeatable_read")
    await transaction.start()
    await old.fetch("SELECT FROM more")
    first = asyncio.create_task(connect_and_migrate(database_url))
    await until_waiting(connection)
    second = asyncio.create_task(connect_and_migrate(database_url))

    async def waits() -> bool:
        return bool(await connection.fetchval(ASKS_FOR_ITS_TURN))

    await until(waits, "the second run")
    await transaction.rollback()
    await old.close()

    assert sorted([await first, await second]) == [[], [f"{LATEST + 1:04}_more.sql"]]
    assert await connection.fetchval(IS_VALID)


async def test_an_index_that_a_crash_left_invalid_is_built_again(
    connection: Connection, more: Callable[..., None]
) -> None:
    await connection.execute("CREATE TABLE more (id int)")
    await connection.execute("INSERT INTO more VALUES (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY more_by_id ON more (id)")
    assert await connection.fetchval(IS_VALID) is False
    more(INDEX)

    assert await migrate(connection) == [f"{LATEST + 1:04}_more.sql"]
    assert await connection.fetchval(IS_VALID)
    assert await migrate(connection) == []

    # A crash between the build and the note of it.
    await connection.execute("DELETE FROM migration WHERE number > $1", LATEST)
    assert await migrate(connection) == [f"{LATEST + 1:04}_more.sql"]


async def test_an_empty_database_gets_an_index_in_the_one_transaction(
    fresh: Connection, more: Callable[..., None]
) -> None:
    more("CREATE TABLE more (id int)", INDEX)

    assert len(await migrate(fresh)) == len(NAMES) + 3
    assert await fresh.fetchval(IS_VALID)


@pytest.mark.parametrize(
    ("statement", "waited"),
    [
        pytest.param("ALTER TABLE more ADD COLUMN told int", "its lock could not be had in 2 attempts", id="table"),
        pytest.param(INDEX, "a transaction did not end", id="index"),
    ],
)
async def test_one_that_cannot_get_its_lock_says_who_holds_it(
    statement: str,
    waited: str,
    connection: Connection,
    database_url: str,
    more: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await connection.execute("CREATE TABLE more (id int)")
    for name, value in {"LOCK_TIMEOUT_S": 0.6, "INDEX_LOCK_TIMEOUT_S": 0.6, "LOCK_ATTEMPTS_MAX": 2}.items():
        monkeypatch.setattr(locks, name, value)
    more("CREATE TABLE before (id int)", statement)
    holding = await asyncpg.connect(database_url, server_settings={"application_name": "psql"})
    observer = await asyncpg.connect(database_url)
    transaction = holding.transaction()
    await transaction.start()
    await holding.execute("INSERT INTO more VALUES (1)")

    with pytest.raises(SchemaLocked) as raised:
        await migrate(connection, observer)

    pid = holding.get_server_pid()
    assert re.search(
        rf"_more\.sql was not applied: {waited} .* process {pid} \(psql, user \w+, idle in transaction, for \d+ s\)\. "
        "Wait for that, or end it with pg_terminate_backend, and run codewell migrate again",
        str(raised.value),
    )
    assert raised.value.retriable
    # What came before it stays, and nobody waits behind it.
    assert await connection.fetchval("SELECT max(number) FROM migration") == LATEST + 1
    await holding.execute("INSERT INTO more VALUES (2)")
    await transaction.commit()
    assert await migrate(connection, observer) == [f"{LATEST + 2:04}_more.sql"]
    await holding.close()
    await observer.close()


async def test_only_what_is_missing_is_applied(connection: Connection, more: Callable[..., None]) -> None:
    more("CREATE TABLE more (id int); INSERT INTO more VALUES (1)")

    with pytest.raises(SchemaMismatch) as raised:
        await check_schema(connection)
    assert str(raised.value) == (
        f"The database's schema has version {LATEST}, but this program needs version {LATEST + 1}: run codewell "
        "migrate first."
    )
    assert await migrate(connection) == [f"{LATEST + 1:04}_more.sql"]
    await check_schema(connection)
    assert await connection.fetchval("SELECT count(*) FROM more") == 1


async def test_one_that_was_merged_after_a_later_one_is_applied_too(
    fresh: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migration(offset: int) -> Migration:
        return Migration(LATEST + offset, f"{LATEST + offset:04}_more.sql", f"CREATE TABLE more_{offset} (id int)")

    monkeypatch.setattr(migrations, "load_migrations", lambda: [*load_migrations(), migration(2)])
    await migrate(fresh)
    await check_schema(fresh)
    monkeypatch.setattr(migrations, "load_migrations", lambda: [*load_migrations(), migration(1), migration(2)])

    late = f"{LATEST + 1:04}_more.sql"
    with pytest.raises(SchemaMismatch, match=f"needs version {LATEST + 2}, and {late} is missing: run codewell mi"):
        await check_schema(fresh)
    assert await migrate(fresh) == [late]
    await check_schema(fresh)


async def test_a_migration_that_fails_leaves_nothing(fresh: Connection, more: Callable[..., None]) -> None:
    more("CREATE TABLE good (id int)", "CREATE TABLE bad (id int); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(fresh)
    assert await tables(fresh) == set()


async def test_one_that_fails_leaves_those_before_it(connection: Connection, more: Callable[..., None]) -> None:
    more("CREATE TABLE good (id int)", "CREATE TABLE bad (id int); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection)
    assert await connection.fetchval("SELECT max(number) FROM migration") == LATEST + 1
    assert "good" in await tables(connection)
    assert "bad" not in await tables(connection)


async def test_a_newer_schema_is_taken_if_it_takes_this_version(fresh: Connection, more: Callable[..., None]) -> None:
    later = ("CREATE TABLE more (id int)", f"-- min_worker: {LATEST + 1}\nALTER TABLE more ADD COLUMN told int")
    await migrate(fresh)
    more(*later[:1])
    await migrate(fresh)
    more(*later)
    await migrate(fresh)

    # The release before goes on, starts anew, and changes nothing.
    more(*later[:1])
    await check_schema(fresh)
    assert await newer_version(fresh) == LATEST + 2
    await fresh.execute("REVOKE SELECT ON migration FROM codewell_issuer")
    assert await migrate(fresh) == []
    assert not await fresh.fetchval("SELECT has_table_privilege('codewell_issuer', 'migration', 'SELECT')")

    # The one before that does not.
    more()
    before = await tables(fresh)
    checks: list[Any] = [check_schema, migrate]
    for check in checks:
        with pytest.raises(SchemaMismatch) as raised:
            await check(fresh)
        assert str(raised.value) == (
            f"The database's schema has version {LATEST + 2}, which takes programs of version {LATEST + 1} or later, "
            f"and this program has version {LATEST}: install the version of codewell that migrated the database."
        )
    assert await tables(fresh) == before


async def test_a_branch_that_lacks_a_migration_leaves_the_rest_to_one_that_has_all(
    fresh: Connection, more: Callable[..., None]
) -> None:
    more(f"-- min_worker: {LATEST}\nCREATE TABLE more (id int)")
    await migrate(fresh)
    more()
    await fresh.execute("DELETE FROM migration WHERE number = $1", LATEST)

    with pytest.raises(SchemaMismatch, match=f"lacks {NAMES[-1]}: run codewell migrate of a version that has them all"):
        await migrate(fresh)


async def test_a_database_of_before_the_rule_gets_its_column(connection: Connection, more: Callable[..., None]) -> None:
    await connection.execute("ALTER TABLE migration DROP COLUMN min_worker")
    await check_schema(connection)
    more(f"-- min_worker: {LATEST}\nCREATE TABLE more (id int)")

    await migrate(connection)

    assert await connection.fetchval("SELECT min_worker FROM migration WHERE number = $1", LATEST + 1) == LATEST
    more()
    await check_schema(connection)


async def test_a_database_without_a_schema_is_named_as_version_0(fresh: Connection) -> None:
    with pytest.raises(SchemaMismatch, match=f"has version 0, but this program needs version {LATEST}: run "):
        await check_schema(fresh)
    assert await tables(fresh) == set()
