"""Look-up of codes by text: their location and their facts."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import asyncpg

from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import EXPIRES_AT, FIELDS, HELD, STATE
from codewell.pool.block_rules import UNEXPIRED
from schemas.program import State

# Block columns that LocatedCode requires.
COLUMNS: Final = f"""
    b.id, b.kind, b.version, b.first, b.size, b.next, b.holes, b.expires_at, b.fields, b.created_at,
    NOT {UNEXPIRED} AS over, b.voided_at IS NOT NULL AS voided, b.archived_until IS NOT NULL AS archived
    """

# What `fact` reads of the code at a place `w (block_id, position)`.
FACT_COLUMNS: Final = f"""
    {STATE} AS state, a.profile_id, a.answered_at, a.code, s.activated_at, s.returned_at, c.text,
    {EXPIRES_AT} AS expires_at, {FIELDS} AS fields, coalesce(s.uses, 0) AS uses, b.import_id,
    CASE WHEN {HELD} THEN s.held_until END AS held_until
    """
FACT_JOINS: Final = """
    LEFT JOIN block b ON b.id = w.block_id
    LEFT JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND NOT a.again
          AND a.block_id IS NOT NULL
    LEFT JOIN code_state s ON s.block_id = w.block_id AND s.position = w.position
    LEFT JOIN code c ON c.block_id = w.block_id AND c.position = w.position
    """
_FACTS: Final = f"""
    SELECT {FACT_COLUMNS}
    FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (block_id, position, n) {FACT_JOINS} ORDER BY w.n
    """  # noqa: S608  constants

BLOCKS_OF_NUMBERS: Final = f"""
    SELECT {COLUMNS}, n.number FROM unnest($3::bigint[]) AS n (number)
    JOIN block b ON b.kind = 'range' AND b.program_id = $1 AND b.version = $2
         AND int8range(b.first, b.first + b.size) @> n.number
    """  # noqa: S608  a constant

_BLOCKS_OF_TEXTS: Final = f"""
    SELECT {COLUMNS}, c.position, c.text FROM code c JOIN block b ON b.id = c.block_id
    WHERE c.program_id = $1 AND c.text = ANY($2::text[])
    """  # noqa: S608  a constant

_VERSIONS: Final = """
    SELECT version, next_number FROM template_version WHERE program_id = $1 AND next_number > 0 ORDER BY version
    """
_WRITTEN_PLACE: Final = re.compile(r"([01]):([0-9]{1,19}):([0-9]{1,19})")
_NUMBER_LIMIT: Final = 2**63


class CodePlace(NamedTuple):
    """Sort key of a code in its program: minted codes by version and number, then texts by block id and position.

    It doesn't change when a generator splits blocks.
    """

    listed: int
    """0 for a minted code, 1 for a text."""
    major: int
    minor: int

    def __str__(self) -> str:
        """LISTED:MAJOR:MINOR, as lists print it and `parse` accepts it. It tells nothing about the code's text."""
        return ":".join(map(str, tuple(self)))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The place that is written so, or None."""
        written = _WRITTEN_PLACE.fullmatch(text)
        if written is None:
            return None
        listed, major, minor = map(int, written.groups())
        return cls(listed, major, minor) if max(major, minor) < _NUMBER_LIMIT else None


START: Final = CodePlace(0, 0, -1)
"""Before the first code."""
END: Final = CodePlace(2, 0, 0)
"""After the last code."""


class CodeFacts(NamedTuple):
    """Facts on one code. `fields` is JSON text."""

    code: str
    state: State
    profile_id: str | None
    attached_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    fields: str | None
    place: CodePlace
    created_at: datetime
    """When the code was made or imported, to the minute: fills within a minute share a block."""
    uses: int = 0
    """How often it was used, without uses that were taken back, and without activations before uses were recorded."""
    held_until: datetime | None = None
    """When the last hold by an order ends; None if no order holds it now."""
    import_id: UUID | None = None
    """The import that brought it; None once it has returned to the pool."""


class LocatedCode(NamedTuple):
    """Current location of a code: its block, as the look-up read it (COLUMNS), and its position there."""

    block: asyncpg.Record
    position: int

    @property
    def place(self) -> CodePlace:
        return place_in(self.block, self.position)


def place_in(block: Mapping[str, Any], position: int) -> CodePlace:
    """The place of a position in a block, which has its `kind`, `id`, `version` and `first`."""
    if block["kind"] == "range":
        return CodePlace(0, block["version"], block["first"] + position)
    return CodePlace(1, block["id"], position)


async def find(codes: ProgramCodes, code: str) -> CodeFacts | None:
    """Facts on the program's code with this text; None if the program never had such a code."""
    at = await locate(codes, code)
    return None if at is None else (await facts_of(codes, [at], [code]))[0]


async def locate(codes: ProgramCodes, code: str) -> LocatedCode | None:
    """The current location of this text; None if the program has no such code."""
    [at] = await locate_all(codes, [code])
    return at


async def locate_all(codes: ProgramCodes, texts: Sequence[str]) -> list[LocatedCode | None]:
    """The current location of each text, in order; None for a text that is not the program's."""
    printable = [text for text in texts if text.isprintable()]
    found = {
        row["text"]: LocatedCode(row, row["position"])
        for row in await codes.connection.fetch(_BLOCKS_OF_TEXTS, codes.program_id, printable)
    }
    missing = [text for text in printable if text not in found]
    if missing:
        found |= await minted(codes, missing)
    return [found.get(text) for text in texts]


async def minted(codes: ProgramCodes, texts: Sequence[str]) -> dict[str, LocatedCode]:
    """Locations of the texts that the program's templates have minted, by text. Ignores list blocks."""
    return await minted_by(codes, texts, await codes.connection.fetch(_VERSIONS, codes.program_id))


async def minted_by(
    codes: ProgramCodes, texts: Sequence[str], versions: Sequence[asyncpg.Record]
) -> dict[str, LocatedCode]:
    """As `minted`, by the templates in rows that begin with a version and its next number."""
    found: dict[str, LocatedCode] = {}
    for version, next_number, *_ in versions:
        numbers = (await codes.minter(version)).find_numbers(texts)
        text_of = {n: text for n, text in zip(numbers, texts, strict=True) if n is not None and n < next_number}
        if not text_of:
            continue
        for row in await codes.connection.fetch(BLOCKS_OF_NUMBERS, codes.program_id, version, list(text_of)):
            # Numbers that the allocation skipped are in no block, so they return no row.
            found.setdefault(text_of[row["number"]], LocatedCode(row, row["number"] - row["first"]))
    return found


async def facts_of(
    codes: ProgramCodes,
    at: Sequence[LocatedCode],
    known: Sequence[str] | None = None,
) -> list[CodeFacts | None]:
    """Facts on each location, in order; None for a code that has moved to another block or whose import was undone.

    `known` are the texts of all locations. Without them the texts are minted or read.
    """
    if not at:
        return []
    rows = await codes.connection.fetch(_FACTS, [one.block["id"] for one in at], [one.position for one in at])
    texts: list[str | None] = [] if known is None else list(known)
    for block, group in groupby(at if known is None else (), key=lambda one: one.block):
        positions = [one.position for one in group]
        if block["kind"] == "list":
            texts += [None] * len(positions)
            continue
        minter = await codes.minter(block["version"])
        minted = minter.mint(block["first"] + positions[0], positions[-1] - positions[0] + 1)
        texts += [minted[position - positions[0]] for position in positions]
    return [fact(one, row, text) for one, row, text in zip(at, rows, texts, strict=True)]


def fact(at: LocatedCode, row: asyncpg.Record, known: str | None) -> CodeFacts | None:
    """Facts on a location in a row with FACT_COLUMNS, as `facts_of` returns them. `known` is the code's text."""
    if row["returned_at"] is not None:
        return None
    if row["profile_id"] is None and at.block["kind"] == "list" and row["text"] is None:
        # An undone import has removed its text.
        return None
    return CodeFacts(
        row["code"] or row["text"] or known or "",
        row["state"],
        row["profile_id"],
        row["answered_at"],
        row["activated_at"],
        row["expires_at"],
        row["fields"],
        at.place,
        at.block["created_at"],
        row["uses"],
        row["held_until"],
        row["import_id"],
    )
