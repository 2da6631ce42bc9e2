"""SQL statements of a claim: lock blocks and read their programs, draw texts, write the decision."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final
from uuid import UUID

import asyncpg

from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.issuing import copy_answers
from codewell.issuing.answer_runs import run_rows
from codewell.issuing.assignments import AssignmentTaken, assign_all, assign_runs
from codewell.issuing.decision import Decision
from codewell.issuing.known_rules import KnownRules
from codewell.issuing.model import AnswerRow, AssignmentKey, LockedBlock, LockedPrograms, LockedStock, Lot
from codewell.pool.block_rules import GIVES, GIVES_OF_PROGRAM_1, POOLED
from codewell.pool.minter_cache import Minters
from codewell.pool.program_conditions import RULES_WITH_POOLED
from codewell.pool.program_rules import ProgramRules
from codewell.profiles.deciding_lock import hold_deciding_lock

# NO KEY: as strong as the lock of the update that follows, and no stronger. Most of what a row costs the client is to
# decode it: what all rows share is in the first program's only, rules that the claim knows are in none, and a program
# whose row, block and level are as the claim knows them has no row.
_LOCK: Final = f"""
    SELECT CASE WHEN w.place = 1 THEN statement_timestamp() END AS now,
           CASE WHEN w.place = 1 THEN (SELECT oldest FROM retention) END AS oldest,
           CASE WHEN w.place = 1 THEN pg_current_xact_id()::xid::text::bigint END AS transaction,
           w.name, p.xmin::text::bigint AS program_row, level.pooled,
           b.id AS block_id, b.kind, b.version AS block_version, b.first, b.next, b.size,
           {POOLED} AS left, b.holes, b.expires_at, b.fields, b.row::text::bigint AS block_row,
           rules.*
    FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) WITH ORDINALITY
        AS w (name, blocks, known_row, known_id, known_block, known_pooled, place)
    LEFT JOIN program p ON p.name = w.name
    LEFT JOIN LATERAL (
        SELECT coalesce(sum({POOLED}), 0)::bigint AS pooled FROM block
        WHERE program_id = p.id AND {GIVES}
    ) level ON true
    LEFT JOIN LATERAL (
        SELECT *, xmin AS row FROM block
        WHERE program_id = p.id AND {GIVES}
        ORDER BY expires_at, id LIMIT w.blocks FOR NO KEY UPDATE SKIP LOCKED
    ) b ON true
    LEFT JOIN LATERAL (
        SELECT {RULES_WITH_POOLED} WHERE w.known_row IS DISTINCT FROM p.xmin::text::bigint
    ) rules ON true
    -- Blocks that one transaction made have the same version.
    WHERE w.place = 1 OR w.known_row IS DISTINCT FROM p.xmin::text::bigint OR w.known_id IS DISTINCT FROM b.id
          OR w.known_block IS DISTINCT FROM b.row::text::bigint OR w.known_pooled IS DISTINCT FROM level.pooled
    """  # noqa: S608  constants

_WAIT: Final = f"""
    SELECT id FROM block
    WHERE program_id = $1 AND {GIVES_OF_PROGRAM_1}
    ORDER BY expires_at, id LIMIT 1 FOR NO KEY UPDATE
    """  # noqa: S608  constants

_ROW: Final = ", ".join(AnswerRow._fields)
# A round trip less than two statements, and planned once.
_APPEND_AND_TAKE: Final = f"""
    WITH taken AS (
        UPDATE block SET next = t.next, attached = attached + t.given,
            holes = holes - (t.next - block.next - t.given), open = block.next + holes + t.given < size
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (id, next, given)
        WHERE block.id = t.id
    )
    INSERT INTO answer ({_ROW})
    SELECT * FROM unnest($4::uuid[], $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::boolean[],
                         $10::boolean[], $11::text[], $12::text[], $13::timestamptz[], $14::jsonb[], $15::json[],
                         $16::timestamptz[], $17::bigint[], $18::smallint[])
    """  # noqa: S608  constants
# From some more on, COPY costs less; it takes two round trips more.
ROWS_APPENDED_MAX: Final = 200
_ID: Final = attrgetter("request_id", "ordinal")
_new: Final = tuple.__new__

# Writes to the write-ahead log only, in a separate transaction.
_MARK: Final = "SELECT pg_logical_emit_message(true, 'codewell', '')"


# Columns of _LOCK.
_SHARED_COLUMNS: Final = 6
_RULES: Final = _SHARED_COLUMNS + len(LockedBlock._fields)


async def lock(connection: Connection, blocks_max: Mapping[str, int]) -> LockedPrograms:
    """As `lock_blocks`, in a transaction of another kind: takes DECIDING_LOCK first."""
    await hold_deciding_lock(connection)
    return await lock_blocks(connection, blocks_max, KnownRules())


async def lock_blocks(connection: Connection, blocks_max: Mapping[str, int], known: KnownRules) -> LockedPrograms:
    """Lock up to `blocks_max[name]` blocks of each program, those that expire first before others.

    The transaction holds DECIDING_LOCK. Skips blocks that other transactions have locked, and blocks without unexpired
    codes. A second call in the same transaction with a higher limit returns the same blocks and more.
    """
    programs: dict[str, ProgramRules] = {}
    blocks: dict[str, list[LockedBlock]] = {}
    versions: dict[str, int] = {}
    sent = known.of(connection.get_server_pid(), blocks_max)
    known_rows: list[int | None] = []
    known_ids: list[int | None] = []
    known_blocks: list[int | None] = []
    known_levels: list[int | None] = []
    for name, limit in blocks_max.items():
        row_known = id_known = block_known = level_known = None
        if name in sent:
            row_known, program, block = sent[name]
            if block is not None and limit == 1:
                id_known, block_known, level_known = block.id, block.row, program.pooled
                programs[name], blocks[name], versions[name] = program, [block], row_known
        known_rows.append(row_known)
        known_ids.append(id_known)
        known_blocks.append(block_known)
        known_levels.append(level_known)
    rows = await connection.fetch(
        _LOCK, list(blocks_max), list(blocks_max.values()), known_rows, known_ids, known_blocks, known_levels
    )
    now, oldest, transaction = next(row[:3] for row in rows if row[0] is not None)
    # What is not as it was known.
    for name in {row[3] for row in rows}:
        for found in (programs, blocks, versions):
            found.pop(name, None)
    for row in rows:
        name, version, pooled = row[3:_SHARED_COLUMNS]
        if version is None:
            continue
        if name not in programs:
            is_read = row[_RULES] is not None
            programs[name] = ProgramRules._make(row[_RULES:]) if is_read else sent[name].with_pooled(pooled)
            blocks[name] = []
            versions[name] = version
        if row[_SHARED_COLUMNS] is not None:
            blocks[name].append(LockedBlock._make(row[_SHARED_COLUMNS:_RULES]))
    return LockedPrograms(now, oldest, programs, blocks, versions, transaction)


async def wait_for_block(connection: Connection, program_id: int, timeout_ms: int) -> None:
    """Wait until one block of the program is unlocked, and lock it. `timeout_ms` is in milliseconds.

    Call it only as the first statement of a transaction: a transaction that waits while it holds locks could deadlock.
    Raises asyncpg.LockNotAvailableError after the timeout.
    """
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", str(timeout_ms))
    await connection.fetchval(_WAIT, program_id)


async def draw(
    connection: Connection, minters: Minters, program: ProgramRules, blocks: Sequence[LockedBlock], wanted: int
) -> LockedStock:
    """Up to `wanted` codes from locked blocks, with their texts. Raises StackUnavailable as `Minters.get` does."""
    known = drawn_known(minters, program, blocks, wanted)
    if known is not None:
        return known
    lots: list[Lot] = []
    count = 0
    for block in blocks:
        if count == wanted:
            break
        positions = await _positions(connection, block, min(wanted - count, block.left))
        texts = await _texts(connection, minters, program, block, positions)
        lots.append(Lot(block.id, positions, texts, block.expires_at, block.fields))
        count += len(positions)
    locked = sum(block.left for block in blocks)
    return LockedStock(lots, max(0, program.pooled - locked))


def drawn_known(
    minters: Minters, program: ProgramRules, blocks: Sequence[LockedBlock], wanted: int
) -> LockedStock | None:
    """As `draw`, where one block has all codes, one after the other, and its minter is in the cache: as most have.

    A claim for many programs takes a third of the time so.
    """
    if len(blocks) != 1 or wanted == 0:
        return None
    [(block_id, kind, version, first, next_, _, left, holes, expires_at, fields, _)] = blocks
    if kind != "range" or holes or left < wanted:
        return None
    texts = minters.known_texts(program.id, version, first + next_, wanted)
    if texts is None:
        return None
    lot = _new(Lot, (block_id, range(next_, next_ + wanted), texts, expires_at, fields))
    return LockedStock([lot], max(0, program.pooled - left))


async def _positions(connection: Connection, block: LockedBlock, wanted: int) -> Sequence[int]:
    if block.holes == 0:
        return range(block.next, min(block.next + wanted, block.size))
    rows = await connection.fetch(
        """
        SELECT p FROM generate_series($2::bigint, $3::bigint) AS p
        WHERE NOT EXISTS (
            SELECT FROM code_state s WHERE s.block_id = $1 AND s.position = p AND s.hole)
        ORDER BY p LIMIT $4
        """,
        block.id,
        block.next,
        # Postgres materializes the whole series. It needs at most one extra position for each hole.
        min(block.next + wanted + block.holes, block.size) - 1,
        wanted,
    )
    return [row["p"] for row in rows]


async def _texts(
    connection: Connection, minters: Minters, program: ProgramRules, block: LockedBlock, positions: Sequence[int]
) -> Sequence[str]:
    first, last = positions[0], positions[-1]
    if block.kind == "range":
        number = block.first + first
        texts = await minters.texts(connection, program.id, block.version, number, last - first + 1)
        return texts if len(texts) == len(positions) else [texts[position - first] for position in positions]
    rows = await connection.fetch(
        "SELECT text FROM code WHERE block_id = $1 AND position = ANY($2::bigint[]) ORDER BY position",
        block.id,
        list(positions),
    )
    return [row["text"] for row in rows]


async def write(connection: Connection, decision: Decision, stored: Collection[AssignmentKey] | None = None) -> None:
    """Append the answers, store the assignments, and advance the blocks' counters.

    `stored`: those keys that had an assignment when this transaction looked; None if it has not looked.
    Raises asyncpg.UniqueViolationError of `answer_once` when a request has an answer already, and AssignmentTaken when
    a profile has an unexpired assignment already.
    """
    rows, runs = decision.rows, decision.runs
    if len(rows) + sum(len(run.ids) for run in runs) <= ROWS_APPENDED_MAX:
        rows = sorted(chain(rows, *map(run_rows, runs)), key=_ID)
    else:
        links = bool(decision.fallbacks)
        # asyncpg would read plain bytes as a file path.
        source, columns = memoryview(copy_answers.encode(rows, runs, links=links)), copy_answers.columns(links=links)
        await connection.copy_to_table("answer", source=source, columns=columns, format="binary")
        rows = []
    if rows or decision.taken:
        taken = [(block_id, *moved) for block_id, moved in decision.taken.items()]
        await connection.execute(_APPEND_AND_TAKE, *columns_of(taken, 3), *columns_of(rows, len(AnswerRow._fields)))
    assigned_runs = decision.assigned_runs
    if assigned_runs:
        await assign_runs(connection, assigned_runs)
    if decision.assignments:
        await assign_all(connection, decision.assignments, decision.assignments if stored is None else stored)


async def wait_for_standby(connection: Connection) -> None:
    """Wait until a synchronous standby, if there is one, has every commit that this connection has read.

    A transaction that committed while the standby was unreachable becomes visible as soon as its session is cancelled
    or closed, but a fail-over would lose it. A later commit waits until the standby has all earlier log records.
    """
    await connection.execute(_MARK)


async def stored_answers(connection: Connection, request_ids: Sequence[UUID]) -> list[AnswerRow]:
    """The answer rows of these requests, by request id and ordinal. Unanswered requests have none."""
    rows = await connection.fetch(
        """
        SELECT request_id, ordinal, program_id, block_id, position, again, preview, profile_id, code, expires_at,
               fields, refusals, answered_at, asked_program_id, link
        FROM answer WHERE request_id = ANY($1::uuid[]) ORDER BY request_id, ordinal
        """,
        list(request_ids),
    )
    return [AnswerRow(*row) for row in rows]


CONFLICTS: Final = (asyncpg.UniqueViolationError, AssignmentTaken)
