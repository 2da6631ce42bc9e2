"""Keeps answers cheap that are stored in pages from which others have left.

`answer_profile` has a filter of profiles for each range of pages. A new answer in a page whose range has one changes
the filter: some kilobytes of log for each answer. Ranges at the end of the table have none until they are full, so that
costs nothing there. The same is done here: freed ranges lose their filters until they are full again. A vacuum makes
filters for all ranges, so they are dropped again after each.

Where a range has no filter, a search for a profile reads its pages.
"""

from typing import Final

from codewell.infra.postgres.connection import Connection

# `pages_per_range` of the index.
PAGES: Final = 64
_CHUNK: Final = 200
_TIMEOUT_S: Final = 60

_COUNT: Final = f"""
    (SELECT count(*) FROM answer c WHERE c.ctid >= format('(%s,0)', f.number * {PAGES})::tid
     AND c.ctid < format('(%s,0)', (f.number + 1) * {PAGES})::tid)
    """.strip()  # noqa: S608  a constant
NOTE: Final = f"""
    INSERT INTO freed_range (number, answers)
    SELECT f.number, {_COUNT}
    FROM (SELECT DISTINCT (a.ctid::text::point)[0]::bigint / {PAGES} AS number FROM answer a WHERE {{condition}}) f
    WHERE NOT EXISTS (SELECT FROM freed_range o WHERE o.number = f.number)
    """  # noqa: S608  a condition of this package
"""Notes the ranges of the answers that a condition finds, with how many they have; before they leave."""

_ANY: Final = "SELECT EXISTS (SELECT FROM freed_range)"
_VACUUMS: Final = """
    SELECT vacuum_count + autovacuum_count FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND relname = 'answer'
    """
_NOTE_VACUUMS: Final = "UPDATE retention SET vacuums = $1 WHERE vacuums <> $1 RETURNING 1"
_ALL_ANEW: Final = "UPDATE freed_range SET has_filter = true WHERE NOT has_filter"
_WITH_FILTER: Final = f"""
    SELECT f.number, {_COUNT} >= 0.9 * f.answers AS is_full FROM freed_range f WHERE has_filter
    ORDER BY f.number LIMIT {_CHUNK}
    """  # noqa: S608  constants
_FULL: Final = "DELETE FROM freed_range WHERE number = ANY($1::bigint[])"
_DROP: Final = "SELECT drop_answer_filters($1::bigint[])"
_DROPPED: Final = "UPDATE freed_range SET has_filter = false WHERE number = ANY($1::bigint[])"


async def any_freed(connection: Connection) -> bool:
    """Whether there are freed ranges, with a filter or not. Where nothing has ever left there are none."""
    found: bool = await connection.fetchval(_ANY)
    return found


async def drop(connection: Connection) -> int:
    """Drop the filters of freed ranges that have one, and forget ranges that are full again; returns how many it saw.

    Raises asyncpg.LockNotAvailableError while a vacuum is at the table, and what asyncpg raises.
    """
    vacuums: int = await connection.fetchval(_VACUUMS) or 0
    if await connection.fetchval(_NOTE_VACUUMS, vacuums) is not None:
        await connection.execute(_ALL_ANEW)
    seen = 0
    while rows := await connection.fetch(_WITH_FILTER, timeout=_TIMEOUT_S):
        full = [row["number"] for row in rows if row["is_full"]]
        freed = [row["number"] for row in rows if not row["is_full"]]
        async with connection.transaction():
            # A vacuum that waits for nothing is not to wait for this, nor to be ended by it.
            await connection.execute("SET LOCAL lock_timeout = '100ms'")
            await connection.execute(_DROP, freed)
            await connection.execute(_DROPPED, freed)
            await connection.execute(_FULL, full)
        seen += len(rows)
    return seen
