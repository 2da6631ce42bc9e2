"""Make codes: new blocks of a program, under the lock of its row. Nothing else makes any."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.pool import orders
from codewell.pool.block_rules import AVAILABLE, DIVISIBLE, POOLED, UNEXPIRED
from codewell.pool.block_sizes import block_sizes, blocks_needed, missing
from codewell.pool.minter_cache import Minters
from codewell.pool.program_conditions import GIVES_CODES_NOW, MAY_CREATE, ROOM, RULES
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_sentence
from codewell.pool.range_allocation import allocate
from codewell.pool.range_blocks import Origin, codes_in, store_ranges

# Any number that no other program takes on the same database; a worker that is there holds it, shared.
WORKER_LOCK: Final = 0x636F_6465

_PROGRAM: Final = f"SELECT {RULES} FROM program p WHERE p.id = $1"  # noqa: S608  a constant
_LOCK_PROGRAM: Final = f"{_PROGRAM} FOR NO KEY UPDATE"

_LEVEL: Final = f"""
    SELECT statement_timestamp() AS now, coalesce(sum({POOLED}), 0)::bigint AS pooled, count(*) AS blocks
    FROM block WHERE program_id = $1 AND {AVAILABLE}
    """  # noqa: S608  constants

_WORKERS: Final = """
    SELECT count(DISTINCT pid) FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid = 0 AND objid = $1::bigint::oid AND granted
    """

_RETIRE: Final = f"""
    UPDATE block SET open = false WHERE id IN (
        SELECT id FROM block WHERE program_id = $1 AND open AND NOT {UNEXPIRED}
        FOR NO KEY UPDATE SKIP LOCKED)
    """  # noqa: S608  constants

# Halves the largest blocks.
_SPLIT: Final = f"""
    WITH picked AS (
        SELECT id, {POOLED} / 2 AS half FROM block
        WHERE program_id = $1 AND {AVAILABLE} AND {DIVISIBLE}
        ORDER BY {POOLED} DESC LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
    ), kept AS (
        UPDATE block SET size = size - half FROM picked WHERE block.id = picked.id
        RETURNING program_id, version, first + size AS first, half, expires_at, fields, origin, source, created_at
    )
    INSERT INTO block (program_id, kind, version, first, size, expires_at, fields, origin, source, created_at)
    SELECT program_id, 'range', version, first, half, expires_at, fields, origin, source, created_at FROM kept
    """  # noqa: S608  constants

# Programs whose pool lacks codes or blocks, or has expired blocks to retire. What is found is looked at again under
# the program's lock, so this may be wrong for a moment.
_NEEDY: Final = f"""
    SELECT p.id FROM program p CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}) FILTER (WHERE {UNEXPIRED}), 0) AS pooled,
               count(*) FILTER (WHERE {UNEXPIRED}) AS blocks,
               coalesce(bool_or(NOT {UNEXPIRED}), false) AS expired,
               coalesce(bool_or({UNEXPIRED} AND {DIVISIBLE}), false) AS divisible
        FROM block WHERE program_id = p.id AND open
    ) b
    WHERE p.removed_at IS NULL AND (b.expired OR {GIVES_CODES_NOW} AND (
        {MAY_CREATE} AND b.pooled + p.on_order < p.pool_max AND {ROOM} > 0 OR b.blocks < $1 AND b.divisible))
    ORDER BY p.id
    """  # noqa: S608  constants


class FillResult(NamedTuple):
    """What a look at one pool found and did."""

    name: str
    pooled: int
    made: int
    ordered: int = 0


async def announce_worker(connection: Connection) -> None:
    """Let the generator count this worker for as long as the connection lives."""
    await connection.execute("SELECT pg_advisory_lock_shared($1)", WORKER_LOCK)


async def top_up(connection: Connection, minters: Minters, program_id: int) -> FillResult | None:
    """Bring a pool up to its mark, never past the program's maximum; retire expired blocks; split the last ones.

    What a remote program lacks is ordered, and what is on order already is counted as if it were there. Returns None
    for a program that doesn't exist. Raises what asyncpg raises; then nothing was made.
    """
    async with connection.transaction():
        program = await locked(connection, program_id)
        if program is None:
            return None
        await connection.execute(_RETIRE, program_id)
        now, pooled, blocks = await level(connection, program_id)
        if closed_reason(program, now) is not None:
            return FillResult(program.name, pooled, 0)
        workers = await count_workers(connection)
        count = missing(pooled + program.on_order, program.pool_max, program.room) if program.is_filled else 0
        if program.codes_from == "remote":
            return FillResult(program.name, pooled, 0, await orders.order_for_pool(connection, program, count))
        made = await _make(connection, minters, program, now, block_sizes(count, blocks, workers), "pool")
        reach(Failpoint.FILLED)
        if count == 0 and blocks < blocks_needed(workers):
            await connection.execute(_SPLIT, program_id, blocks_needed(workers) - blocks)
        return FillResult(program.name, pooled, made)


async def needy_programs(connection: Connection) -> list[int]:
    """Ids of the programs for which `top_up` has something to do."""
    workers = await count_workers(connection)
    rows = await connection.fetch(_NEEDY, blocks_needed(workers))
    return [row["id"] for row in rows]


async def make_for_request(
    connection: Connection, minters: Minters, program_id: int, source: Source, wanted: int, lock_timeout_ms: int
) -> None:
    """Make what a batch of requests lacks, and the pool with it, if the source may create codes now.

    Makes nothing where others have filled the pool meanwhile. Raises asyncpg.LockNotAvailableError when the
    program's row stays locked.
    """
    async with connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', $1, true)", str(lock_timeout_ms))
        program = await locked(connection, program_id)
        if program is None:
            return
        now, pooled, blocks = await level(connection, program_id)
        if program.codes_from != "template":
            return
        if pooled >= wanted or not program.can_create(source) or closed_reason(program, now) is not None:
            return
        workers = await count_workers(connection)
        count = missing(pooled, program.pool_max, program.room, wanted)
        await _make(connection, minters, program, now, block_sizes(count, blocks, workers), "request", source=source)


async def generate(
    connection: Connection, minters: Minters, program_id: int, count: int, fields: str | None, given: str = "{}"
) -> None:
    """Make exactly `count` codes now, whatever the switches say; `fields` is JSON text saved on each.

    A remote program orders them now, and they come later; `given` is JSON text of all fields, which go along. Raises
    ProgramRefused when the program may not hold that many more, is removed or outside its validity period, or links its
    codes to profiles when they are generated.
    """
    async with connection.transaction():
        program, now, blocks = await locked_to_generate(connection, program_id, count)
        if program.codes_from == "remote":
            await orders.order_for_person(connection, program, count, given)
            return
        if await connection.fetchval("SELECT auto_link FROM program WHERE id = $1", program_id):
            raise ProgramRefused(
                f"{program.name} links codes automatically: give the profiles that get them, or switch auto_link off."
            )
        workers = await count_workers(connection)
        sizes = block_sizes(count, blocks, workers)
        check_made(program, await _make(connection, minters, program, now, sizes, "generate", fields), count)


async def locked_to_generate(connection: Connection, program_id: int, count: int) -> tuple[ProgramRules, datetime, int]:
    """The program, locked as `locked` does, the database's time, and how many blocks of the program stand ready.

    Raises ProgramRefused unless a person may have so many more codes of it made now.
    """
    program = await locked(connection, program_id)
    if program is None:
        raise ProgramRefused(f"There is no program {program_id}: list the programs to see which exist.")
    now, _, blocks = await level(connection, program_id)
    reason = closed_reason(program, now)
    if reason is not None:
        raise ProgramRefused(
            f"{refusal_sentence(program.name, reason, Source.CAMPAIGN)} Change that before generating codes."
        )
    if program.codes_from == "import":
        raise ProgramRefused(f"All codes of {program.name} are imported: import them, or attach given codes.")
    if count > program.room:
        raise ProgramRefused(
            f"{program.name} may have {program.codes_max:,} codes and has room for {program.room:,} more: "
            "generate fewer, or raise its maximum."
        )
    return program, now, blocks


def check_made(program: ProgramRules, made: int, wanted: int) -> None:
    """Raise ProgramRefused when the template had fewer texts left than wanted."""
    if made < wanted:
        raise ProgramRefused(
            f"The template of {program.name} has {made:,} unused text{'' if made == 1 else 's'} left: "
            "generate fewer codes, or change the template."
        )


async def locked(connection: Connection, program_id: int) -> ProgramRules | None:
    """The rules of a program, whose row is locked against everybody who makes codes; None where there is none.

    `pooled` is not looked at.
    """
    row = await connection.fetchrow(_LOCK_PROGRAM, program_id)
    return None if row is None else ProgramRules(*row)


async def rules(connection: Connection, program_id: int) -> ProgramRules | None:
    """As `locked`, for who only looks."""
    row = await connection.fetchrow(_PROGRAM, program_id)
    return None if row is None else ProgramRules(*row)


async def level(connection: Connection, program_id: int) -> tuple[datetime, int, int]:
    """The database's time, how many codes stand ready, and in how many blocks."""
    [row] = await connection.fetch(_LEVEL, program_id)
    return row["now"], row["pooled"], row["blocks"]


async def _make(
    connection: Connection,
    minters: Minters,
    program: ProgramRules,
    now: datetime,
    sizes: Sequence[int],
    origin: Origin,
    fields: str | None = None,
    source: Source | None = None,
) -> int:
    """Add blocks of these sizes and return how many codes they have: fewer when the template has no more."""
    if not sizes:
        return 0
    made = 0
    async for ranges in allocate(connection, minters, program, sizes):
        await store_ranges(connection, now, [(program, ranges)], origin, source=source, fields=fields)
        made += codes_in(ranges.blocks)
    return made


async def count_workers(connection: Connection) -> int:
    """How many workers there are that take from pools."""
    return int(await connection.fetchval(_WORKERS, WORKER_LOCK) or 0)
