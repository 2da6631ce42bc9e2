"""Schema migrations: plain numbered SQL files, each applied once, in order.

An empty database gets all of them in one transaction. Later ones are applied beside running workers: each in a
transaction of its own, or an index outside of any. Workers that know less than the schema has run on it as long as
every migration allows it (`min_worker`).

The roles of the services and their privileges are in a separate file, which is applied each time.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

import asyncpg

from codewell.errors import SchemaMismatch, SettingsInvalid
from codewell.infra.postgres import migration_locks as locks
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migration_files import ROLES, Migration, load_migrations, load_roles

__all__ = [
    "ROLES", "Migration", "check_schema", "load_migrations", "load_roles", "migrate", "newer_version", "schema_version",
]  # fmt: skip

# Privileges on the schema, its tables, their columns and its functions.
_PRIVILEGES: Final = """
    SELECT object, part, (aclexplode(acl)).* FROM (
        SELECT oid AS object, 0 AS part, nspacl AS acl FROM pg_namespace WHERE nspname = current_schema()
        UNION ALL SELECT oid, 0, relacl FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        UNION ALL SELECT attrelid, attnum, attacl FROM pg_attribute
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
        UNION ALL SELECT oid, 0, proacl FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
    ) AS given ORDER BY 1, 2, 3, 4, 5, 6
    """
_HAS_MIN_WORKER: Final = """
    SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('migration') AND attname = 'min_worker')"""
_IS_VALID: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1::text)"


async def migrate(connection: Connection, observer: Connection | None = None) -> list[str]:
    """Apply missing migrations and return the names applied. An advisory lock serializes concurrent calls.

    The names include ROLES if a role or one of its privileges was missing, as after a restore into another cluster.
    On a newer schema that this version may run on, nothing is applied. `observer`, another connection of the same user,
    sees who holds a lock that a migration waits for. The connection must not be in a transaction.

    Raises SchemaMismatch if this version may not run on the database's schema, or if the connection's user lacks a
    privilege that a migration needs; SchemaLocked if a lock could not be had. What was applied before stays.
    """
    try:
        async with locks.alone(connection):
            return await _migrate(connection, observer)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaMismatch(f"The database's schema was not changed: {error}") from error


async def _migrate(connection: Connection, observer: Connection | None) -> list[str]:
    exists = await connection.fetchval("SELECT to_regclass('migration') IS NOT NULL")
    known = await _applied(connection) if exists else set()
    missing = _missing(known)
    if newer := _newer(known):
        await _refuse_newer(connection, known, newer)
        if missing:
            raise SchemaMismatch(
                f"The database has migrations up to {_version(known)}, which this program does not know, and lacks "
                f"{missing[0].name}: run codewell migrate of a version that has them all."
            )
        return []
    if not known:
        install = partial(_install, connection, missing)
        return await locks.in_transaction(connection, observer, "The first schema", install)
    if not await connection.fetchval(_HAS_MIN_WORKER):
        make = partial(_make_table, connection)
        await locks.in_transaction(connection, observer, "The column migration.min_worker", make)
    return await _apply(connection, observer, missing)


async def _install(connection: Connection, migrations: Sequence[Migration]) -> list[str]:
    await _make_table(connection)
    for migration in migrations:
        await connection.execute(migration.sql_for_empty_tables)
        await _note(connection, migration)
    return [*(migration.name for migration in migrations), *await _apply_roles(connection)]


async def _apply(connection: Connection, observer: Connection | None, missing: Sequence[Migration]) -> list[str]:
    """Apply them one by one. The roles are in the last one's transaction, so that no version lacks its privileges."""
    applied: list[str] = []
    last = max((one.number for one in missing if one.concurrent_index is None), default=None)
    for migration in missing:
        if migration.concurrent_index is not None:
            async with locks.outside_transactions(connection, observer, migration.name):
                await _build_index(connection, migration.concurrent_index, migration)
            applied.append(migration.name)
        else:
            step = partial(_step, connection, migration, with_roles=migration.number == last)
            applied += await locks.in_transaction(connection, observer, migration.name, step)
    if last is None:
        applied += await locks.in_transaction(connection, observer, ROLES, partial(_apply_roles, connection))
    return applied


async def _step(connection: Connection, migration: Migration, *, with_roles: bool) -> list[str]:
    await connection.execute(migration.sql, timeout=locks.STATEMENT_TIMEOUT_S)
    await _note(connection, migration)
    return [migration.name, *(await _apply_roles(connection) if with_roles else [])]


async def _make_table(connection: Connection) -> None:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migration ("
        "number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    # Null, as in rows of before: it needs workers that know it.
    await connection.execute("ALTER TABLE migration ADD COLUMN IF NOT EXISTS min_worker integer")


async def _note(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO migration (number, name, min_worker) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.min_worker,
    )


async def _apply_roles(connection: Connection) -> list[str]:
    before = await connection.fetch(_PRIVILEGES)
    await connection.execute(load_roles())
    return [ROLES] if await connection.fetch(_PRIVILEGES) != before else []


async def _build_index(connection: Connection, name: str, migration: Migration) -> None:
    """Build an index beside writers, unless it is there. What an interrupted build left is no index, and is dropped."""
    is_valid = await connection.fetchval(_IS_VALID, name)
    if is_valid is False:
        await connection.execute(f"DROP INDEX CONCURRENTLY {name}", timeout=locks.STATEMENT_TIMEOUT_S)
    if not is_valid:
        await connection.execute(migration.sql, timeout=locks.STATEMENT_TIMEOUT_S)
    await _note(connection, migration)


async def check_schema(connection: Connection) -> None:
    """Raise SchemaMismatch unless this version may run on the database's schema.

    Raises SettingsInvalid if the connection's user has no privilege on the schema.
    """
    exists = await connection.fetchval("SELECT to_regclass('migration') IS NOT NULL")
    try:
        applied = await _applied(connection) if exists else set()
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsInvalid(
            "The user of CODEWELL_POSTGRES_URL has no rights on the schema: create one with codewell login."
        ) from error
    if newer := _newer(applied):
        await _refuse_newer(connection, applied, newer)
    if missing := _missing(applied):
        lacks = "" if missing[-1].number > _version(applied) else f", and {missing[0].name} is missing"
        raise SchemaMismatch(
            f"The database's schema has version {_version(applied)}, but this program needs version "
            f"{_latest()}{lacks}: run codewell migrate first."
        )


async def schema_version(connection: Connection) -> int:
    """The number of the schema's last migration; `check_schema` must have passed. Raises what asyncpg raises."""
    return _version(await _applied(connection))


async def newer_version(connection: Connection) -> int | None:
    """The schema's version if it has migrations that this program does not know; `check_schema` must have passed."""
    applied = await _applied(connection)
    return _version(applied) if _newer(applied) else None


async def _applied(connection: Connection) -> set[int]:
    return {row["number"] for row in await connection.fetch("SELECT number FROM migration")}


def _missing(applied: AbstractSet[int]) -> list[Migration]:
    """What is to be applied, by number. A branch that was merged late may have a lower number than the latest."""
    return [migration for migration in load_migrations() if migration.number not in applied]


def _newer(applied: AbstractSet[int]) -> AbstractSet[int]:
    return applied - {migration.number for migration in load_migrations()}


def _version(applied: AbstractSet[int]) -> int:
    return max(applied, default=0)


def _latest() -> int:
    return load_migrations()[-1].number


async def _refuse_newer(connection: Connection, applied: AbstractSet[int], newer: AbstractSet[int]) -> None:
    """Raise SchemaMismatch if one of these migrations needs workers that know more than this program does."""
    # What applied a migration that this program does not know has made the column.
    needed = await connection.fetchval(
        "SELECT max(coalesce(min_worker, number)) FROM migration WHERE number = ANY ($1::integer[])", list(newer)
    )
    if _latest() < needed:
        raise SchemaMismatch(
            f"The database's schema has version {_version(applied)}, which takes programs of version {needed} or "
            f"later, and this program has version {_latest()}: install the version of codewell that migrated the "
            "database."
        )
