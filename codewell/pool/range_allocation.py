"""Allocates the next numbers of a template: consecutive, except those whose text the program has already.

A program has each text only once, whichever template or import it came from. Numbers of one template never share a
text. So a program with one template and no imports needs no check, however many codes are made. Returned codes are in
list blocks too, but their texts belong to earlier numbers or imports.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter, mintable_count
from codewell.minting.template import Template
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules

# Texts in one comparison: some megabytes of memory, and some tens of milliseconds between two queries.
TEXTS_MAX: Final = 50_000

_STATE: Final = """
    SELECT v.next_number, v.template, (SELECT imported > 0 FROM program WHERE id = $1) AS has_imported,
           ARRAY(SELECT o.version FROM template_version o
                 WHERE o.program_id = $1 AND o.version < $2 AND o.next_number > 0 ORDER BY o.version) AS older,
           ARRAY(SELECT o.next_number FROM template_version o
                 WHERE o.program_id = $1 AND o.version < $2 AND o.next_number > 0 ORDER BY o.version) AS minted
    FROM template_version v WHERE v.program_id = $1 AND v.version = $2
    """


class NumberRange(NamedTuple):
    """Consecutive numbers that become one block."""

    first: int
    size: int


class NumberRanges(NamedTuple):
    """Ranges of new blocks, and how many numbers the allocation skips permanently."""

    blocks: list[NumberRange]
    skipped: int


async def allocate(
    connection: Connection, minters: Minters, program: ProgramRules, sizes: Sequence[int]
) -> AsyncIterator[NumberRanges]:
    """Yield the next numbers of the program's template, for blocks of these sizes. Skipped numbers split a block.

    The caller has locked the program's row, and stores each part before it requests the next. Yields fewer numbers
    than requested when the template runs out. Raises TemplateInvalid, and StackUnavailable as `Minters.get` does.
    """
    state = await connection.fetchrow(_STATE, program.id, program.version)
    number = state["next_number"]
    end = end_of(state["template"])
    older = await _older(connection, minters, program, zip(state["older"], state["minted"], strict=True))
    if not older and not state["has_imported"]:
        yield NumberRanges(list(in_a_row(number, end, sizes)), 0)
        return
    minter = await minters.get(connection, program.id, program.version)
    for size in sizes:
        blocks: list[NumberRange] = []
        skipped = 0
        missing = size
        while missing and number < end:
            count = min(missing, TEXTS_MAX, end - number)
            texts = minter.mint(number, count)
            had = _minted(older, texts)
            if state["has_imported"]:
                had |= await _listed(connection, program.id, texts)
            _append(blocks, number, count, had)
            number += count
            skipped += len(had)
            missing -= count - len(had)
        yield NumberRanges(blocks, skipped)


def end_of(template: str) -> int:
    """How many numbers a template has. Raises TemplateInvalid when the template can't be parsed."""
    return mintable_count(Template.parse(template))


def in_a_row(number: int, end: int, sizes: Sequence[int]) -> Iterator[NumberRange]:
    """Consecutive ranges of these sizes from `number` on, without gaps, cut off at `end` (exclusive)."""
    for size in sizes:
        if number < end:
            yield NumberRange(number, min(size, end - number))
        number += size


async def _older(
    connection: Connection, minters: Minters, program: ProgramRules, minted: "zip[tuple[int, int]]"
) -> list[tuple[Minter, int]]:
    """(minter, number limit) of each older template that shares texts with the current one; the limit is exclusive."""
    older = [(await minters.get(connection, program.id, version), count) for version, count in minted]
    if not older:
        return []
    template = (await minters.get(connection, program.id, program.version)).template
    return [(minter, count) for minter, count in older if template.count_common_texts(minter.template)]


def _minted(older: Sequence[tuple[Minter, int]], texts: Sequence[str]) -> set[int]:
    """Indexes of the texts that an older template has minted."""
    return {
        place
        for minter, minted in older
        for place, number in enumerate(minter.find_numbers(texts))
        if number is not None and number < minted
    }


async def _listed(connection: Connection, program_id: int, texts: Sequence[str]) -> set[int]:
    """Indexes of the texts that are in the program's list blocks."""
    rows = await connection.fetch(
        "SELECT text FROM code WHERE program_id = $1 AND text = ANY($2::text[])", program_id, texts
    )
    listed = {row["text"] for row in rows}
    return {place for place, text in enumerate(texts) if text in listed} if listed else set()


def _append(blocks: list[NumberRange], first: int, count: int, left_out: Collection[int]) -> None:
    """Append `count` numbers from `first` on: to the last block if adjacent, to a new block after each skipped one.

    `left_out` holds the skipped numbers as offsets from `first`.
    """
    start = 0
    for stop in [*sorted(left_out), count]:
        if stop > start:
            last = blocks[-1] if blocks else None
            if last is not None and last.first + last.size == first + start:
                blocks[-1] = last._replace(size=last.size + stop - start)
            else:
                blocks.append(NumberRange(first + start, stop - start))
        start = stop + 1
