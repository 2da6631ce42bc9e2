"""Bring the schema up to date: plain numbered SQL files, each applied once, in order, all or nothing.

The roles of the services and their rights are in a file of their own, which is applied each time.
"""

from importlib.resources import files
from typing import Final, NamedTuple

import asyncpg

from codewell.errors import SchemaMismatch, SettingsInvalid
from codewell.infra.postgres.connection import Connection

ROLES: Final = "roles.sql"

# The privileges on the schema, its tables, their columns and its functions.
_PRIVILEGES: Final = """
    SELECT object, part, (aclexplode(acl)).* FROM (
        SELECT oid AS object, 0 AS part, nspacl AS acl FROM pg_namespace WHERE nspname = current_schema()
        UNION ALL SELECT oid, 0, relacl FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        UNION ALL SELECT attrelid, attnum, attacl FROM pg_attribute
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
        UNION ALL SELECT oid, 0, proacl FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
    ) AS given ORDER BY 1, 2, 3, 4, 5, 6
    """
# Any number that no other program takes on the same database.
_ADVISORY_LOCK: Final = 0x636F_6465_7765_6C6C >> 1


class Migration(NamedTuple):
    """One file of `schemas/sql`: its number, its name, its statements."""

    number: int
    name: str
    sql: str


def load_migrations() -> list[Migration]:
    """The migrations that came with this program, by number."""
    found = (path for path in files("schemas.sql").iterdir() if path.name.endswith(".sql") and path.name != ROLES)
    return sorted(Migration(int(path.name[:4]), path.name, path.read_text("utf-8")) for path in found)


def load_roles() -> str:
    """The statements that make the roles of the services and give them their rights; safe to repeat."""
    return files("schemas.sql").joinpath(ROLES).read_text("utf-8")


async def migrate(connection: Connection) -> list[str]:
    """Apply what is missing and return the names applied. Concurrent calls are safe: an advisory lock admits one.

    ROLES is among them when a role was missing, or a right of one, as after a restore into another cluster.

    Raises SchemaMismatch when the database has a migration that this program doesn't know, or the user of the
    connection may not do what one needs.
    """
    try:
        return await _migrate(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaMismatch(f"The database's schema was not changed: {error}") from error


async def _migrate(connection: Connection) -> list[str]:
    applied: list[str] = []
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration ("
            "number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        version = await _schema_version(connection)
        _refuse_newer(version)
        for migration in load_migrations()[version:]:
            await connection.execute(migration.sql)
            await connection.execute("INSERT INTO migration VALUES ($1, $2)", migration.number, migration.name)
            applied.append(migration.name)
        before = await connection.fetch(_PRIVILEGES)
        await connection.execute(load_roles())
        if await connection.fetch(_PRIVILEGES) != before:
            applied.append(ROLES)
    return applied


async def check_schema(connection: Connection) -> None:
    """Raise SchemaMismatch unless the database's schema is the one that this program was made for.

    Raises SettingsInvalid where the connection's user has no right to it at all.
    """
    exists = await connection.fetchval("SELECT to_regclass('migration') IS NOT NULL")
    try:
        version = await _schema_version(connection) if exists else 0
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsInvalid(
            "The user of CODEWELL_POSTGRES_URL has no rights on the schema: create one with codewell login."
        ) from error
    _refuse_newer(version)
    if version < len(load_migrations()):
        raise SchemaMismatch(
            f"The database's schema has version {version}, but this program needs version {len(load_migrations())}: "
            "run codewell migrate first."
        )


async def _schema_version(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM migration") or 0)


def _refuse_newer(version: int) -> None:
    if version > len(load_migrations()):
        raise SchemaMismatch(
            f"The database's schema has version {version}, but this program supports versions up to "
            f"{len(load_migrations())}: install the version of codewell that migrated the database."
        )
