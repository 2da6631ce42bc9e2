"""Workers announce the master keys that they have, so that no rotation locks a running one out.

Each of a worker's connections holds a shared advisory lock for each of its master keys. The server releases them with
the connection, so no announcement outlives its worker.
"""

import asyncio
from typing import Final

from codewell.errors import SettingsInvalid
from codewell.infra.postgres.connection import Connection
from codewell.keys.master_keys import MasterKeys

WORKERS: Final = ("codewell-issuer", "codewell-generator", "codewell-console")
# "keys" in ASCII.
_CLASS: Final = 0x6B657973
_ANNOUNCE: Final = "SELECT pg_advisory_lock_shared($1, key) FROM unnest($2::integer[]) AS key"
_LACKING: Final = """
    SELECT DISTINCT a.application_name FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.application_name = ANY($1::text[]) AND NOT EXISTS (
        SELECT FROM pg_locks l
        WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
          AND l.classid::bigint = $2 AND l.objid::bigint = $3)
    ORDER BY 1
    """
# A worker's first connection at its start announces nothing, and is gone within this time.
_ATTEMPTS: Final = 10
_PAUSE_S: Final = 0.3


async def announce(connection: Connection, keys: MasterKeys) -> None:
    """Announce these master keys until the connection closes."""
    await connection.execute(_ANNOUNCE, _CLASS, [_lock_of(key_id) for key_id in keys.ids])


async def require_newest(connection: Connection, keys: MasterKeys) -> None:
    """Raise SettingsInvalid, which names the services, while a running worker lacks the newest master key."""
    newest = keys.newest_id
    if newest is not None and (names := await services_without(connection, newest)):
        raise SettingsInvalid(
            f"{' and '.join(names)} runs without the master key of id {newest.hex()}: restart it with this key in "
            "CODEWELL_MASTER_KEY or CODEWELL_MASTER_KEY_PREVIOUS, then run codewell keys rotate again. Nothing more "
            "was encrypted."
        )


async def services_without(connection: Connection, key_id: bytes) -> list[str]:
    """The names of services of which a running worker lacks the master key of this id."""
    for _ in range(_ATTEMPTS):
        rows = await connection.fetch(_LACKING, list(WORKERS), _CLASS, _lock_of(key_id) % 2**32)
        if not rows:
            return []
        await asyncio.sleep(_PAUSE_S)
    return [row["application_name"] for row in rows]


def _lock_of(key_id: bytes) -> int:
    """A 32-bit number for an advisory lock."""
    return int.from_bytes(key_id[:4], "big", signed=True)
