"""SQL statements of a claim: lock blocks and read their programs, draw texts, write the decision."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.infra.postgres.connection import Connection
from codewell.issuing import copy_answers
from codewell.issuing.model import AnswerRow, AssignmentKey, Decision, LockedStock, Lot, PooledCode
from codewell.pool.block_rules import AVAILABLE, POOLED
from codewell.pool.minter_cache import Minters
from codewell.pool.program_conditions import RULES_WITH_POOLED
from codewell.pool.program_rules import ProgramRules
from codewell.profiles.deciding_lock import hold_deciding_lock

# NO KEY: an insert into code_state, whose foreign key locks the block's key, need not wait for a claim.
_LOCK: Final = f"""
    SELECT statement_timestamp() AS now, {RULES_WITH_POOLED},
           b.id AS block_id, b.kind, b.version AS block_version, b.first, b.next, b.size,
           {POOLED} AS left, b.holes, b.expires_at, b.fields
    FROM unnest($1::text[], $2::integer[]) AS w (name, blocks)
    LEFT JOIN program p ON p.name = w.name
    LEFT JOIN LATERAL (
        SELECT coalesce(sum({POOLED}), 0)::bigint AS pooled FROM block
        WHERE program_id = p.id AND {AVAILABLE}
    ) level ON true
    LEFT JOIN LATERAL (
        SELECT * FROM block
        WHERE program_id = p.id AND {AVAILABLE}
        ORDER BY expires_at, id LIMIT w.blocks FOR NO KEY UPDATE SKIP LOCKED
    ) b ON true
    """  # noqa: S608  constants

_WAIT: Final = f"""
    SELECT id FROM block
    WHERE program_id = $1 AND {AVAILABLE}
    ORDER BY expires_at, id LIMIT 1 FOR NO KEY UPDATE
    """  # noqa: S608  constants

_TAKE: Final = """
    UPDATE block SET next = t.next, attached = attached + t.given,
        holes = holes - (t.next - block.next - t.given), open = block.next + holes + t.given < size
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (id, next, given)
    WHERE block.id = t.id
    """

_HOLD: Final = """
    INSERT INTO holding AS h (program_id, profile_id, scope, block_id, position, code, expires_at, fields)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                         $7::timestamptz[], $8::jsonb[])
    ON CONFLICT (program_id, profile_id, scope) DO UPDATE
    SET block_id = excluded.block_id, position = excluded.position, code = excluded.code,
        expires_at = excluded.expires_at, fields = excluded.fields
    WHERE h.expires_at <= statement_timestamp()
    RETURNING 1
    """


# Writes to the write-ahead log only, in a separate transaction.
_MARK: Final = "SELECT pg_logical_emit_message(true, 'codewell', '')"


class AssignmentTaken(Exception):
    """Another worker has just assigned this profile a code. The caller decides the batch again."""


class LockedBlock(NamedTuple):
    """A block that this claim has locked."""

    id: int
    kind: str
    version: int
    first: int
    next: int
    size: int
    left: int
    holes: int
    expires_at: datetime | None
    fields: str | None


class LockedPrograms(NamedTuple):
    """Existing programs by short name, the blocks locked for each, and the database's time."""

    now: datetime
    programs: dict[str, ProgramRules]
    blocks: dict[str, list[LockedBlock]]


_PROGRAM_COLUMNS: Final = len(ProgramRules._fields)


async def lock(connection: Connection, blocks_max: Mapping[str, int]) -> LockedPrograms:
    """Lock up to `blocks_max[name]` blocks of each program, those that expire first before others.

    Skips blocks that other transactions have locked, and blocks without unexpired codes. A second call in the same
    transaction with a higher limit returns the same blocks and more.
    """
    programs: dict[str, ProgramRules] = {}
    blocks: dict[str, list[LockedBlock]] = {}
    await hold_deciding_lock(connection)
    rows = await connection.fetch(_LOCK, list(blocks_max), list(blocks_max.values()))
    for row in rows:
        if row["id"] is None:
            continue
        name = row["name"]
        if name not in programs:
            programs[name] = ProgramRules(*row[1 : 1 + _PROGRAM_COLUMNS])
            blocks[name] = []
        if row["block_id"] is not None:
            blocks[name].append(LockedBlock(*row[1 + _PROGRAM_COLUMNS :]))
    return LockedPrograms(rows[0]["now"], programs, blocks)


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
    lots: list[Lot] = []
    count = 0
    for block in blocks:
        if count == wanted:
            break
        positions = await _positions(connection, block, wanted - count)
        texts = await _texts(connection, minters, program, block, positions)
        lots.append(Lot(block.id, positions, texts, block.expires_at, block.fields))
        count += len(positions)
    locked = sum(block.left for block in blocks)
    return LockedStock(lots, max(0, program.pooled - locked))


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


async def assigned_codes(connection: Connection, keys: Sequence[AssignmentKey]) -> dict[AssignmentKey, PooledCode]:
    """The stored assignments of these keys; keys without one are left out."""
    rows = await connection.fetch(
        """
        SELECT h.* FROM unnest($1::bigint[], $2::text[], $3::text[]) AS k (program_id, profile_id, scope)
        JOIN holding h USING (program_id, profile_id, scope)
        """,
        *_columns(keys, 3),
    )
    return {
        AssignmentKey(row["program_id"], row["profile_id"], row["scope"]): PooledCode(
            row["block_id"], row["position"], row["code"], row["expires_at"], row["fields"]
        )
        for row in rows
    }


async def write(connection: Connection, decision: Decision) -> None:
    """Append the answers, store the assignments, and advance the blocks' counters.

    Raises asyncpg.UniqueViolationError of `answer_once` when a request has an answer already, and AssignmentTaken when
    a profile has an unexpired assignment already.
    """
    if decision.rows:
        # asyncpg would read plain bytes as a file path.
        source = memoryview(copy_answers.encode(decision.rows))
        await connection.copy_to_table("answer", source=source, columns=copy_answers.COLUMNS, format="binary")
    if decision.assignments and await assign(connection, decision.assignments) != len(decision.assignments):
        raise AssignmentTaken
    taken = [(block_id, *moved) for block_id, moved in decision.taken.items()]
    if taken:
        await connection.execute(_TAKE, *_columns(taken, 3))


async def assign(connection: Connection, assignments: Mapping[AssignmentKey, PooledCode]) -> int:
    """Store assignments, and return how many. A key that has an unexpired one already keeps it and is not counted."""
    ordered = sorted(assignments.items())
    return len(await connection.fetch(_HOLD, *_columns([(*key, *code) for key, code in ordered], 8)))


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
               fields, refusals, answered_at
        FROM answer WHERE request_id = ANY($1::uuid[]) ORDER BY request_id, ordinal
        """,
        list(request_ids),
    )
    return [AnswerRow(*row) for row in rows]


def _columns(rows: Sequence[tuple[object, ...]], count: int) -> list[list[object]]:
    return [[row[column] for row in rows] for column in range(count)]


CONFLICTS: Final = (asyncpg.UniqueViolationError, AssignmentTaken)
