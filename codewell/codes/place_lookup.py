"""Look-up of a code by its place, for links: a place (`CodePlace`) names a code without its text.

A place is no secret and is guessed easily, so only someone who may list the program's codes may look one up. The place
of a code changes when the code returns to the pool; its old place still finds it.
"""

from typing import Final

from codewell.codes import lookup
from codewell.codes.lookup import COLUMNS, CodeFacts, CodePlace, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection

# Of one code, back to the pool and out again.
MOVES_MAX: Final = 1_000

_RANGE_BLOCK: Final = f"""
    SELECT {COLUMNS} FROM block b
    WHERE kind = 'range' AND program_id = $1 AND version = $2 AND int8range(first, first + size) @> $3::bigint
    """  # noqa: S608  a constant
# A reservation splits the end off a list: the code is then in the part that has its place in the whole list.
_LIST_BLOCK: Final = f"""
    WITH whole AS (
        SELECT coalesce(split_from, id) AS id, coalesce(split_first, 0) + $3 AS position
        FROM block WHERE kind = 'list' AND program_id = $1 AND id = $2
    )
    SELECT {COLUMNS}, w.position - coalesce(b.split_first, 0) AS position
    FROM whole w JOIN block b ON b.id = w.id OR b.split_from = w.id
    WHERE w.position - coalesce(b.split_first, 0) BETWEEN 0 AND b.size - 1
    """  # noqa: S608  a constant
_LAST_BLOCK: Final = f"""
    WITH RECURSIVE stay AS (
        SELECT moved_to AS block_id, moved_position AS position, 1 AS moves FROM code_state
        WHERE block_id = $1 AND position = $2 AND moved_to IS NOT NULL
        UNION ALL
        SELECT s.moved_to, s.moved_position, moves + 1
        FROM stay JOIN code_state s ON s.block_id = stay.block_id AND s.position = stay.position
        WHERE s.moved_to IS NOT NULL AND moves < {MOVES_MAX}
    )
    SELECT {COLUMNS}, stay.position FROM stay JOIN block b ON b.id = stay.block_id ORDER BY moves DESC LIMIT 1
    """  # noqa: S608  constants


async def find(codes: ProgramCodes, place: CodePlace) -> CodeFacts | None:
    """Facts on the program's code at this place, or on the code that was there and moved; None if there was none."""
    at = await located(codes.connection, codes.program_id, place)
    if at is None:
        return None
    [facts] = await lookup.facts_of(codes, [at])
    if facts is not None:
        return facts
    moved = await codes.connection.fetchrow(_LAST_BLOCK, at.block["id"], at.position)
    if moved is not None:
        [facts] = await lookup.facts_of(codes, [LocatedCode(moved, moved["position"])])
        return facts
    if place.listed:
        # An import was undone, or the code moved before moves were recorded.
        return None
    return await lookup.find(codes, (await codes.minter(place.major)).mint(place.minor, 1)[0])


async def located(connection: Connection, program_id: int, place: CodePlace) -> LocatedCode | None:
    """The block and position of a place, whether its code is still there or not; None if the program has none."""
    if place.listed:
        block = await connection.fetchrow(_LIST_BLOCK, program_id, place.major, place.minor)
        return None if block is None else LocatedCode(block, block["position"])
    if place.major >= 2**31:
        return None
    block = await connection.fetchrow(_RANGE_BLOCK, program_id, place.major, place.minor)
    return None if block is None else LocatedCode(block, place.minor - block["first"])
