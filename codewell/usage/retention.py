"""Deletes figures and rows of workers that are too old, a bounded number at a time."""

from typing import Final

from codewell.infra.postgres.connection import Connection

MINUTES_KEPT_DAYS: Final = 35
# Two years, to compare a season with the one before it.
HOURS_KEPT_DAYS: Final = 800
# A worker that stopped is shown for some minutes, and one that died for a day, so that people find out.
STOPPED_KEPT_MINUTES: Final = 10
LOST_KEPT_HOURS: Final = 24
ROWS_MAX: Final = 10_000
_ROUNDS_MAX: Final = 10

# Ordered by the index on the time; of several generators each takes other rows.
_DELETE: Final = """
    DELETE FROM {table} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {table} WHERE {column} < now() - make_interval(days => $1) ORDER BY {column} LIMIT $2
        FOR UPDATE SKIP LOCKED))
    """
_MINUTES: Final = _DELETE.format(table="usage_minute", column="minute")
_HOURS: Final = _DELETE.format(table="usage_hour", column="hour")
_RETURNS: Final = _DELETE.format(table="return_minute", column="minute")
_WORKERS: Final = """
    DELETE FROM worker WHERE seen_at < now() - CASE state
        WHEN 'stopped' THEN make_interval(mins => $1) ELSE make_interval(hours => $2) END
    """


async def delete_old(connection: Connection) -> int:
    """Delete what is older than it is kept, at most ROWS_MAX rows a statement, and return how many rows.

    Another call deletes more, where so much is old. Raises what asyncpg raises.
    """
    deleted = _count(await connection.execute(_WORKERS, STOPPED_KEPT_MINUTES, LOST_KEPT_HOURS))
    for statement, days in ((_MINUTES, MINUTES_KEPT_DAYS), (_HOURS, HOURS_KEPT_DAYS), (_RETURNS, MINUTES_KEPT_DAYS)):
        for _ in range(_ROUNDS_MAX):
            gone = _count(await connection.execute(statement, days, ROWS_MAX))
            deleted += gone
            if gone < ROWS_MAX:
                break
    return deleted


def _count(status: str) -> int:
    """The number of rows in the status of a statement, such as `DELETE 3`."""
    return int(status.rpartition(" ")[2])
