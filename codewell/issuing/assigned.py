"""Codes made for profiles: each of them gets one of its own in the transaction that makes it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.issuing.attach import attach_codes
from codewell.issuing.model import AssignmentKey, ManualRequest, PooledCode
from codewell.minting.minter import Minter
from codewell.pool import fill
from codewell.pool.block_sizes import BLOCK_SIZE_MAX
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules
from codewell.pool.range_allocation import allocate
from codewell.pool.range_blocks import RangeBlock, codes_in, store_ranges
from codewell.profiles.deciding_lock import hold_deciding_lock

# Rows written at once: some hundredths of a second in which this process does nothing else.
ROWS_MAX: Final = 5_000


async def generate_for(
    connection: Connection, minters: Minters, program_id: int, profiles: Sequence[str], request_ids: Iterator[UUID],
    fields: str | None,
) -> None:  # fmt: skip
    """Make a code for each of these profiles and attach it, whatever the program's switches say.

    A profile that has a code already gets a second one; where the program gives codes again, that remains the one it
    had first. `request_ids` are new ones, best in the order of time; `fields` is JSON text saved on each code. Raises
    ProgramRefused when the program may not hold that many more, is removed or outside its validity period or gives one
    code to everybody, or a profile is named twice; then nothing is made.
    """
    _refuse_twice(profiles)
    async with connection.transaction():
        await hold_deciding_lock(connection)
        program, now, _ = await fill.locked_to_generate(connection, program_id, len(profiles))
        if program.codes_from == "remote":
            raise ProgramRefused(
                f"The codes of {program.name} come from its service, which takes its time: generate without naming "
                "profiles, and attach the codes when they are there."
            )
        if program.shared:
            raise ProgramRefused(f"{program.name} gives one code to everybody: generate without naming profiles.")
        expires_at = expiry_in_pool(program, now)
        minter = await minters.get(connection, program.id, program.version)
        block_sizes = [min(BLOCK_SIZE_MAX, len(profiles) - start) for start in range(0, len(profiles), BLOCK_SIZE_MAX)]
        waiting = iter(profiles)
        held: dict[AssignmentKey, PooledCode] = {}
        made = 0
        async for ranges in allocate(connection, minters, program, block_sizes):
            # Nothing of these blocks is ever in the pool.
            blocks = await store_ranges(connection, now, [(program, ranges)], "generate", fields=fields, attached=True)
            for block in sorted(blocks):
                codes = _codes(minter, block, expires_at, fields)
                held |= await _attach(connection, program, now, codes, waiting, request_ids)
            made += codes_in(ranges.blocks)
        fill.check_made(program, made, len(profiles))
        # In the order of their keys from first to last, as in claims: the two would wait for each other otherwise.
        ordered = sorted(held.items())
        for start in range(0, len(ordered), ROWS_MAX):
            await claim_queries.assign(connection, dict(ordered[start : start + ROWS_MAX]))


def _codes(
    minter: Minter, block: RangeBlock, expires_at: datetime | None, fields: str | None
) -> Iterator[list[PooledCode]]:
    for start in range(0, block.size, ROWS_MAX):
        texts = minter.mint(block.first + start, min(ROWS_MAX, block.size - start))
        yield [PooledCode(block.id, start + place, text, expires_at, fields) for place, text in enumerate(texts)]


async def _attach(
    connection: Connection,
    program: ProgramRules,
    now: datetime,
    codes: Iterator[list[PooledCode]],
    profiles: Iterator[str],
    request_ids: Iterator[UUID],
) -> dict[AssignmentKey, PooledCode]:
    """Attach these codes, and return who is to get which again."""
    held: dict[AssignmentKey, PooledCode] = {}
    for some in codes:
        # There are as many profiles as codes, or more.
        attached = [
            (next(request_ids), ManualRequest(profile_id, program.name), code)
            for code, profile_id in zip(some, profiles, strict=False)
        ]
        decision = await attach_codes(connection, program, now, attached, assign=False)
        held |= decision.assignments
    return held


def _refuse_twice(profiles: Sequence[str]) -> None:
    seen: set[str] = set()
    for number, profile_id in enumerate(profiles, start=1):
        if profile_id in seen:
            raise ProgramRefused(f"Profile {number} of the list is in it twice: each gets one code, name it once.")
        seen.add(profile_id)
