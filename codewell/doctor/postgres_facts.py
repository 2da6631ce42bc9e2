"""What one connection tells about Postgres. Reads only, and each part by itself: a role may not see all."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.keys.announcements import WORKERS

_SETTINGS: Final = (
    "server_version_num", "transaction_read_only", "synchronous_commit", "synchronous_standby_names", "fsync",
    "full_page_writes", "wal_level", "max_connections", "superuser_reserved_connections", "reserved_connections",
    "max_slot_wal_keep_size", "data_directory",
)  # fmt: skip
_CLOCK_SAMPLES: Final = 3
_USED: Final = "SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL"
# The owner of the tables is the user that migrated; a superuser is member of every role.
_USER: Final = """
    SELECT current_user::text AS name, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
           has_schema_privilege(current_schema(), 'CREATE') AS may_create,
           ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])
                 AND pg_has_role(oid, 'MEMBER') ORDER BY 1) AS roles,
           ARRAY(SELECT name FROM unnest($1::text[]) AS name
                 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)) AS missing_roles
    """
_POWERFUL: Final = """
    SELECT DISTINCT a.application_name || ' as ' || a.usename AS who
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = current_database() AND a.application_name = ANY ($1::text[])
      AND (r.rolsuper OR r.oid = (SELECT relowner FROM pg_class WHERE oid = to_regclass('program')))
    ORDER BY 1
    """
_SLOTS: Final = """
    SELECT slot_name::text AS name, slot_type = 'logical' AS is_logical, wal_status,
           (database IS NULL OR database = current_database()) AS is_ours,
           pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                           restart_lsn)::bigint AS kept_bytes
    FROM pg_replication_slots ORDER BY 1
    """


class Slot(NamedTuple):
    """A replication slot, which keeps the write-ahead log that its reader has not read."""

    name: str
    is_logical: bool
    wal_status: str | None
    is_ours: bool
    kept_bytes: int | None


class PostgresFacts(NamedTuple):
    """What was read."""

    settings: Mapping[str, str]
    """By name; one that this user may not see is absent."""
    connections_used: int
    user: str
    is_superuser: bool
    may_create: bool
    roles: Sequence[str]
    """The services' roles that this user has."""
    missing_roles: Sequence[str]
    powerful: Sequence[str]
    """Services that run with the rights of the owner or a superuser."""
    slots: Sequence[Slot]
    offset_s: float
    """How far the server's clock is ahead of this machine's."""
    clock_error_s: float

    @property
    def data_directory(self) -> Path | None:
        """Where the server keeps its data, if this user may know that."""
        place = self.settings.get("data_directory")
        return None if place is None else Path(place)


async def read_postgres(connection: Connection, roles: Sequence[str]) -> PostgresFacts:
    """Read all of it. `roles` are the roles of the services. Raises what asyncpg raises."""
    rows = await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[])", _SETTINGS)
    [user] = await connection.fetch(_USER, list(roles))
    offset, error = await _clock(connection)
    return PostgresFacts(
        {row["name"]: row["setting"] for row in rows},
        await connection.fetchval(_USED),
        user["name"],
        user["is_superuser"],
        user["may_create"],
        user["roles"],
        user["missing_roles"],
        [row["who"] for row in await connection.fetch(_POWERFUL, list(WORKERS))],
        [Slot(**row) for row in await connection.fetch(_SLOTS)],
        offset,
        error,
    )


async def _clock(connection: Connection) -> tuple[float, float]:
    """How far the server's clock is ahead (s), and the error of that, from the fastest of a few exchanges."""
    samples = []
    for _ in range(_CLOCK_SAMPLES):
        sent = time.time()
        there = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        took = time.time() - sent
        samples.append((took / 2, there - sent - took / 2))
    error, offset = min(samples)
    return offset, error
