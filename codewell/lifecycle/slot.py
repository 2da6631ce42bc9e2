"""The replication slot: Postgres keeps the log that was not read through it, and decodes it for the reader."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import asyncpg

from codewell.errors import SettingsInvalid
from codewell.infra.postgres.connection import Connection

# Of the database's own slot. A slot's name is unique in its server, which may have several databases of Codewell.
_NAME: Final = "SELECT 'codewell_lifecycle_' || oid FROM pg_database WHERE datname = current_database()"
_CHECK: Final = """
    SELECT current_setting('wal_level') AS wal_level, current_user AS name, rolreplication OR rolsuper AS replicates
    FROM pg_roles WHERE rolname = current_user
    """
_STATUS: Final = """
    SELECT coalesce(wal_status, 'lost') = 'lost' AS is_lost, confirmed_flush_lsn - '0/0' AS done,
           pg_current_wal_lsn() - confirmed_flush_lsn AS behind_bytes, pg_current_wal_lsn() - restart_lsn AS kept_bytes,
           safe_wal_size
    FROM pg_replication_slots WHERE slot_name = $1
    """
_CREATE: Final = "SELECT lsn - '0/0' FROM pg_create_logical_replication_slot($1, 'pgoutput', false, false)"
# Also on the standbys that synchronize slots, so that a fail-over keeps it.
_CREATE_FAILOVER: Final = (
    "SELECT lsn - '0/0' FROM pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)"
)
_FAILOVER_SINCE: Final = 170000
_DROP: Final = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1"
_PEEK: Final = """
    SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, $2, 'proto_version', '1', 'binary', 'true',
        'publication_names', 'codewell_given,codewell_changed')
    """
_ADVANCE: Final = "SELECT pg_replication_slot_advance($1, '0/0'::pg_lsn + $2::numeric)"
_POSITION: Final = "SELECT pg_current_wal_flush_lsn() - '0/0'"
_TIMELINE: Final = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer"
# Decoding starts at the last record that lists running transactions: the more often there is one, the less is decoded
# a second time. Postgres writes one every 15 s; from version 16 on, roles may be allowed to.
_MARK: Final = """
    SELECT to_regprocedure('pg_log_standby_snapshot()') IS NOT NULL
           AND has_function_privilege('pg_log_standby_snapshot()', 'EXECUTE')
    """
_WRITE_MARK: Final = "SELECT pg_log_standby_snapshot()"

CREATE_TIMEOUT_S: Final = 600.0
"""A slot waits for all transactions that were open when it was made."""
_PAGE_ROWS: Final = 2_000
# An upper limit for decoding one reading, which goes through all that was logged since the slot's last mark.
_PEEK_TIMEOUT_S: Final = 300.0


class SlotStatus(NamedTuple):
    """The state of the slot: lost when Postgres has removed log that it needs. Places are bytes in the log."""

    is_lost: bool
    done: int
    behind_bytes: int
    kept_bytes: int
    safe_bytes: int | None
    """How much more may be logged before it is lost; None without a limit."""


async def check_server(connection: Connection) -> None:
    """Raise SettingsInvalid, with what to do, if the database cannot be read through a slot."""
    row = await connection.fetchrow(_CHECK)
    if row["wal_level"] != "logical":
        raise SettingsInvalid(
            f"Postgres runs with wal_level = {row['wal_level']}, and the stream of codes needs logical: set wal_level "
            "to logical and restart Postgres, or do not run codewell lifecycle."
        )
    if not row["replicates"]:
        raise SettingsInvalid(
            f"The database user {row['name']} may not read the log: as a superuser run ALTER ROLE {row['name']} "
            "REPLICATION."
        )


async def slot_name(connection: Connection) -> str:
    """The name of the database's slot."""
    name: str = await connection.fetchval(_NAME)
    return name


async def status(connection: Connection, slot: str) -> SlotStatus | None:
    """The slot's state; None if there is none."""
    row = await connection.fetchrow(_STATUS, slot)
    if row is None:
        return None
    done, behind, kept = (int(row[name] or 0) for name in ("done", "behind_bytes", "kept_bytes"))
    safe = None if row["safe_wal_size"] is None else int(row["safe_wal_size"])
    return SlotStatus(row["is_lost"], done, behind, kept, safe)


async def create(connection: Connection, slot: str) -> int:
    """Make the slot, and return the place in the log from which it gives commits. Raises SettingsInvalid.

    Waits for open transactions. Call it outside of any transaction, and close the connection after an error.
    """
    since_17 = connection.get_server_version().major * 10_000 >= _FAILOVER_SINCE
    statement = _CREATE_FAILOVER if since_17 else _CREATE
    # The wait for each transaction is one for a lock, too.
    await connection.execute("SET lock_timeout = 0")
    try:
        made = int(await connection.fetchval(statement, slot, timeout=CREATE_TIMEOUT_S))
        await connection.execute("RESET lock_timeout")
    except asyncpg.ConfigurationLimitExceededError as error:
        raise SettingsInvalid(
            "Postgres has no replication slot left: raise max_replication_slots and restart it, or drop an unused slot."
        ) from error
    return made


async def drop(connection: Connection, slot: str) -> bool:
    """Drop the slot, and return whether there was one. Raises asyncpg.ObjectInUseError while it is read."""
    return bool(await connection.fetch(_DROP, slot))


async def peek(connection: Connection, slot: str, changes_max: int) -> AsyncIterator[list[bytes]]:
    """Messages after the slot's place, by pages, up to the end of the transaction with the change `changes_max`.

    Call it in a transaction. The slot stays where it is. Raises what asyncpg raises.
    """
    cursor = await connection.cursor(_PEEK, slot, changes_max, timeout=_PEEK_TIMEOUT_S)
    # The limit of the cursor is not that of its pages, and the first one comes once all is decoded.
    while page := await cursor.fetch(_PAGE_ROWS, timeout=_PEEK_TIMEOUT_S):
        yield [row[0] for row in page]


async def advance(connection: Connection, slot: str, place: int) -> None:
    """Move the slot forward; what is before the place is never given again."""
    await connection.execute(_ADVANCE, slot, place, timeout=_PEEK_TIMEOUT_S)


async def position(connection: Connection) -> int:
    """The end of the log."""
    return int(await connection.fetchval(_POSITION))


async def timeline(connection: Connection) -> int:
    """The log's timeline, which a fail-over changes."""
    number: int = await connection.fetchval(_TIMELINE)
    return number


async def may_mark(connection: Connection) -> bool:
    """Whether `mark` may be called."""
    allowed: bool = await connection.fetchval(_MARK)
    return allowed


async def mark(connection: Connection) -> None:
    """Log where decoding may start."""
    await connection.execute(_WRITE_MARK)
