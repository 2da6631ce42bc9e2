"""Makes what a test did long ago, for what becomes of old answers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from codewell.archiving import horizon, leaving
from codewell.archiving.archive_folder import ArchiveFolder
from codewell.archiving.horizon import Limits
from codewell.infra.id_times import first_of
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.profiles.deciding_lock import run_exclusively

DAYS: Final = 100
RETENTION_DAYS: Final = 60
REPLAY_DAYS: Final = 35

_AGE: Final = (
    "UPDATE answer SET answered_at = answered_at - $1::interval, expires_at = expires_at - $1::interval",
    "UPDATE block SET created_at = created_at - $1::interval, expires_at = expires_at - $1::interval",
    "UPDATE block SET open = false WHERE expires_at <= now()",
    "UPDATE holding SET expires_at = expires_at - $1::interval",
    "UPDATE program SET created_at = created_at - $1::interval",
    "UPDATE program_history SET held_from = held_from - $1::interval",
)


def old_id(days: int = DAYS) -> UUID:
    """An id of version 7 of a request that came so long ago."""
    moment = first_of(datetime.now(UTC) - timedelta(days=days)).int >> 80
    return UUID(int=moment << 80 | uuid7().int & (1 << 80) - 1)


async def age(connection: Connection, days: int = DAYS) -> None:
    """Let all that was done in programs have been so long ago. Request ids stay as they are: see `old_id`."""
    for statement in _AGE:
        if "$1" in statement:
            await connection.execute(statement, timedelta(days=days))
        else:
            await connection.execute(statement)


async def archive(connection: Connection, path: Path | None = None) -> int:
    """Let all leave that may, and return how many answers left."""
    return await _archive(connection, await horizon.move(connection, RETENTION_DAYS, REPLAY_DAYS), path)


async def archive_before(connection: Connection, oldest: UUID) -> int:
    """Let all leave of requests before this id whose codes have expired, and return how many answers left."""
    await run_exclusively(connection, "SELECT move_oldest_request($1)", oldest)
    now, swept = await connection.fetchrow("SELECT now(), swept FROM retention")
    return await _archive(connection, Limits(now, timedelta(), oldest, swept), None)


async def _archive(connection: Connection, limits: Limits, path: Path | None) -> int:
    folder = None if path is None else ArchiveFolder(path)
    left = 0
    for found in await leaving.blocks(connection, 0, limits):
        block = await leaving.begin(connection, found, limits)
        while block is not None and (block.archived_until or 0) < block.size:
            block, count = await leaving.remove(connection, block, limits, folder)
            left += count
    while limits.swept < limits.oldest:
        limits, count = await leaving.remove_refusals(connection, limits, folder)
        left += count
    return left
