"""Stores allocated numbers as new range blocks, and updates the related counters. No other module does."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import AVAILABLE
from codewell.pool.block_sizes import BLOCK_SIZE_MAX
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
# Inserts blocks that only one reservation gives codes from.
_INSERT_RESERVED: Final = _STORE.format(
    columns=", open, reservation_id, reserved_at, reserved_first, reserved_size, reserved_takers, reserved_open",
    values=", false, $14, $13, 0, b.size, '{}', true",
)

# How long the pool's newest block grows by the codes of later fills. Their expiry and creation time are the block's.
_GROWS_FOR: Final = timedelta(seconds=60)
# Share that a code may lose by that of the part of its lifetime from creation in which it can be given.
_LIFETIME_SHARE: Final = 0.01
# Adds new numbers to the block that they continue. Never waits for a claim's lock.
_GROW: Final = f"""
    WITH picked AS (
        SELECT n.program_id, n.version, n.size, b.id
        FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::interval[], $6::timestamptz[])
            AS n (program_id, version, first, size, period, expires_at)
        CROSS JOIN LATERAL (
            SELECT id FROM block
            WHERE program_id = n.program_id AND {AVAILABLE} AND kind = 'range' AND version = n.version
              AND first + size = n.first AND origin = 'pool' AND fields IS NULL
              AND created_at > $7::timestamptz - n.period
              AND size + n.size <= {BLOCK_SIZE_MAX}
              -- Another expiry: the program's lifetime has changed since.
              AND CASE WHEN n.expires_at IS NULL THEN expires_at IS NULL
                       ELSE expires_at BETWEEN n.expires_at - n.period AND n.expires_at END
            LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        ) b
    ), grown AS (
        UPDATE block SET size = block.size + picked.size FROM picked WHERE block.id = picked.id
        RETURNING block.id
    ), numbers AS (
        UPDATE template_version v SET next_number = v.next_number + n.size FROM picked n
        WHERE v.program_id = n.program_id AND v.version = n.version
    ), made AS (
        UPDATE program p SET made = p.made + n.size FROM picked n WHERE p.id = n.program_id
    )
    SELECT program_id FROM picked JOIN grown USING (id)
    """  # noqa: S608  constants


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
    reservation_id: int | None = None,
) -> list[RangeBlock]:
    """Store allocated numbers as blocks of their programs' current templates. Each program may occur only once.

    The caller has locked the programs' rows. `fields` is JSON text saved on each code. With `attached` the blocks are
    empty from the start: the caller attaches all of their codes in the same transaction. With `reservation_id` they
    belong to this reservation.
    """
    blocks = [
        (program.id, program.version, block.first, block.size, expires_at)
        for program, ranges in allocated
        for expires_at in (expiry_in_pool(program, now),)
        for block in ranges.blocks
    ]
    insert = _INSERT_ATTACHED if attached else _INSERT if reservation_id is None else _INSERT_RESERVED
    rows = await connection.fetch(
        insert,
        [program.id for program, _ in allocated],
        [program.version for program, _ in allocated],
        [codes_in(ranges.blocks) for _, ranges in allocated],
        [ranges.skipped for _, ranges in allocated],
        *columns_of(blocks, 5),
        fields,
        origin,
        source,
        now,
        *(() if reservation_id is None else (reservation_id,)),
    )
    return [RangeBlock(*row) for row in rows]


async def grow_blocks(
    connection: Connection, now: datetime, allocated: Sequence[tuple[ProgramRules, NumberRanges]]
) -> set[int]:
    """Add numbers to the newest blocks of their pools, and return the ids of the programs for which that was possible.

    So frequent small fills make few blocks. Only for one range of a program, without skipped numbers. The caller has
    locked the programs' rows, and stores the numbers of the other programs as blocks.
    """
    ranges = [
        (program.id, program.version, *new.blocks[0], _growth_period(program), expiry_in_pool(program, now))
        for program, new in allocated
        if len(new.blocks) == 1 and new.skipped == 0 and new.blocks[0].first > 0
    ]
    if not ranges:
        return set()
    return {row["program_id"] for row in await connection.fetch(_GROW, *columns_of(ranges, 6), now)}


def _growth_period(program: ProgramRules) -> timedelta:
    if program.ttl is None or program.ttl_from != "creation":
        return _GROWS_FOR
    return min(_GROWS_FOR, (program.ttl - (program.min_life_at_attach or timedelta(0))) * _LIFETIME_SHARE)


def codes_in(blocks: Sequence[NumberRange]) -> int:
    """Total number of codes in these ranges."""
    return sum(block.size for block in blocks)
