"""Stores allocated numbers as new range blocks, and updates the related counters. No other module does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.program_rules import ProgramRules, Source
from codewell.pool.range_allocation import NumberRange, NumberRanges

Origin = Literal["pool", "request", "generate"]

_STORE: Final = """
    WITH numbers AS (
        UPDATE template_version v SET next_number = v.next_number + n.count + n.skipped, skipped = v.skipped + n.skipped
        FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[]) AS n (program_id, version, count, skipped)
        WHERE v.program_id = n.program_id AND v.version = n.version
    ), made AS (
        UPDATE program p SET made = p.made + n.count
        FROM unnest($1::bigint[], $3::bigint[]) AS n (program_id, count) WHERE p.id = n.program_id
    )
    INSERT INTO block (program_id, kind, version, first, size, expires_at, fields, origin, source, created_at
                       {columns})
    SELECT b.program_id, 'range', b.version, b.first, b.size, b.expires_at, $10::jsonb, $11, $12, $13 {values}
    FROM unnest($5::bigint[], $6::integer[], $7::bigint[], $8::bigint[], $9::timestamptz[])
        AS b (program_id, version, first, size, expires_at)
    RETURNING id, first, size
    """
_INSERT: Final = _STORE.format(columns="", values="")
# Inserts blocks that are empty from the start. Issuers make none, so their database role may not write these columns.
_INSERT_ATTACHED: Final = _STORE.format(columns=", next, attached, open", values=", b.size, b.size, false")


class RangeBlock(NamedTuple):
    """A stored block: its id, its first number and its number of codes."""

    id: int
    first: int
    size: int


async def store_ranges(
    connection: Connection,
    now: datetime,
    allocated: Sequence[tuple[ProgramRules, NumberRanges]],
    origin: Origin,
    *,
    source: Source | None = None,
    fields: str | None = None,
    attached: bool = False,
) -> list[RangeBlock]:
    """Store allocated numbers as blocks of their programs' current templates. Each program may occur only once.

    The caller has locked the programs' rows. `fields` is JSON text saved on each code. With `attached` the blocks are
    empty from the start: the caller attaches all of their codes in the same transaction.
    """
    blocks = [
        (program.id, program.version, block.first, block.size, expires_at)
        for program, ranges in allocated
        for expires_at in (expiry_in_pool(program, now),)
        for block in ranges.blocks
    ]
    columns = [[block[column] for block in blocks] for column in range(5)]
    rows = await connection.fetch(
        _INSERT_ATTACHED if attached else _INSERT,
        [program.id for program, _ in allocated],
        [program.version for program, _ in allocated],
        [codes_in(ranges.blocks) for _, ranges in allocated],
        [ranges.skipped for _, ranges in allocated],
        *columns,
        fields,
        origin,
        source,
        now,
    )
    return [RangeBlock(*row) for row in rows]


def codes_in(blocks: Sequence[NumberRange]) -> int:
    """Total number of codes in these ranges."""
    return sum(block.size for block in blocks)
