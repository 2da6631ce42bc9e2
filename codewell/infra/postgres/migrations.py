"""Schema migrations: plain numbered SQL files, each applied once, in order, in one transaction.

The roles of the services and their privileges are in a separate file, which is applied each time.
"""

from importlib.resources import files
from typing import Final, NamedTuple

import asyncpg

from codewell.errors import SchemaMismatch, SettingsInvalid
from codewell.infra.postgres.connection import Connection

ROLES: Final = "roles.sql"

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
# An arbitrary number that no other application uses in this database.
_ADVISORY_LOCK: Final = 0x636F_6465_7765_6C6C >> 1


class Migration(NamedTuple):
    """One file of `schemas/sql`: number, name, statements."""

    number: int
    name: str
    sql: str


def load_migrations() -> list[Migration]:
    """The migrations of this version, by number."""
    found = (path for path in files("schemas.sql").iterdir() if path.name.endswith(".sql") and path.name != ROLES)
    return sorted(Migration(int(path.name[:4]), path.name, path.read_text("utf-8")) for path in found)


def load_roles() -> str:
    """The statements that create the services' roles and grant their privileges; idempotent."""
    return files("schemas.sql").joinpath(ROLES).read_text("utf-8")


async def migrate(connection: Connection) -> list[str]:
    """Apply missing migrations and return the names applied. An advisory lock serializes concurrent calls.

    The names include ROLES if a role or one of its privileges was missing, as after a restore into another cluster.

    Raises SchemaMismatch if the database has a migration that this version does not know, or if the connection's user
    lacks a privilege that a migration needs.
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
    """Raise SchemaMismatch unless the database has the schema of this version.

    Raises SettingsInvalid if the connection's user has no privilege on the schema.
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
