"""The moment before which requests are too old: an answer of theirs may have left the database.

It is stored, so that all workers agree on it: a request is too old by the time in its id, for each of them and
whatever the clocks say. It moves while no request is being decided; then may answers of earlier requests leave.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from codewell.infra.id_times import first_of
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import run_exclusively

# The migration whose workers refuse requests that are too old.
SCHEMA_MIN: Final = 49

_READ: Final = "SELECT oldest, swept FROM retention"
_MOVE: Final = "SELECT move_oldest_request($1)"
_TIMES: Final = "SELECT now(), now() - make_interval(days => $1)"
# Rows of workers that died are kept for a day, of those that stopped for minutes.
_EARLIER_WORKERS: Final = """
    SELECT count(*) FROM worker WHERE state <> 'stopped' AND coalesce(schema_version, 0) < $1
    """


class Limits(NamedTuple):
    """What may leave: answers of codes that expired longer than `retention` before `now`, of requests before `oldest`.

    A program may have a retention of its own.
    """

    now: datetime
    retention: timedelta
    oldest: UUID
    swept: UUID
    """Refusals of requests before it have left."""


async def earlier_workers(connection: Connection) -> int:
    """How many workers there are, or were a day ago, that would give a second code to a request that is too old."""
    count: int = await connection.fetchval(_EARLIER_WORKERS, SCHEMA_MIN)
    return count


async def move(connection: Connection, retention_days: int, replay_days: int) -> Limits:
    """Move the moment to `replay_days` ago, unless it is later already, and return what may leave now.

    Raises StackUnavailable if requests are being decided without a pause, and what asyncpg raises.
    """
    moment, since = await connection.fetchrow(_TIMES, replay_days)
    oldest = first_of(since)
    before = await connection.fetchrow(_READ)
    if before is None or before["oldest"] < oldest:
        await run_exclusively(connection, _MOVE, oldest)
    after = await connection.fetchrow(_READ)
    return Limits(moment, timedelta(days=retention_days), after["oldest"], after["swept"])
