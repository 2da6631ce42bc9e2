"""SQL statements that take codes from their profiles: back to the pool, or deleted. They have no assignments any more.

The order of locks: code states, blocks, holdings. Changes of codes use the same order, and claims lock blocks before
holdings.
"""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final, NamedTuple

from codewell.codes.locks import lock_blocks
from codewell.codes.state import USED_OR_HELD
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.returns.queries import Raced

_BLOCK: Final = """
    INSERT INTO block (program_id, kind, size, expires_at, fields, origin, created_at)
    VALUES ($1, 'list', $2, $3, $4::jsonb, 'return', $5) RETURNING id
    """
# A code that got a state meanwhile is looked at again.
_MARK_NEW: Final = """
    INSERT INTO code_state (block_id, position, returned_at, moved_to, moved_position)
    SELECT block_id, position, statement_timestamp(), moved_to, moved_position
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
        AS w (block_id, position, moved_to, moved_position)
    ORDER BY block_id, position ON CONFLICT (block_id, position) DO NOTHING
    """
_MARK_KNOWN: Final = """
    UPDATE code_state s SET returned_at = statement_timestamp(), moved_to = w.moved_to,
        moved_position = w.moved_position
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
        AS w (block_id, position, moved_to, moved_position)
    WHERE s.block_id = w.block_id AND s.position = w.position
    """
_DELETE: Final = f"""
    INSERT INTO code_state AS s (block_id, position, deleted_at)
    SELECT block_id, position, statement_timestamp() FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position)
    ORDER BY block_id, position
    ON CONFLICT (block_id, position) DO UPDATE SET deleted_at = excluded.deleted_at
    WHERE s.deleted_at IS NULL AND s.returned_at IS NULL AND NOT {USED_OR_HELD}
    """  # noqa: S608  a constant
_COUNT_MOVED: Final = """
    UPDATE block SET attached = attached - w.moved, returned = returned + w.moved
    FROM unnest($1::bigint[], $2::bigint[]) AS w (id, moved) WHERE block.id = w.id
    """
_COUNT_DELETED: Final = """
    UPDATE block SET attached = attached - w.gone, deleted = deleted + w.gone
    FROM unnest($1::bigint[], $2::bigint[]) AS w (id, gone) WHERE block.id = w.id
    """
# Codes of the pool that are still where they were found. The caller has locked their states and blocks.
_VOID: Final = """
    WITH gone AS (
        UPDATE code_state s SET deleted_at = statement_timestamp(), hole = true
        FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position)
        JOIN code c USING (block_id, position) JOIN block b ON b.id = w.block_id
        WHERE s.block_id = w.block_id AND s.position = w.position AND w.position >= b.next
          AND NOT s.hole AND s.deleted_at IS NULL AND s.returned_at IS NULL
        RETURNING s.block_id
    ), counted AS (
        UPDATE block SET holes = holes + g.codes, deleted = deleted + g.codes,
            open = open AND next + holes + g.codes < size
        FROM (SELECT block_id, count(*) AS codes FROM gone GROUP BY block_id) g WHERE block.id = g.block_id
    )
    SELECT count(*) FROM gone
    """
_TEXTS: Final = """
    INSERT INTO code (block_id, position, program_id, text)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
    ON CONFLICT ON CONSTRAINT code_once DO UPDATE SET block_id = excluded.block_id, position = excluded.position
    """


class Moved(NamedTuple):
    """A code that goes back to the pool, from where to where."""

    block_id: int
    position: int
    moved_to: int
    moved_position: int
    program_id: int
    text: str


async def new_block(
    connection: Connection,
    program_id: int,
    size: int,
    expires_at: datetime | None,
    fields: str | None,
    made_at: datetime,
) -> int:
    """Make a block for codes that go back to the pool, and return its id."""
    made: int = await connection.fetchval(_BLOCK, program_id, size, expires_at, fields, made_at)
    return made


async def move(
    connection: Connection,
    codes: Sequence[Moved],
    known: AbstractSet[tuple[int, int]],
    voids: Sequence[tuple[int, int]],
) -> None:
    """Move attached codes to their new blocks. `known` are places that have a state. Raises Raced.

    Locks the blocks of `voids` too, so that `void_pooled` finds them locked in one order with the others.
    """
    fresh = [code[:4] for code in codes if code[:2] not in known]
    if _count(await connection.execute(_MARK_NEW, *columns_of(fresh, 4))) != len(fresh):
        raise Raced
    if len(fresh) < len(codes):
        await connection.execute(_MARK_KNOWN, *columns_of((code[:4] for code in codes if code[:2] in known), 4))
    counts = Counter(code.block_id for code in codes)
    await lock_blocks(connection, counts.keys() | {block_id for block_id, _ in voids})
    await connection.execute(_COUNT_MOVED, list(counts), list(counts.values()))
    await connection.execute(
        _TEXTS, *columns_of(((code.moved_to, code.moved_position, code.program_id, code.text) for code in codes), 4)
    )


async def delete(connection: Connection, places: Sequence[tuple[int, int]]) -> None:
    """Delete the attached codes at these places. Raises Raced."""
    if _count(await connection.execute(_DELETE, *columns_of(places, 2))) != len(places):
        raise Raced
    counts = Counter(block_id for block_id, _ in places)
    await lock_blocks(connection, counts)
    await connection.execute(_COUNT_DELETED, list(counts), list(counts.values()))


async def void_pooled(connection: Connection, places: Sequence[tuple[int, int]]) -> None:
    """Delete codes of the pool, whose states are locked, so that no later request gets them. Raises Raced."""
    await lock_blocks(connection, {block_id for block_id, _ in places})
    if await connection.fetchval(_VOID, *columns_of(places, 2)) != len(places):
        raise Raced


def _count(status: str) -> int:
    """The number of rows in the status of a statement, such as `INSERT 0 3`."""
    return int(status.rpartition(" ")[2])
