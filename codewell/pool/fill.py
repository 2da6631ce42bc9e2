"""Fills pools: makes new blocks of one program under its row lock, which every maker of codes takes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from codewell.errors import ProgramRefused, ProgramUnknown
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.plurals import counted
from codewell.pool import orders
from codewell.pool.batch import Batch, recorded
from codewell.pool.block_rules import DIVISIBLE, GIVES_OF_PROGRAM_1, LIVES_LONG_ENOUGH, POOLED, UNEXPIRED
from codewell.pool.block_sizes import block_sizes, blocks_needed, missing
from codewell.pool.minter_cache import Minters
from codewell.pool.program_conditions import GIVES_CODES_NOW, MARK, MAY_CREATE, ON_ORDER, ROOM, RULES
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_fact
from codewell.pool.range_allocation import allocate
from codewell.pool.range_blocks import Origin, codes_in, grow_blocks, store_ranges

# Key of the advisory lock that each running worker holds in shared mode. The number is arbitrary; no other
# application of the same database may use it.
WORKER_LOCK: Final = 0x636F_6465

_PROGRAM: Final = f"SELECT {RULES} FROM program p WHERE p.id = $1"  # noqa: S608  a constant
_LOCK_PROGRAM: Final = f"{_PROGRAM} FOR NO KEY UPDATE"

_LEVEL: Final = f"""
    SELECT statement_timestamp() AS now, coalesce(sum({POOLED}), 0)::bigint AS pooled, count(*) AS blocks
    FROM block WHERE program_id = $1 AND {GIVES_OF_PROGRAM_1}
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

# Splits the largest blocks in half.
_SPLIT: Final = f"""
    WITH picked AS (
        SELECT id, {POOLED} / 2 AS half FROM block
        WHERE program_id = $1 AND {GIVES_OF_PROGRAM_1} AND {DIVISIBLE}
        ORDER BY {POOLED} DESC LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
    ), kept AS (
        UPDATE block SET size = size - half FROM picked WHERE block.id = picked.id
        RETURNING program_id, version, first + size AS first, half, expires_at, fields, origin, source, created_at
    )
    INSERT INTO block (program_id, kind, version, first, size, expires_at, fields, origin, source, created_at)
    SELECT program_id, 'range', version, first, half, expires_at, fields, origin, source, created_at FROM kept
    """  # noqa: S608  constants

# Programs whose pool lacks codes or blocks, or has expired blocks to close. May be stale: the fill checks again under
# the program's lock.
_NEEDY: Final = f"""
    SELECT p.id FROM program p CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}) FILTER (WHERE {LIVES_LONG_ENOUGH}), 0) AS pooled,
               count(*) FILTER (WHERE {LIVES_LONG_ENOUGH}) AS blocks,
               coalesce(bool_or(NOT {UNEXPIRED}), false) AS expired,
               coalesce(bool_or({LIVES_LONG_ENOUGH} AND {DIVISIBLE}), false) AS divisible
        FROM block WHERE program_id = p.id AND open
    ) b
    WHERE p.removed_at IS NULL AND (b.expired OR {GIVES_CODES_NOW} AND (
        {MAY_CREATE} AND b.pooled + {ON_ORDER} < {MARK} AND {ROOM} > 0 OR b.blocks < $1 AND b.divisible))
    ORDER BY p.id
    """  # noqa: S608  constants


class FillResult(NamedTuple):
    """Result of one fill: codes pooled before, made, and ordered from a remote service."""

    name: str
    pooled: int
    made: int
    ordered: int = 0


async def announce_worker(connection: Connection) -> None:
    """Register this worker for `count_workers` until the connection closes."""
    await connection.execute("SELECT pg_advisory_lock_shared($1)", WORKER_LOCK)


async def top_up(connection: Connection, minters: Minters, program_id: int) -> FillResult | None:
    """Fill a pool to its mark, within the program's maximum; close expired blocks; split blocks of a full pool.

    For a remote program, orders the missing codes; codes on order count as pooled. Returns None for a program that
    doesn't exist. Raises what asyncpg raises, and makes nothing then.
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
) -> bool:
    """Make the codes that a batch of requests lacks, and fill the pool, if the source may create codes now.

    Returns False if the template has no text left for a code that the maximum allows. `wanted` is in codes. Makes
    nothing if another worker has filled the pool meanwhile. Raises asyncpg.LockNotAvailableError when the program's row
    stays locked for `lock_timeout_ms` (ms).
    """
    async with connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', $1, true)", str(lock_timeout_ms))
        program = await locked(connection, program_id)
        if program is None:
            return True
        now, pooled, blocks = await level(connection, program_id)
        if program.codes_from != "template":
            return True
        if pooled >= wanted or not program.can_create(source) or closed_reason(program, now) is not None:
            return True
        workers = await count_workers(connection)
        count = missing(pooled, program.pool_max, program.room, wanted)
        sizes = block_sizes(count, blocks, workers)
        made = await _make(connection, minters, program, now, sizes, "request", source=source)
        return made > 0 or count == 0


async def generate(
    connection: Connection, minters: Minters, program_id: int, count: int, fields: str | None, given: str = "{}"
) -> Batch | None:
    """Make exactly `count` codes now, regardless of the program's can_create switches; None if they are ordered.

    `fields` is JSON text saved on each code. A remote program orders the codes now and receives them later; `given` is
    JSON text of all custom fields, which the order includes. Raises ProgramRefused when the program has no room for
    that many, is switched off or removed, is outside its validity period, links generated codes to profiles
    automatically, or takes its codes from imports only, and when its template has too few texts left.
    """
    async with connection.transaction():
        program, now, blocks = await locked_to_generate(connection, program_id, count)
        if program.codes_from == "remote":
            await orders.order_for_person(connection, program, count, given)
            return None
        if await connection.fetchval("SELECT auto_link FROM program WHERE id = $1", program_id):
            raise ProgramRefused(
                f"{program.name} links codes automatically: give the profiles that get them, or switch auto_link off.",
                reason="profiles_required",
            )
        workers = await count_workers(connection)
        sizes = block_sizes(count, blocks, workers)
        async with recorded(connection, program) as numbered:
            check_made(program, await _make(connection, minters, program, now, sizes, "generate", fields), count)
        return numbered.batch


async def locked_to_generate(connection: Connection, program_id: int, count: int) -> tuple[ProgramRules, datetime, int]:
    """The program, locked as by `locked`, the database's time, and the program's number of available blocks.

    Raises ProgramRefused unless `count` codes of the program may be generated manually now.
    """
    program = await locked(connection, program_id)
    if program is None:
        raise ProgramUnknown(str(program_id))
    now, _, blocks = await level(connection, program_id)
    reason = closed_reason(program, now)
    if reason is not None:
        raise ProgramRefused(
            f"{refusal_fact(program.name, reason, Source.CAMPAIGN)} Change that before generating codes.",
            reason=reason,
        )
    if program.codes_from == "import":
        raise ProgramRefused(
            f"All codes of {program.name} are imported: import them, or attach given codes.",
            reason="codes_imported_only",
        )
    if count > program.room:
        raise ProgramRefused(
            f"{program.name} may have {program.codes_max:,} codes and has room for {program.room:,} more: "
            "generate fewer, or raise its maximum.",
            reason="maximum_reached",
        )
    return program, now, blocks


def check_made(program: ProgramRules, made: int, wanted: int) -> None:
    """Raise ProgramRefused if `made` < `wanted`: the template had too few texts left."""
    if made < wanted:
        raise ProgramRefused(
            f"The template of {program.name} has {counted(made, 'unused text')} left: "
            "generate fewer codes, or change the template.",
            reason="template_exhausted",
        )


async def locked(connection: Connection, program_id: int) -> ProgramRules | None:
    """Lock a program's row against all other makers of codes, and return its rules; None if it doesn't exist.

    `pooled` is always 0 in these rules.
    """
    row = await connection.fetchrow(_LOCK_PROGRAM, program_id)
    return None if row is None else ProgramRules(*row)


async def rules(connection: Connection, program_id: int) -> ProgramRules | None:
    """As `locked`, but without the lock."""
    row = await connection.fetchrow(_PROGRAM, program_id)
    return None if row is None else ProgramRules(*row)


async def level(connection: Connection, program_id: int) -> tuple[datetime, int, int]:
    """The database's time, the number of pooled codes, and the number of available blocks."""
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
    """Add blocks of these sizes and return their number of codes, which is lower if the template runs out."""
    if not sizes:
        return 0
    made = 0
    async for ranges in allocate(connection, minters, program, sizes):
        if origin != "pool" or not await grow_blocks(connection, now, [(program, ranges)]):
            await store_ranges(connection, now, [(program, ranges)], origin, source=source, fields=fields)
        made += codes_in(ranges.blocks)
    return made


async def count_workers(connection: Connection) -> int:
    """How many workers are registered by `announce_worker`."""
    return int(await connection.fetchval(_WORKERS, WORKER_LOCK) or 0)
