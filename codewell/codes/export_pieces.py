"""Reads the codes of a program in pieces: each is one statement's lines over some blocks' positions.

Pieces follow the order of `CodePlace`: minted codes by version and number, then texts by block and position, but those
that were split off a block by their place in it. So nothing that splits blocks between two pieces changes the order.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from codewell.codes.lookup import START, CodePlace, place_in
from codewell.codes.state import DELETED_AT, EXPIRES_AT, FIELDS, STATE_IN_SNAPSHOT
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import UNEXPIRED_IN_SNAPSHOT
from schemas.program import State

# Bytes of stored lines that a piece aims at, and those above which it is dropped and read in smaller pieces.
PIECE_BYTES: Final = 512 * 1024
_PIECE_BYTES_MAX: Final = 2 * 1024 * 1024
_POSITIONS_MAX: Final = 100_000
_POSITIONS_AT_FIRST: Final = 2_000
_BLOCKS_AT_ONCE: Final = 200
_GROWTH_MAX: Final = 4

# The newest number and the newest list block at the start: later codes are left out. A code that goes back to the pool
# moves to a later block, so those are always read.
_END: Final = """
    SELECT (SELECT coalesce(max(version), 0) FROM template_version WHERE program_id = $1) AS version,
           (SELECT next_number FROM template_version WHERE program_id = $1 ORDER BY version DESC LIMIT 1) AS number,
           (SELECT coalesce(max(id), 0) FROM block WHERE program_id = $1 AND kind = 'list') AS list_id
    """
# Positions from `next` on that are no holes were never attached: pooled, expired, or deleted with the block.
_COLUMNS: Final = f"""
    id, kind, version, first, size, coalesce(voided_from, next) AS next, expires_at, fields, voided_at,
    NOT {UNEXPIRED_IN_SNAPSHOT} AS over
    """
_RANGES: Final = f"""
    SELECT {_COLUMNS} FROM block
    WHERE program_id = $1 AND kind = 'range' AND (version > $2 OR version = $2 AND first + size > $3::bigint + 1)
      AND (version < $4 OR version = $4 AND first < $5) ORDER BY version, first LIMIT $6
    """  # noqa: S608  a constant
_LISTS: Final = f"""
    SELECT {_COLUMNS}, root, coalesce(split_first, 0) AS root_position FROM (
        SELECT id FROM block
        WHERE program_id = $1 AND kind = 'list' AND split_from IS NULL AND id >= $2
          AND (id <= $4 OR origin = 'return') ORDER BY id LIMIT $5
    ) r (root) CROSS JOIN LATERAL (
        SELECT * FROM block WHERE id = root UNION ALL SELECT * FROM block WHERE split_from = root
    ) b
    WHERE root > $2 OR coalesce(split_first, 0) + size > $3::bigint + 1 ORDER BY root, root_position LIMIT $5
    """  # noqa: S608  a constant

# Holes. The line of an attached code comes from _GIVEN, that of a moved code from its new block (`elsewhere`).
_HOLES: Final = """
    SELECT s.block_id, s.position, s.deleted_at, a.block_id IS NOT NULL OR s.returned_at IS NOT NULL AS elsewhere
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (block_id, first, until)
    JOIN code_state s ON s.block_id = w.block_id AND s.position >= w.first AND s.position < w.until AND s.hole
    LEFT JOIN answer a ON a.block_id = s.block_id AND a.position = s.position AND NOT a.again
    """

# {spans} are integers, so formatting is safe. COPY takes no parameters; asyncpg would have the server quote them.
_GIVEN: Final = """
    SELECT {columns} FROM (VALUES {spans}) AS w (block_id, first, until)
    JOIN answer a ON a.block_id = w.block_id AND a.position >= w.first AND a.position < w.until AND NOT a.again
    JOIN block b ON b.id = a.block_id
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position {profile}
    WHERE s.returned_at IS NULL AND {condition}
    """
_LISTED: Final = """
    SELECT {columns} FROM (VALUES {spans}) AS w (block_id, first, until)
    JOIN code c ON c.block_id = w.block_id AND c.position >= w.first AND c.position < w.until
    JOIN block b ON b.id = c.block_id
    LEFT JOIN answer a ON a.block_id = c.block_id AND a.position = c.position AND NOT a.again
    LEFT JOIN code_state s ON s.block_id = c.block_id AND s.position = c.position {profile}
    WHERE s.returned_at IS NULL AND {condition}
    """
_PROFILE: Final = "LEFT JOIN profile p ON p.profile_id = a.profile_id"


class Span(NamedTuple):
    """Positions of one block: from `first`, up to `end` (exclusive)."""

    block: asyncpg.Record
    first: int
    end: int


class Piece(NamedTuple):
    """Some spans of one kind, and the lines of their codes that are stored as texts."""

    is_range: bool
    spans: list[Span]
    stored: bytes
    """Lines as COPY writes them."""
    stored_codes: int
    holes: Mapping[int, Mapping[int, datetime | None]]
    """By block and position: the time of deletion; None for codes whose line another part has."""


class _PieceTooLarge(Exception):
    """The lines of a piece exceed _PIECE_BYTES_MAX; has their size (bytes)."""


class PieceReader:
    """Reads one program's pieces in turn."""

    def __init__(
        self, program_id: int, state: State | None, custom_fields: Sequence[str], profile_fields: Sequence[str]
    ) -> None:
        self._program_id = program_id
        self._state = state
        self._profile = _PROFILE if profile_fields else ""
        self._rest = [
            STATE_IN_SNAPSHOT, "a.profile_id", _moment("a.answered_at"), _moment("s.activated_at"),
            _moment(EXPIRES_AT), _moment(DELETED_AT),
            *(_member(FIELDS, name) for name in custom_fields),
            *(_member("p.fields", name) for name in profile_fields),
        ]  # fmt: skip
        self._after = START
        self._end: asyncpg.Record | None = None
        self._positions = _POSITIONS_AT_FIRST

    async def read(self, connection: Connection) -> Piece | None:
        """The next piece, or None at the end. Call it in a transaction that sees one snapshot, a new one for each piece
        or the same for all.
        """
        while spans := await self._next_spans(connection):
            try:
                piece = await self._read_spans(connection, spans)
            except _PieceTooLarge as error:
                count = sum(span.end - span.first for span in spans)
                self._positions = max(1, min(count // 2, count * PIECE_BYTES // error.args[0]))
                continue
            self._after = _place(spans[-1].block, spans[-1].end - 1)
            wanted = self._positions * PIECE_BYTES // max(1, len(piece.stored))
            self._positions = max(1, min(wanted, self._positions * _GROWTH_MAX, _POSITIONS_MAX))
            return piece
        return None

    async def _next_spans(self, connection: Connection) -> list[Span]:
        """The next positions, of range blocks or else of list blocks."""
        blocks = await self._next_blocks(connection)
        spans: list[Span] = []
        left = self._positions
        for block in blocks:
            begin = _place(block, 0)
            first = max(0, self._after.minor + 1 - begin.minor) if begin[:2] == self._after[:2] else 0
            spans.append(Span(block, first, min(block["size"], first + left)))
            left -= spans[-1].end - first
            if left < 1:
                break
        return spans

    async def _next_blocks(self, connection: Connection) -> list[asyncpg.Record]:
        if self._end is None:
            self._end = await connection.fetchrow(_END, self._program_id)
        version, number, list_id = self._end
        blocks: list[asyncpg.Record] = []
        if self._after.listed == 0:
            place = self._after[1:]
            blocks = await connection.fetch(_RANGES, self._program_id, *place, version, number or 0, _BLOCKS_AT_ONCE)
        if not blocks:
            place = self._after[1:] if self._after.listed else START[1:]
            blocks = await connection.fetch(_LISTS, self._program_id, *place, list_id, _BLOCKS_AT_ONCE)
        return blocks

    async def _read_spans(self, connection: Connection, spans: list[Span]) -> Piece:
        is_range = spans[0].block["kind"] == "range"
        stored, count = b"", 0
        if not (is_range and self._state == "pooled"):
            stored, count = await self._copy(connection, _GIVEN if is_range else _LISTED, spans)
        holes: defaultdict[int, dict[int, datetime | None]] = defaultdict(dict)
        if is_range:
            columns = [[one[0]["id"] for one in spans], [one.first for one in spans], [one.end for one in spans]]
            for block_id, position, deleted_at, elsewhere in await connection.fetch(_HOLES, *columns):
                holes[block_id][position] = None if elsewhere else deleted_at
        return Piece(is_range, spans, stored, count, holes)

    async def _copy(self, connection: Connection, sql: str, spans: Sequence[Span]) -> tuple[bytes, int]:
        """Let Postgres write the lines of the stored codes of these spans."""
        query = sql.format(
            columns=", ".join(["a.code" if sql is _GIVEN else "c.text", *self._rest]),
            spans=", ".join(f"({block['id']}::bigint, {first}::bigint, {end})" for block, first, end in spans),
            condition="true" if self._state is None else f"{STATE_IN_SNAPSHOT} = '{self._state}'",
            profile=self._profile,
        )
        lines, size = bytearray(), 0
        is_divisible = sum(span.end - span.first for span in spans) > 1

        async def took(copied: bytes) -> None:
            nonlocal size
            size += len(copied)
            if size > _PIECE_BYTES_MAX and is_divisible:
                # Read to its end, as an interrupted COPY costs the connection.
                lines.clear()
            else:
                lines.extend(copied)

        tag = await connection.copy_from_query(query, output=took, format="csv")
        if size > _PIECE_BYTES_MAX and is_divisible:
            raise _PieceTooLarge(size)
        return bytes(lines), int(tag.split()[-1])


def _place(block: asyncpg.Record, position: int) -> CodePlace:
    """The place of a position; of a text, the one that it had before its block was split."""
    if block["kind"] == "range":
        return place_in(block, position)
    return CodePlace(1, block["root"], block["root_position"] + position)


def _moment(sql: str) -> str:
    return f"""to_char(({sql}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _member(json_sql: str, name: str) -> str:
    literal = name.replace("'", "''")
    return f"({json_sql})->>'{literal}'"
