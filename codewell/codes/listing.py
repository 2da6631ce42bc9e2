"""Paginated lists of a program's codes: all, those of one profile, or those of one state.

The time for a page is limited, however many codes a program has. Blocks whose counters exclude the state are skipped.
A search for a rare state scans a limited number of positions and then returns a short page with a cursor.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from codewell.codes.code_filter import ALL, CodeFilter, in_batch
from codewell.codes.lookup import COLUMNS, START, CodeFacts, CodePlace, LocatedCode, facts_of
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import ACTIVATED, DELETED, HELD, STATE
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import POOLED, UNEXPIRED
from schemas.program import State

# Positions that one page may scan for a state: some tens of milliseconds.
SCANNED_MAX: Final = 10_000
# Fixed cost of a block's scan, in scanned positions.
_BLOCK_COST: Final = 100
_BLOCKS_MAX: Final = 200
_RUN_MAX: Final = 2_500
# Codes whose expiry one page looks at: this many times so many.
_EXPIRY_PAGES_MAX: Final = 4
_EXPIRY_PAGE: Final = 500

# Conditions on blocks that may hold a code of a state. Attached codes have expiries independent of their block's.
_MAY_HOLD: Final[dict[State, str]] = {
    "pooled": f"{POOLED} > 0 AND {UNEXPIRED}",
    "attached": "b.attached > b.archived",
    "held": "b.attached > 0",
    "activated": "b.attached > 0",
    "deleted": "b.deleted > 0",
    "expired": f"(NOT {UNEXPIRED} OR b.attached > 0)",
}

# Positions in block $1 from $2 to $3 (exclusive).
_MARKED: Final = """
    SELECT position FROM code_state s WHERE block_id = $1 AND position >= $2 AND position < $3 AND returned_at IS NULL
      AND {mark} ORDER BY position {{order}} LIMIT $4
    """
_ALL: Final = "generate_series($2::bigint, $3::bigint - 1) AS p (position)"
# Those whose code may have expired in a block that has not: attached or changed codes have their own expiry.
_ENDED: Final = """(
        SELECT position FROM answer WHERE block_id = $1 AND position >= $2 AND position < $3 AND NOT again
          AND block_id IS NOT NULL AND expires_at <= statement_timestamp()
        UNION
        SELECT position FROM code_state WHERE block_id = $1 AND position >= $2 AND position < $3
          AND changed AND expires_at <= statement_timestamp()
    ) AS p (position)"""
_OTHERS: Final = f"""
    SELECT p.position FROM block b CROSS JOIN {{places}}
    {{join}} answer a ON a.block_id = $1 AND a.position = p.position AND NOT a.again AND a.block_id IS NOT NULL
    LEFT JOIN code_state s ON s.block_id = $1 AND s.position = p.position
    WHERE b.id = $1 AND s.returned_at IS NULL AND {STATE} = '{{state}}' ORDER BY p.position {{{{order}}}} LIMIT $4
    """  # noqa: S608  constants
_POSITIONS: Final[dict[State, str]] = {
    "activated": _MARKED.format(mark=ACTIVATED),
    # A hold ends by the code's expiry at the latest, and is no hold once the code is used up.
    "held": _MARKED.format(mark=f"{HELD} AND s.activated_at IS NULL AND s.deleted_at IS NULL"),
    "deleted": _MARKED.format(mark=DELETED),
    "pooled": _OTHERS.format(places=_ALL, join="LEFT JOIN", state="pooled"),
    "attached": _OTHERS.format(places=_ALL, join="JOIN", state="attached"),
    "expired": _OTHERS.format(places=_ALL, join="LEFT JOIN", state="expired"),
}

# Of a block whose pooled codes were all deleted at once.
_VOIDED: Final = _OTHERS.format(places=_ALL, join="LEFT JOIN", state="deleted")
# Of a block that has not expired and has all its answers.
_EXPIRED_ALONE: Final = _OTHERS.format(places=_ENDED, join="LEFT JOIN", state="expired")
_MARKED_STATES: Final = frozenset({"activated", "held", "deleted"})

_RANGES: Final = f"""
    SELECT {COLUMNS} FROM block b
    WHERE program_id = $1 AND kind = 'range' AND (version > $2 OR version = $2 AND first + size > $3::bigint + 1)
      AND {{condition}} ORDER BY version, first LIMIT $4
    """  # noqa: S608  a constant
_LISTS: Final = f"""
    SELECT {COLUMNS} FROM block b
    WHERE program_id = $1 AND kind = 'list' AND (id > $2 OR id = $2 AND size > $3::bigint + 1)
      AND {{condition}} ORDER BY id LIMIT $4
    """  # noqa: S608  a constant
_RANGES_NEWEST: Final = f"""
    SELECT {COLUMNS} FROM block b
    WHERE program_id = $1 AND kind = 'range' AND (version < $2 OR version = $2 AND first < $3)
      AND {{condition}} ORDER BY version DESC, first DESC LIMIT $4
    """  # noqa: S608  a constant
_LISTS_NEWEST: Final = f"""
    SELECT {COLUMNS} FROM block b
    WHERE program_id = $1 AND kind = 'list' AND (id < $2 OR id = $2 AND $3::bigint > 0)
      AND {{condition}} ORDER BY id DESC LIMIT $4
    """  # noqa: S608  a constant

_OF_PROFILE: Final = f"""
    SELECT {COLUMNS}, a.position FROM (
        SELECT DISTINCT block_id, position FROM answer
        WHERE profile_id = $2 AND program_id = $1 AND block_id IS NOT NULL
    ) a JOIN block b ON b.id = a.block_id
    CROSS JOIN LATERAL (SELECT (kind = 'list')::int AS listed, coalesce(version, b.id) AS major,
                               coalesce(first, 0) + a.position AS minor) place
    WHERE (listed, major, minor) {{side}} ($3, $4, $5)
    ORDER BY listed {{order}}, major {{order}}, minor {{order}} LIMIT $6
    """  # noqa: S608  a constant
# Blocks that may hold a code with an expiry from $5 up to $6 (exclusive): attached codes have their own.
_MAY_EXPIRE: Final = """
    (b.attached > 0 OR b.deleted > 0
     OR b.expires_at >= coalesce($5::timestamptz, '-infinity') AND b.expires_at < coalesce($6::timestamptz, 'infinity'))
    """.strip()
# The parameters before those of a filter.
_GIVEN: Final = 4

# Larger than any version, block id and number.
_MAJOR_MAX: Final = 2**31 - 1
_MINOR_MAX: Final = 2**62 + 1


class CodePage(NamedTuple):
    """A page of codes, and the cursor for the next page; None after the last one.

    A page that is not the last may be short or empty.
    """

    codes: list[CodeFacts]
    next: CodePlace | None


class _Blocks:
    """The blocks of a program that may hold codes which pass a filter, in its order."""

    def __init__(self, codes: ProgramCodes, wanted: CodeFilter, condition: str = "true") -> None:
        self._codes = codes
        self._newest = wanted.newest_first
        self._given: list[object] = [wanted.expires_from, wanted.expires_until] if wanted.has_expiry else []
        conditions = [condition, _MAY_EXPIRE] if wanted.has_expiry else [condition]
        if wanted.import_id is not None:
            self._given.append(wanted.import_id)
            conditions.append(f"b.import_id = ${_GIVEN + len(self._given)}::uuid")
        self._condition = " AND ".join(conditions)

    async def following(self, after: CodePlace, count: int) -> Sequence[asyncpg.Record]:
        """Up to `count` blocks with positions after `after`: range blocks first, then list blocks; or the reverse."""
        found: list[asyncpg.Record] = []
        newest = self._newest
        kinds = [(1, _LISTS_NEWEST), (0, _RANGES_NEWEST)] if newest else [(0, _RANGES), (1, _LISTS)]
        for listed, sql in kinds:
            is_passed = listed > after.listed if newest else listed < after.listed
            if is_passed or len(found) == count:
                continue
            whole = CodePlace(listed, _MAJOR_MAX if listed == 0 else _MINOR_MAX, _MINOR_MAX) if newest else START
            _, major, minor = after if listed == after.listed else whole
            found += await self._codes.connection.fetch(
                sql.format(condition=self._condition),
                self._codes.program_id, major, minor, count - len(found), *self._given,
            )  # fmt: skip
        return found


async def page(codes: ProgramCodes, after: CodePlace, limit: int, wanted: CodeFilter = ALL) -> CodePage:
    """Up to `limit` codes after `after` in the filter's order."""
    if not wanted.has_expiry:
        return await _page(codes, after, limit, wanted)
    found: list[CodeFacts] = []
    for _ in range(_EXPIRY_PAGES_MAX):
        some = await _page(codes, after, _EXPIRY_PAGE, wanted)
        found += some.codes
        if len(found) > limit:
            return CodePage(found[:limit], found[limit - 1].place)
        if some.next is None:
            return CodePage(found, None)
        after = some.next
    return CodePage(found, after)


async def _page(codes: ProgramCodes, after: CodePlace, limit: int, wanted: CodeFilter) -> CodePage:
    end = None
    newest = wanted.newest_first
    if wanted.profile_id is not None:
        sql = _OF_PROFILE.format(side="<" if newest else ">", order="DESC" if newest else "ASC")
        rows = await codes.connection.fetch(sql, codes.program_id, wanted.profile_id, *after, limit)
        at = [LocatedCode(row, row["position"]) for row in rows]
    elif wanted.state is not None:
        blocks = _Blocks(codes, wanted, _MAY_HOLD[wanted.state])
        at, end = await _of_state(codes.connection, blocks, after, limit, wanted.state, newest)
    else:
        at = await _following(_Blocks(codes, wanted), after, limit, newest)
    if len(at) == limit:
        end = at[-1].place
    if wanted.batch is not None:
        at = [one for one in at if in_batch(wanted.batch, one.place)]
        # The batch is contiguous, so a page that ends outside of it is its last one.
        end = end if end is not None and in_batch(wanted.batch, end) else None
    # Texts of consecutive places are minted together.
    found = (await facts_of(codes, at[::-1]))[::-1] if newest else await facts_of(codes, at)
    return CodePage([one for one in found if one is not None and wanted.holds(one)], end)


async def _following(blocks_of: _Blocks, after: CodePlace, count: int, newest: bool) -> list[LocatedCode]:
    """The next `count` positions of a program after `after`, or fewer at the end."""
    found: list[LocatedCode] = []
    while len(found) < count:
        blocks = await blocks_of.following(after, count - len(found))
        for block in blocks:
            positions = _positions(block, 0, block["size"], after, newest)
            found += [LocatedCode(block, position) for position in positions[: count - len(found)]]
            if len(found) == count:
                break
        if not blocks:
            break
        after = _last_place(blocks[-1], newest)
    return found


async def _of_state(
    connection: Connection, blocks_of: _Blocks, after: CodePlace, count: int, state: State, newest: bool
) -> tuple[list[LocatedCode], CodePlace | None]:
    """The next positions with codes of this state, and the cursor for the next page: None at the end."""
    found: list[LocatedCode] = []
    scanned = 0
    order = "DESC" if newest else "ASC"
    while blocks := await blocks_of.following(after, _BLOCKS_MAX):
        for block in blocks:
            left = _positions(block, *_bounds(block, state), after, newest)
            scanned += _BLOCK_COST
            is_marked = state in _MARKED_STATES and not block["voided"]
            sql = _statement(block, state).format(order=order)
            run = len(left) if is_marked else count
            while left:
                some, left = left[:run], left[run:]
                rows = await connection.fetch(sql, block["id"], min(some), max(some) + 1, count - len(found))
                found += [LocatedCode(block, row["position"]) for row in rows]
                if len(found) == count:
                    return found, found[-1].place
                if run <= _RUN_MAX:
                    scanned += len(some)
                run = min(2 * run, _RUN_MAX)
                if scanned >= SCANNED_MAX:
                    return found, LocatedCode(block, some[-1]).place
            after = _last_place(block, newest)
            if scanned >= SCANNED_MAX:
                return found, after
    return found, None


def _statement(block: asyncpg.Record, state: State) -> str:
    """The statement that finds positions of this block with codes of the state."""
    if state == "deleted" and block["voided"]:
        return _VOIDED
    if state == "expired" and not block["over"] and not block["archived"]:
        return _EXPIRED_ALONE
    return _POSITIONS[state]


def _bounds(block: asyncpg.Record, state: State) -> tuple[int, int]:
    """Start and exclusive end of the positions at which a block may hold codes of a state."""
    if state == "pooled":
        return block["next"], block["size"]
    if state == "attached" or (state == "expired" and not block["over"]):
        return 0, block["next"] if block["holes"] == 0 else block["size"]
    return 0, block["size"]


def _positions(block: asyncpg.Record, start: int, end: int, after: CodePlace, newest: bool) -> range:
    """The block's positions in [start, end) after `after`, in order."""
    place = LocatedCode(block, 0).place
    if place[:2] == after[:2]:
        offset = after.minor - place.minor
        start, end = (start, min(end, offset)) if newest else (max(start, offset + 1), end)
    positions = range(start, max(start, end))
    return positions[::-1] if newest else positions


def _last_place(block: asyncpg.Record, newest: bool) -> CodePlace:
    return LocatedCode(block, 0 if newest else block["size"] - 1).place
