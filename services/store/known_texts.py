"""Which texts of a file a program has already, from templates or from lists."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from services.files.candidates import BadRow, Candidate, bad_row
from services.postgres.connection import Connection
from services.store.minters import Minters

_LISTED: Final = """
    SELECT c.text, b.import_id IS NOT DISTINCT FROM $3 AS own FROM code c JOIN block b ON b.id = c.block_id
    WHERE c.program_id = $1 AND c.text = ANY($2::text[])
    """

_VERSIONS: Final = "SELECT version, next_number FROM template_version WHERE program_id = $1 AND next_number > 0"

# Numbers that were left out when their turn came are in no block.
_IN_BLOCKS: Final = """
    SELECT n FROM unnest($3::bigint[]) AS n WHERE EXISTS (
        SELECT FROM block WHERE kind = 'range' AND program_id = $1 AND version = $2
            AND int8range(first, first + size) @> n)
    """


async def without_listed(
    connection: Connection, program_id: int, import_id: UUID, good: Sequence[Candidate], bad: list[BadRow]
) -> list[Candidate]:
    """Leave out texts that are in a list; in one of this import, the file has them twice."""
    rows = await connection.fetch(_LISTED, program_id, [one.text for one in good], import_id)
    listed = {row["text"]: row["own"] for row in rows}
    bad += [
        bad_row(one.row, one.text, "twice_in_file" if listed[one.text] else "already_in_program")
        for one in good
        if one.text in listed
    ]
    return [one for one in good if one.text not in listed]


async def without_minted(
    connection: Connection, minters: Minters, program_id: int, good: list[Candidate], bad: list[BadRow]
) -> list[Candidate]:
    """Leave out texts that a template of the program has made."""
    minted: set[str] = set()
    for version, next_number in await connection.fetch(_VERSIONS, program_id):
        minter = await minters.get(connection, program_id, version)
        numbers = minter.number_of([one.text for one in good])
        texts = {n: one.text for n, one in zip(numbers, good, strict=True) if n is not None and n < next_number}
        if texts:
            minted |= {texts[n] for n in await _in_blocks(connection, program_id, version, texts)}
    bad += [bad_row(one.row, one.text, "already_in_program") for one in good if one.text in minted]
    return [one for one in good if one.text not in minted] if minted else good


async def _in_blocks(connection: Connection, program_id: int, version: int, numbers: Collection[int]) -> list[int]:
    rows = await connection.fetch(_IN_BLOCKS, program_id, version, list(numbers))
    return [row["n"] for row in rows]
