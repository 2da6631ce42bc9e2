"""Finds texts of a file that a program already has, from templates or lists."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from codewell.codes import lookup
from codewell.codes.program_codes import ProgramCodes
from codewell.imports.candidates import BadRow, Candidate, bad_row
from codewell.infra.postgres.connection import Connection

_LISTED: Final = """
    SELECT c.text, b.import_id IS NOT DISTINCT FROM $3 AS own FROM code c JOIN block b ON b.id = c.block_id
    WHERE c.program_id = $1 AND c.text = ANY($2::text[])
    """


async def drop_listed(
    connection: Connection, program_id: int, import_id: UUID, good: Sequence[Candidate], bad: list[BadRow]
) -> list[Candidate]:
    """Drop texts that are already in a list; a text in a list of this import is a duplicate in the file."""
    rows = await connection.fetch(_LISTED, program_id, [one.text for one in good], import_id)
    listed = {row["text"]: row["own"] for row in rows}
    bad += [
        bad_row(one.row, one.text, "twice_in_file" if listed[one.text] else "already_in_program")
        for one in good
        if one.text in listed
    ]
    return [one for one in good if one.text not in listed]


async def drop_minted(codes: ProgramCodes, good: list[Candidate], bad: list[BadRow]) -> list[Candidate]:
    """Drop texts that a template of the program has minted."""
    minted = await lookup.minted(codes, [one.text for one in good])
    bad += [bad_row(one.row, one.text, "already_in_program") for one in good if one.text in minted]
    return [one for one in good if one.text not in minted] if minted else good
