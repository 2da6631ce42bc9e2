"""Deletes old answers in batches, each of which is in its file before it is deleted.

A block's answers leave in the order of positions, so that both indexes are emptied from their left edge. What may still
matter stays: see `_MAY_LEAVE`. Once a block has begun to be archived, no code of it is given, changed or moved that has
no answer (`block.archived_until`).
"""

import asyncio
import csv
from collections.abc import Sequence
from datetime import datetime
from io import StringIO
from typing import Final, NamedTuple
from uuid import UUID

from codewell.archiving import filters
from codewell.archiving.archive_folder import ArchiveFolder, CompressedLines
from codewell.archiving.horizon import Limits
from codewell.infra.id_times import SQL_IS_VERSION_7
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.pool.block_rules import POOLED

# A transaction of some hundred milliseconds, and some 3 MB of lines.
POSITIONS_MAX: Final = 20_000
_BLOCKS_MAX: Final = 200
# Shorter than `deadlock_timeout`: other transactions that wait for these rows go first.
_LOCK_TIMEOUT_MS: Final = 200
_TIMEOUT_S: Final = 60

_COLUMNS: Final = (
    "request_id", "ordinal", "program_id", "block_id", "position", "again", "preview", "profile_id", "code",
    "expires_at", "fields", "refusals", "answered_at", "asked_program_id", "link",
)  # fmt: skip
# Of the code's use, after those of the answer.
_OF_USES: Final = ("uses", "activated_at", "orders")

# What happened to a code that keeps its answer for ever. A code that was used does not.
_STAYS: Final = """
    EXISTS (
        SELECT FROM code_state s WHERE s.block_id = a.block_id AND s.position = a.position
        AND (s.deleted_at IS NOT NULL OR s.returned_at IS NOT NULL OR s.hole OR s.changed OR s.held_until > now()))
    """.strip()

# Blocks that give no code any more, of programs whose codes are one profile's each. The last code that was given in
# turn rules most others out, as codes of a block expire in about the order in which they were given.
_BLOCKS: Final = f"""
    SELECT b.id, b.size, b.next, b.archived_until, e.ended_before FROM block b JOIN program p ON p.id = b.program_id,
    LATERAL (SELECT $2::timestamptz - coalesce(p.retention, $3::interval)) e (ended_before)
    WHERE b.id > $1 AND b.archived_until < b.size
       OR b.id > $1 AND b.archived_until IS NULL AND NOT b.open AND NOT b.reserved_open AND b.voided_at IS NULL
      AND b.attached > 0 AND ({POOLED} = 0 OR b.expires_at <= e.ended_before) AND NOT p.shared
      AND NOT EXISTS (SELECT FROM reservation r WHERE r.id = b.reservation_id AND r.ended_at IS NULL)
      AND NOT EXISTS (
        SELECT FROM answer a WHERE a.block_id = b.id AND a.position = b.next - 1 AND NOT a.again
          AND (a.expires_at IS NULL OR a.expires_at > e.ended_before))
    ORDER BY b.id LIMIT {_BLOCKS_MAX}
    """  # noqa: S608  constants
_LOCK_BLOCK: Final = """
    SELECT FROM block WHERE id = $1 AND archived_until IS NULL AND NOT open AND NOT reserved_open
      AND voided_at IS NULL FOR UPDATE
    """
# Answers that may leave later, as the code lives or the request may be repeated. What happened to the others, and ids
# that say no time, keep them for ever, so they are waited for no longer.
_SOME_LATER: Final = f"""
    SELECT EXISTS (
        SELECT FROM answer a WHERE a.block_id = $1 AND a.block_id IS NOT NULL AND NOT a.again
          AND {SQL_IS_VERSION_7.format("a.request_id")}
          AND (a.expires_at IS NULL OR a.expires_at > $2 OR a.request_id >= $3)
          AND NOT {_STAYS})
    """  # noqa: S608  constants
_BEGIN: Final = "UPDATE block SET archived_until = 0 WHERE id = $1"
_LOCK_BEGUN: Final = "SELECT archived_until FROM block WHERE id = $1 FOR UPDATE"
# A batch is small, and the tables are large.
_BY_INDEX: Final = """
    SELECT set_config('lock_timeout', $1, true), set_config('enable_seqscan', 'off', true),
           set_config('enable_bitmapscan', 'off', true)
    """
# Not a join: what few rows there are is found by the range of places, and not once for each answer.
_IS_GONE: Final = "({}.position IN (SELECT position FROM gone)) IS TRUE"
# {} are numbers, ids and times, so formatting is safe. COPY takes no parameters.
_DELETE: Final = f"""
    WITH gone AS (
        DELETE FROM answer a WHERE {{condition}} RETURNING {", ".join(f"a.{column}" for column in _COLUMNS)}
    ), receipts AS (
        DELETE FROM send_receipt r USING gone g WHERE r.request_id = g.request_id
    ), states AS (
        DELETE FROM code_state s WHERE {{places}} AND {_IS_GONE.format("s")}
        RETURNING s.block_id, s.position, s.uses, s.activated_at
    ), used AS (
        DELETE FROM code_use u WHERE {{places}} AND {_IS_GONE.format("u")}
        RETURNING u.block_id, u.position, u.id, json_build_object(
            'order_id', u.order_id, 'profile_id', u.profile_id, 'context', u.context, 'taken_at', u.taken_at,
            'used_at', u.used_at, 'ended_at', u.ended_at, 'ended_by', u.ended_by) AS what
    ), counted AS (
        {{counting}}
    {{telling}}
    """  # noqa: S608
_TELL: Final = """
    ) SELECT g.*, s.uses, s.activated_at, u.orders FROM gone g
    LEFT JOIN states s ON s.block_id = g.block_id AND s.position = g.position
    LEFT JOIN (SELECT block_id, position, json_agg(what ORDER BY id) AS orders FROM used GROUP BY block_id, position) u
         ON u.block_id = g.block_id AND u.position = g.position
    -- Rows that come as they are deleted would cost both sides a switch for each few of them.
    ORDER BY g.position
    """
_TELL_COUNT: Final = ") SELECT count(*) FROM gone"
_PLACES: Final = "block_id = {block_id} AND position >= {first} AND position < {end}"
_POSITIONS: Final = """
    a.block_id = {block_id} AND a.position >= {first} AND a.position < {end}
    AND a.block_id IS NOT NULL AND NOT a.again
    """.strip()
_MAY_LEAVE: Final = f"""
    {{positions}} AND a.expires_at <= '{{ended_before}}' AND a.request_id < '{{oldest}}'
    AND {SQL_IS_VERSION_7.format("a.request_id")}
    AND NOT {_STAYS}
    -- The request got nothing else, and the code was not given again, nor instead of another one.
    AND a.ordinal = 0 AND NOT EXISTS (SELECT FROM answer o WHERE o.request_id = a.request_id AND o.ordinal = 1)
    AND NOT EXISTS (SELECT FROM answer g WHERE g.block_id = a.block_id AND g.position = a.position AND g.again)
    AND NOT EXISTS (
        SELECT FROM code_reissue r WHERE r.new_block_id = a.block_id AND r.new_position = a.position)
    -- And no receipt about it did anything or may do so yet.
    AND NOT EXISTS (
        SELECT FROM send_receipt r
        WHERE r.request_id = a.request_id AND 'kept' NOT IN (r.outcome, coalesce(r.ended, '')))
    """  # noqa: S608  as above
_COUNT: Final = """
    UPDATE block SET archived = archived + (SELECT count(*) FROM gone), archived_until = {end},
        archived_used = archived_used + (SELECT count(activated_at) FROM states)
    WHERE id = {block_id}
    """.strip()

_LOCK_SWEPT: Final = "SELECT swept FROM retention FOR UPDATE"
_BOUND: Final = f"""
    SELECT request_id FROM answer WHERE request_id >= $1 AND request_id < $2 ORDER BY request_id
    OFFSET {POSITIONS_MAX} LIMIT 1
    """  # noqa: S608  a constant
_REFUSED: Final = f"""
    a.request_id >= '{{first}}' AND a.request_id < '{{end}}' AND a.block_id IS NULL
    AND {SQL_IS_VERSION_7.format("a.request_id")}
    """
_COUNT_SWEPT: Final = "UPDATE retention SET swept = '{end}', refusals = refusals + (SELECT count(*) FROM gone)"


class LeavingBlock(NamedTuple):
    """A block whose answers may leave."""

    id: int
    size: int
    next: int
    archived_until: int | None
    """Positions before it are done; None: not begun."""
    ended_before: datetime
    """When codes have expired whose answers may leave."""


async def blocks(connection: Connection, after: int, limits: Limits) -> list[LeavingBlock]:
    """Blocks with ids after `after` whose answers may leave, or some of them: `begin` says."""
    rows = await connection.fetch(_BLOCKS, after, limits.now, limits.retention, timeout=_TIMEOUT_S)
    return [LeavingBlock(*row) for row in rows]


async def begin(connection: Connection, block: LeavingBlock, limits: Limits) -> LeavingBlock | None:
    """The block, once its answers may leave; None if some have to wait. Raises what asyncpg raises."""
    if block.archived_until is not None:
        return block
    async with connection.transaction():
        await connection.execute(_BY_INDEX, str(_LOCK_TIMEOUT_MS))
        if await connection.fetchrow(_LOCK_BLOCK, block.id) is None:
            return None
        if await connection.fetchval(_SOME_LATER, block.id, block.ended_before, limits.oldest, timeout=_TIMEOUT_S):
            return None
        await connection.execute(_BEGIN, block.id)
    return block._replace(archived_until=0)


async def remove(
    connection: Connection, block: LeavingBlock, limits: Limits, folder: ArchiveFolder | None
) -> tuple[LeavingBlock, int]:
    """Delete the next batch of a block that has begun; returns the block after it, and how many answers left.

    Raises what asyncpg raises, and FolderUnavailable; then nothing has left.
    """
    async with connection.transaction():
        await connection.execute(_BY_INDEX, str(_LOCK_TIMEOUT_MS))
        first: int = await connection.fetchval(_LOCK_BEGUN, block.id)
        end = first + POSITIONS_MAX if first + POSITIONS_MAX < block.next else block.size
        positions = _POSITIONS.format(block_id=block.id, first=first, end=end)
        condition = _MAY_LEAVE.format(
            positions=positions, ended_before=block.ended_before.isoformat(), oldest=limits.oldest
        )
        await connection.execute(filters.NOTE.format(condition=positions), timeout=_TIMEOUT_S)
        counting = _COUNT.format(block_id=block.id, end=end)
        places = _PLACES.format(block_id=block.id, first=first, end=end)
        name = f"block-{block.id}-{first}-{end - 1}"
        count = await _take_out(connection, condition, places, counting, folder, name)
    return block._replace(archived_until=end), count


async def remove_refusals(connection: Connection, limits: Limits, folder: ArchiveFolder | None) -> tuple[Limits, int]:
    """Delete the next batch of refusals and previews; returns the limits after it, and how many left. As `remove`."""
    async with connection.transaction():
        await connection.execute(_BY_INDEX, str(_LOCK_TIMEOUT_MS))
        first: UUID = await connection.fetchval(_LOCK_SWEPT)
        end: UUID = await connection.fetchval(_BOUND, first, limits.oldest, timeout=_TIMEOUT_S) or limits.oldest
        condition = _REFUSED.format(first=first, end=end)
        await connection.execute(filters.NOTE.format(condition=condition), timeout=_TIMEOUT_S)
        counting = _COUNT_SWEPT.format(end=end)
        # No code belongs to them.
        count = await _take_out(connection, condition, "false", counting, folder, f"refusals-{first}-{end}")
    return limits._replace(swept=end), count


async def _take_out(
    connection: Connection, condition: str, places: str, counting: str, folder: ArchiveFolder | None, name: str
) -> int:
    """Delete answers and what belongs to them, store them in a file, and return how many answers.

    `places` is the condition that finds what belongs to their codes.
    """
    if folder is None:
        statement = _DELETE.format(condition=condition, places=places, counting=counting, telling=_TELL_COUNT)
        deleted: int = await connection.fetchval(statement, timeout=_TIMEOUT_S)
        return deleted
    statement = _DELETE.format(condition=condition, places=places, counting=counting, telling=_TELL)
    lines = CompressedLines(_line((*_COLUMNS, *_OF_USES)))
    tag: str = await connection.copy_from_query(statement, output=lines.add, format="csv", timeout=_TIMEOUT_S)
    count = int(tag.rpartition(" ")[2])
    if count:
        await asyncio.to_thread(folder.store, name, lines.end())
        reach(Failpoint.ARCHIVED)
    return count


def _line(columns: Sequence[str]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(columns)
    return text.getvalue().encode()
