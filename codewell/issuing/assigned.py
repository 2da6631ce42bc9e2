"""Generates codes for given profiles: one transaction makes the codes and attaches one to each profile."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.issuing.assignments import assign
from codewell.issuing.attach import attach_codes
from codewell.issuing.model import AssignmentKey, ManualRequest, PooledCode
from codewell.minting.minter import Minter
from codewell.pool import fill
from codewell.pool.batch import Batch, recorded
from codewell.pool.block_sizes import BLOCK_SIZE_MAX
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules
from codewell.pool.range_allocation import allocate
from codewell.pool.range_blocks import RangeBlock, codes_in, store_ranges
from codewell.profiles.deciding_lock import hold_deciding_lock

# Rows in one write. Encoding them blocks the event loop for some tens of milliseconds.
ROWS_MAX: Final = 5_000


async def generate_for(
    connection: Connection, minters: Minters, program_id: int, profiles: Sequence[str], request_ids: Iterator[UUID],
    fields: str | None,
) -> Batch:  # fmt: skip
    """Make a code for each profile in its order and attach it, regardless of the program's switches.

    A profile that has a code already gets a second one. If the program reuses codes, the assignment stays with the
    first code. `request_ids` yields new ids, preferably in time order. `fields` is JSON text saved on each code.

    Raises ProgramRefused, and makes nothing, when the program is inactive or removed, is outside its validity period,
    has no room for that many codes, shares one code, takes its codes from a remote service or from imports, when its
    template has too few texts left, or when a profile is listed twice.
    """
    _refuse_twice(profiles)
    async with connection.transaction():
        await hold_deciding_lock(connection)
        program, now, _ = await fill.locked_to_generate(connection, program_id, len(profiles))
        if program.codes_from == "remote":
            raise ProgramRefused(
                f"The codes of {program.name} are delivered later by its remote service: generate without profiles, "
                "and attach the codes when they have arrived.",
                reason="codes_remote_only",
            )
        if program.shared:
            raise ProgramRefused(
                f"All profiles of {program.name} share one code: generate without profiles.", reason="code_shared"
            )
        expires_at = expiry_in_pool(program, now)
        minter = await minters.get(connection, program.id, program.version)
        block_sizes = [min(BLOCK_SIZE_MAX, len(profiles) - start) for start in range(0, len(profiles), BLOCK_SIZE_MAX)]
        waiting = iter(profiles)
        held: dict[AssignmentKey, PooledCode] = {}
        made = 0
        async with recorded(connection, program) as numbered:
            async for ranges in allocate(connection, minters, program, block_sizes):
                # These blocks are stored empty, so their codes are never in the pool.
                blocks = await store_ranges(
                    connection, now, [(program, ranges)], "generate", fields=fields, attached=True
                )
                for block in sorted(blocks):
                    codes = _codes(minter, block, expires_at, fields)
                    held |= await _attach(connection, program, now, codes, waiting, request_ids)
                made += codes_in(ranges.blocks)
        fill.check_made(program, made, len(profiles))
        # Sorted by key over all chunks, as claims do: another order could deadlock with a claim.
        ordered = sorted(held.items())
        for start in range(0, len(ordered), ROWS_MAX):
            await assign(connection, dict(ordered[start : start + ROWS_MAX]))
        return numbered.batch


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
    """Attach these codes, and return the assignments without storing them."""
    held: dict[AssignmentKey, PooledCode] = {}
    for some in codes:
        # Not strict: `profiles` continues with the next chunk of codes.
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
            raise ProgramRefused(
                f"Profile {number} of the list is in it twice: list each profile once.", reason="profile_repeated"
            )
        seen.add(profile_id)
