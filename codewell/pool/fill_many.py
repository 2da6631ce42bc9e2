"""Fills many pools in one transaction of six round trips, as far as their programs are plain.

A plain program has one template, no imports, and lacks no more codes than one statement should write. `fill.top_up`
handles every other program, one at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.pool.block_rules import DIVISIBLE, GIVES, POOLED, UNEXPIRED
from codewell.pool.block_sizes import BLOCKS_AT_ONCE_MAX, block_sizes, blocks_needed, missing
from codewell.pool.fill import FillResult, count_workers
from codewell.pool.program_conditions import RULES
from codewell.pool.program_rules import ProgramRules, closed_reason
from codewell.pool.range_allocation import NumberRanges, end_of, in_a_row
from codewell.pool.range_blocks import codes_in, grow_blocks, store_ranges

# Programs locked together, for some tens of milliseconds.
PROGRAMS_MAX: Final = 100

# SKIP LOCKED: never waits for one program while it holds the lock of another.
_LOCK: Final = f"""
    SELECT {RULES} FROM program p WHERE p.id = ANY($1::bigint[])
    ORDER BY p.id FOR NO KEY UPDATE SKIP LOCKED
    """  # noqa: S608  a constant

_RETIRE: Final = f"""
    UPDATE block SET open = false WHERE id IN (
        SELECT id FROM block WHERE program_id = ANY($1::bigint[]) AND open AND NOT {UNEXPIRED}
        FOR NO KEY UPDATE SKIP LOCKED)
    """  # noqa: S608  constants

# A separate statement after the locks: only a new snapshot sees what others made before they released a program.
# Programs whose codes come from elsewhere have no template, and no row here.
_STATE: Final = f"""
    SELECT p.id, statement_timestamp() AS now, b.pooled, b.blocks, b.divisible, v.next_number, v.template,
           p.imported = 0 AND NOT EXISTS (
               SELECT FROM template_version o
               WHERE o.program_id = p.id AND o.version < p.version AND o.next_number > 0) AS plain
    FROM program p JOIN template_version v ON v.program_id = p.id AND v.version = p.version
    CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}), 0)::bigint AS pooled, count(*) AS blocks,
               coalesce(bool_or({DIVISIBLE}), false) AS divisible
        FROM block WHERE program_id = p.id AND {GIVES}
    ) b
    WHERE p.id = ANY($1::bigint[])
    """  # noqa: S608  constants


class FillManyResult(NamedTuple):
    """Results by pool, and `left`: ids of the programs that `fill.top_up` has to handle."""

    filled: list[FillResult]
    left: list[int]


async def top_up_many(connection: Connection, program_ids: Sequence[int]) -> FillManyResult:
    """Fill pools to their marks and close their expired blocks, as `fill.top_up` does, in one transaction.

    Leaves programs that are locked, don't exist or aren't plain, and those whose blocks need a split. Raises what
    asyncpg raises, and TemplateInvalid; then makes nothing for any program.
    """
    async with connection.transaction():
        programs = [ProgramRules(*row) for row in await connection.fetch(_LOCK, program_ids)]
        ids = [program.id for program in programs]
        await connection.execute(_RETIRE, ids)
        states = {row["id"]: row for row in await connection.fetch(_STATE, ids)}
        filled, lacks = _planned(programs, states, await count_workers(connection))
        if lacks:
            now = states[lacks[0][0].id]["now"]
            grown = await grow_blocks(connection, now, lacks)
            await store_ranges(connection, now, [one for one in lacks if one[0].id not in grown], "pool")
            reach(Failpoint.FILLED)
    return FillManyResult(list(filled.values()), [program_id for program_id in program_ids if program_id not in filled])


def _planned(
    programs: Sequence[ProgramRules], states: Mapping[int, Any], workers: int
) -> tuple[dict[int, FillResult], list[tuple[ProgramRules, NumberRanges]]]:
    """Results by program id, and the number ranges to store."""
    filled: dict[int, FillResult] = {}
    lacks: list[tuple[ProgramRules, NumberRanges]] = []
    needed = blocks_needed(workers)
    blocks_left = BLOCKS_AT_ONCE_MAX
    for program, state in _with_state(programs, states):
        pooled, blocks_open = state["pooled"], state["blocks"]
        stands = closed_reason(program, state["now"]) is None
        is_filled = stands and program.is_filled
        count = missing(pooled + program.on_order, program.pool_max, program.room) if is_filled else 0
        sizes = block_sizes(count, blocks_open, workers)
        is_to_be_split = stands and count == 0 and blocks_open < needed and state["divisible"]
        if is_to_be_split or (count > 0 and not state["plain"]) or len(sizes) > blocks_left:
            continue
        blocks = list(in_a_row(state["next_number"], end_of(state["template"]), sizes))
        if blocks:
            lacks.append((program, NumberRanges(blocks, 0)))
        blocks_left -= len(sizes)
        filled[program.id] = FillResult(program.name, pooled, codes_in(blocks))
    return filled, lacks


def _with_state(programs: Sequence[ProgramRules], states: Mapping[int, Any]) -> Iterator[tuple[ProgramRules, Any]]:
    for program in programs:
        if program.id in states:
            yield program, states[program.id]
