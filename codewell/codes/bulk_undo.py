"""One chunk of the undo of a change of many codes: it restores what is still as the change left it."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from codewell.codes.locks import lock_blocks, lock_codes
from codewell.codes.state import USED_OR_HELD
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import TAKEN_BACK
from codewell.profiles.deciding_lock import hold_deciding_lock

# Rows of the list in one chunk.
ITEMS_MAX: Final = 2_000

_ITEMS: Final = """
    SELECT number, block_id, position FROM bulk_change_item
    WHERE change_id = $1 AND number >= $2 AND number < $3 AND outcome = 'changed' ORDER BY number LIMIT $4
    """
# Blocks that a change gave another expiry, and those that were split off them since. Parameters: change, from, until.
_SPLIT: Final = """
    FROM bulk_change_item i JOIN bulk_change c ON c.id = i.change_id JOIN block o ON o.id = i.block_id
    CROSS JOIN LATERAL (
        SELECT * FROM block WHERE id = o.id
        UNION ALL
        SELECT * FROM block WHERE o.kind = 'range' AND kind = 'range' AND program_id = o.program_id
            AND version = o.version AND first > o.first AND first + size <= o.first + i.size
        UNION ALL
        SELECT * FROM block WHERE o.kind = 'list' AND split_from = coalesce(o.split_from, o.id)
            AND split_first > coalesce(o.split_first, 0) AND split_first + size <= coalesce(o.split_first, 0) + i.size
    ) b
    WHERE i.change_id = $1 AND i.number >= $2 AND i.number < $3 AND i.outcome = 'changed' AND i.position IS NULL
    """
_SPANS: Final = f"SELECT DISTINCT b.id {_SPLIT}"
_CHANGED: Final = """
    FROM bulk_change_item i JOIN bulk_change c ON c.id = i.change_id
    WHERE i.change_id = $1 AND i.number >= $2 AND i.number < $3 AND i.outcome = 'changed'
    """
_CHANGED_BLOCKS: Final = """
    FROM bulk_change_item i JOIN block b ON b.id = i.block_id
    WHERE i.change_id = $1 AND i.number >= $2 AND i.number < $3 AND i.outcome = 'changed' AND i.position IS NULL
    """
# What is reserved since stays as it is.
_RESTORE_BLOCKS: Final = f"""
    WITH old AS (
        SELECT DISTINCT ON (b.id) b.id, i.old_expires_at, c.expires_at, b.size - b.next - b.holes AS pooled
        {_SPLIT} AND b.expires_at IS NOT DISTINCT FROM c.expires_at AND b.reservation_id IS NULL
          AND b.archived_until IS NULL
        ORDER BY b.id, i.number
    ), restored AS (
        UPDATE block SET expires_at = old.old_expires_at,
            open = old.pooled > 0
                   AND (old.old_expires_at IS NULL OR old.old_expires_at > statement_timestamp())
        FROM old WHERE block.id = old.id AND block.archived_until IS NULL
    )
    INSERT INTO bulk_change_item (change_id, number, block_id, outcome, codes, old_expires_at)
    SELECT $1, $4::bigint + row_number() OVER () - 1, id, 'restored', pooled, expires_at FROM old RETURNING codes
    """  # noqa: S608  a constant
# An import is taken back either before, and its blocks stay as they are, or after, and takes what comes back here.
_LOCK_IMPORTS: Final = f"""
    SELECT FROM import WHERE id IN (SELECT b.import_id {_CHANGED_BLOCKS}) ORDER BY id FOR SHARE
    """
_UNVOID_BLOCKS: Final = f"""
    UPDATE block SET next = voided_from, holes = size - voided_from - voided, deleted = deleted - voided,
        open = expires_at IS NULL OR expires_at > statement_timestamp(),
        voided_at = NULL, voided_from = NULL, voided = 0
    FROM (SELECT b.id, b.voided AS codes {_CHANGED_BLOCKS}) v
    WHERE block.id = v.id AND voided_at IS NOT NULL AND NOT {TAKEN_BACK} RETURNING v.codes
    """  # noqa: S608  constants
# Neither used, held by an order, nor changed since.
_RESTORE_CODES: Final = f"""
    WITH restored AS (
        UPDATE code_state s SET expires_at = w.old_expires_at FROM (SELECT i.*, c.expires_at {_CHANGED}) w
        WHERE w.position IS NOT NULL AND s.block_id = w.block_id AND s.position = w.position
          AND s.changed AND s.expires_at IS NOT DISTINCT FROM w.expires_at
          AND NOT {USED_OR_HELD} AND s.deleted_at IS NULL AND s.returned_at IS NULL
        RETURNING s.block_id, s.position, w.old_expires_at, w.expires_at
    ), assigned AS (
        UPDATE holding h SET expires_at = r.old_expires_at FROM restored r
        JOIN answer a ON a.block_id = r.block_id AND a.position = r.position AND NOT a.again AND a.block_id IS NOT NULL
        WHERE h.program_id = a.program_id AND h.profile_id IN ('', a.profile_id) AND h.block_id = r.block_id
          AND h.position = r.position
    )
    INSERT INTO bulk_change_item (change_id, number, block_id, position, outcome, codes, old_expires_at)
    SELECT $1, $4::bigint + row_number() OVER () - 1, block_id, position, 'restored', 1, expires_at FROM restored
    RETURNING codes
    """  # noqa: S608  a constant
# A profile that has got another code since keeps that one as its own.
_UNDELETE_CODES: Final = f"""
    WITH restored AS (
        UPDATE code_state s SET deleted_at = NULL FROM (SELECT i.* {_CHANGED}) w
        WHERE w.position IS NOT NULL AND s.block_id = w.block_id AND s.position = w.position
          AND s.deleted_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM block WHERE block.id = w.block_id AND reservation_id IS NOT NULL)
        RETURNING s.block_id, s.position, s.changed, s.expires_at, s.fields, w.scope, w.is_everybodys
    ), counted AS (
        UPDATE block SET attached = attached + t.codes, deleted = deleted - t.codes
        FROM (SELECT block_id, count(*) AS codes FROM restored GROUP BY block_id) t WHERE block.id = t.block_id
    ), assigned AS (
        INSERT INTO holding (program_id, profile_id, scope, block_id, position, code, expires_at, fields)
        SELECT a.program_id, CASE WHEN is_everybodys THEN '' ELSE a.profile_id END, r.scope, r.block_id, r.position,
               a.code, CASE WHEN r.changed THEN r.expires_at ELSE a.expires_at END,
               CASE WHEN r.changed THEN r.fields ELSE a.fields END
        FROM restored r
        JOIN answer a ON a.block_id = r.block_id AND a.position = r.position AND NOT a.again AND a.block_id IS NOT NULL
        WHERE r.scope IS NOT NULL ORDER BY 1, 2, 3
        ON CONFLICT (program_id, profile_id, scope) DO NOTHING
    )
    SELECT count(*) FROM restored
    """  # noqa: S608  a constant
_ADVANCE: Final = """
    UPDATE bulk_change SET undo_next = $2, restored = restored + $3, items = items + $4,
        state = CASE WHEN $5 THEN 'undone' ELSE state END, ended_at = CASE WHEN $5 THEN clock_timestamp() END
    WHERE id = $1
    """


async def undo_chunk(connection: Connection, change: asyncpg.Record) -> tuple[int, bool]:
    """Restore what the next rows of the change's list say. Returns how many codes, and whether there is more to do.

    The caller has locked the change's row. What was used, changed, returned or taken back since stays as it is, and so
    do answers.
    """
    # It copies ids of profiles from answers to holdings.
    await hold_deciding_lock(connection)
    rows = await connection.fetch(_ITEMS, change["id"], change["undo_next"], change["undo_until"], ITEMS_MAX)
    span = change["undo_next"], rows[-1]["number"] + 1 if rows else change["undo_until"]
    if change["void"]:
        await connection.execute(_LOCK_IMPORTS, change["id"], *span)
    await lock_codes(connection, [(row["block_id"], row["position"]) for row in rows if row["position"] is not None])
    await _lock_blocks(connection, change, rows, span)
    items = 0
    if change["void"]:
        done = await connection.fetch(_UNVOID_BLOCKS, change["id"], *span)
        restored = await connection.fetchval(_UNDELETE_CODES, change["id"], *span)
    else:
        done = await connection.fetch(_RESTORE_BLOCKS, change["id"], *span, change["items"])
        done += await connection.fetch(_RESTORE_CODES, change["id"], *span, change["items"] + len(done))
        restored, items = 0, len(done)
    restored += sum(row["codes"] for row in done)
    is_last = len(rows) < ITEMS_MAX
    await connection.execute(_ADVANCE, change["id"], span[1], restored, items, is_last)
    return restored, not is_last


async def _lock_blocks(
    connection: Connection, change: asyncpg.Record, rows: Sequence[asyncpg.Record], span: tuple[int, int]
) -> None:
    """Lock the blocks that these rows of the list are about, and what was split off them until they were locked."""
    locked: set[int] = set()
    blocks = {row["block_id"] for row in rows} if change["void"] else set()
    # Those that are split off have later ids, so all are locked in the order of their ids.
    while more := blocks | ({row["id"] for row in await connection.fetch(_SPANS, change["id"], *span)} - locked):
        await lock_blocks(connection, more)
        locked |= more
        blocks = set()
