"""Paginated lists of a program's codes: all, those of one profile, or those of one state.

The time for a page is limited, however many codes a program has. Blocks whose counters exclude the state are skipped.
A search for a rare state scans a limited number of positions and then returns a short page with a cursor.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from codewell.codes.lookup import COLUMNS, START, CodeFacts, CodePlace, LocatedCode, facts_of
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import ACTIVATED, DELETED, STATE
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import POOLED, UNEXPIRED
from schemas.program import State

# Positions that one page may scan for a state: some tens of milliseconds.
SCANNED_MAX: Final = 10_000
# Fixed cost of a block's scan, in scanned positions.
_BLOCK_COST: Final = 100
_BLOCKS_MAX: Final = 200
_RUN_MAX: Final = 2_500

# Conditions on blocks that may hold a code of a state. Attached codes have expiries independent of their block's.
_MAY_HOLD: Final[dict[State, str]] = {
    "pooled": f"{POOLED} > 0 AND {UNEXPIRED}",
    "attached": "b.attached > 0",
    "activated": "b.attached > 0",
    "deleted": "b.deleted > 0",
    "expired": f"(NOT {UNEXPIRED} OR b.attached > 0)",
}

# Positions in block $1 from $2 to $3 (exclusive).
_MARKED: Final = """
    SELECT position FROM code_state s WHERE block_id = $1 AND position >= $2 AND position < $3 AND returned_at IS NULL
      AND {mark} ORDER BY position LIMIT $4
    """
_OTHERS: Final = f"""
    SELECT p.position FROM block b CROSS JOIN generate_series($2::bigint, $3::bigint - 1) AS p (position)
    {{join}} answer a ON a.block_id = $1 AND a.position = p.position AND NOT a.again AND a.block_id IS NOT NULL
    LEFT JOIN code_state s ON s.block_id = $1 AND s.position = p.position
    WHERE b.id = $1 AND s.returned_at IS NULL AND {STATE} = '{{state}}' ORDER BY p.position LIMIT $4
    """  # noqa: S608  constants
_POSITIONS: Final[dict[State, str]] = {
    "activated": _MARKED.format(mark=ACTIVATED),
    "deleted": _MARKED.format(mark=DELETED),
    "pooled": _OTHERS.format(join="LEFT JOIN", state="pooled"),
    "attached": _OTHERS.format(join="JOIN", state="attached"),
    "expired": _OTHERS.format(join="LEFT JOIN", state="expired"),
}

_RANGES: Final = f"""
    SELECT {COLUMNS} FROM block b
    WHERE program_id = $1 AND kind = 'range' AND (version > $2 OR version = $2 AND first + size > $3 + 1)
      AND {{condition}} ORDER BY version, first LIMIT $4
    """  # noqa: S608  a constant
_LISTS: Final = f"""
    SELECT {COLUMNS} FROM block b
    WHERE program_id = $1 AND kind = 'list' AND (id > $2 OR id = $2 AND size > $3 + 1)
      AND {{condition}} ORDER BY id LIMIT $4
    """  # noqa: S608  a constant

_OF_PROFILE: Final = f"""
    SELECT {COLUMNS}, a.position FROM (
        SELECT DISTINCT block_id, position FROM answer
        WHERE profile_id = $2 AND program_id = $1 AND block_id IS NOT NULL
    ) a JOIN block b ON b.id = a.block_id
    WHERE ((kind = 'list')::int, coalesce(version, b.id), coalesce(first, 0) + a.position) > ($3, $4, $5)
    ORDER BY (kind = 'list')::int, coalesce(version, b.id), coalesce(first, 0) + a.position LIMIT $6
    """  # noqa: S608  a constant


class CodePage(NamedTuple):
    """A page of codes, and the cursor for the next page; None after the last one.

    A page that is not the last may be short or empty.
    """

    codes: list[CodeFacts]
    next: CodePlace | None


async def page(
    codes: ProgramCodes,
    after: CodePlace,
    limit: int,
    state: State | None = None,
    profile_id: str | None = None,
) -> CodePage:
    """Up to `limit` codes after `after`, filtered by profile or else by state if given."""
    end = None
    if profile_id is not None:
        rows = await codes.connection.fetch(_OF_PROFILE, codes.program_id, profile_id, *after, limit)
        at = [LocatedCode(row, row["position"]) for row in rows]
    elif state is not None:
        at, end = await _of_state(codes.connection, codes.program_id, after, limit, state)
    else:
        at = await _behind(codes.connection, codes.program_id, after, limit)
    if len(at) == limit:
        end = at[-1].place
    found = await facts_of(codes, at)
    return CodePage([one for one in found if one is not None and state in {None, one.state}], end)


async def _behind(connection: Connection, program_id: int, after: CodePlace, count: int) -> list[LocatedCode]:
    """The next `count` positions of a program after `after`, or fewer at the end."""
    found: list[LocatedCode] = []
    while len(found) < count:
        blocks = await _blocks(connection, program_id, after, count - len(found), "true")
        for block in blocks:
            first = _start(block, after)
            found += [LocatedCode(block, p) for p in range(first, min(block["size"], first + count - len(found)))]
            if len(found) == count:
                break
        if not blocks:
            break
        after = LocatedCode(blocks[-1], blocks[-1]["size"] - 1).place
    return found


async def _of_state(
    connection: Connection, program_id: int, after: CodePlace, count: int, state: State
) -> tuple[list[LocatedCode], CodePlace | None]:
    """The next positions with codes of this state, and the cursor for the next page: None at the end."""
    found: list[LocatedCode] = []
    scanned = 0
    while blocks := await _blocks(connection, program_id, after, _BLOCKS_MAX, _MAY_HOLD[state]):
        for block in blocks:
            start, end = _bounds(block, state)
            start = max(start, _start(block, after))
            scanned += _BLOCK_COST
            run = end - start if state in {"activated", "deleted"} else count
            while start < end:
                stop = min(end, start + run)
                rows = await connection.fetch(_POSITIONS[state], block["id"], start, stop, count - len(found))
                found += [LocatedCode(block, row["position"]) for row in rows]
                if len(found) == count:
                    return found, found[-1].place
                if run <= _RUN_MAX:
                    scanned += stop - start
                start, run = stop, min(2 * run, _RUN_MAX)
                if scanned >= SCANNED_MAX:
                    return found, LocatedCode(block, stop - 1).place
            after = LocatedCode(block, block["size"] - 1).place
            if scanned >= SCANNED_MAX:
                return found, after
    return found, None


def _bounds(block: asyncpg.Record, state: State) -> tuple[int, int]:
    """Start and exclusive end of the positions at which a block may hold codes of a state."""
    if state == "pooled":
        return block["next"], block["size"]
    if state == "attached" or (state == "expired" and not block["over"]):
        return 0, block["next"] if block["holes"] == 0 else block["size"]
    return 0, block["size"]


def _start(block: asyncpg.Record, after: CodePlace) -> int:
    """The block's first position after `after`."""
    place = LocatedCode(block, 0).place
    return max(0, after.minor + 1 - place.minor) if place[:2] == after[:2] else 0


async def _blocks(
    connection: Connection, program_id: int, after: CodePlace, count: int, condition: str
) -> Sequence[asyncpg.Record]:
    """Up to `count` blocks with positions after `after`: range blocks first, then list blocks."""
    found: list[asyncpg.Record] = []
    for listed, sql in ((0, _RANGES), (1, _LISTS)):
        if listed < after.listed or len(found) == count:
            continue
        _, major, minor = after if listed == after.listed else CodePlace(listed, *START[1:])
        found += await connection.fetch(sql.format(condition=condition), program_id, major, minor, count - len(found))
    return found
