"""Drops rows whose texts a program already has, from templates or lists, or whose profiles have its code."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from codewell.codes import lookup
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import DELETED_AT
from codewell.imports.candidates import BadRow, Candidate, UsualCandidates, bad_row, texts_of
from codewell.infra.postgres.connection import Connection
from codewell.issuing.assignment_keys import assignment_key
from codewell.issuing.assignments import assigned_codes
from codewell.issuing.model import ManualRequest
from codewell.pool import folded_texts
from codewell.pool.program_rules import ProgramRules
from schemas.imports import Reason

_LISTED: Final = f"""
    SELECT c.text, b.import_id IS NOT DISTINCT FROM $3 AS own, {DELETED_AT} IS NOT NULL AS deleted
    FROM code c JOIN block b ON b.id = c.block_id
    LEFT JOIN answer a ON a.block_id = c.block_id AND a.position = c.position AND NOT a.again
    LEFT JOIN code_state s ON s.block_id = c.block_id AND s.position = c.position
    WHERE c.program_id = $1 AND c.text = ANY($2::text[])
    """  # noqa: S608  a constant
_DELETED: Final = f"""
    SELECT p.block_id, p.position FROM unnest($1::bigint[], $2::bigint[]) AS p (block_id, position)
    JOIN block b ON b.id = p.block_id
    LEFT JOIN answer a ON a.block_id = p.block_id AND a.position = p.position AND NOT a.again
    LEFT JOIN code_state s ON s.block_id = p.block_id AND s.position = p.position WHERE {DELETED_AT} IS NOT NULL
    """  # noqa: S608  a constant


async def drop_listed(
    connection: Connection, program_id: int, import_id: UUID, good: Sequence[Candidate], bad: list[BadRow]
) -> Sequence[Candidate]:
    """Drop texts that are already in a list; a text in a list of this import is a duplicate in the file."""
    rows = await connection.fetch(_LISTED, program_id, texts_of(good), import_id)
    listed: dict[str, Reason] = {
        row["text"]: "deleted_in_program" if row["deleted"] else "twice_in_file" if row["own"] else "already_in_program"
        for row in rows
    }
    bad += [bad_row(one.row, one.text, listed[one.text]) for one in good if one.text in listed]
    return [one for one in good if one.text not in listed]


async def drop_alike(codes: ProgramCodes, good: Sequence[Candidate], bad: list[BadRow]) -> Sequence[Candidate]:
    """Drop texts that fold onto another code of the folding program or of the file, or onto a code of its templates."""
    templates = await folded_texts.foldings(codes.connection, codes.minters, codes.program_id)
    clashes = await folded_texts.clashes(codes.connection, codes.program_id, texts_of(good), templates)
    bad += [
        bad_row(one.row, one.text, "folds_alike", f"it folds onto {clashes[one.text]}")
        for one in good
        if one.text in clashes
    ]
    return [one for one in good if one.text not in clashes]


async def drop_minted(codes: ProgramCodes, good: Sequence[Candidate], bad: list[BadRow]) -> Sequence[Candidate]:
    """Drop texts that a template of the program has minted."""
    minted = await lookup.minted(codes, texts_of(good))
    if not minted:
        return good
    places = [(at.block["id"], at.position) for at in minted.values()]
    deleted = {
        (row["block_id"], row["position"])
        for row in await codes.connection.fetch(_DELETED, *map(list, zip(*places, strict=True)))
    }
    gone = {text for text, place in zip(minted, places, strict=True) if place in deleted}
    bad += [
        bad_row(one.row, one.text, "deleted_in_program" if one.text in gone else "already_in_program")
        for one in good
        if one.text in minted
    ]
    return [one for one in good if one.text not in minted]


def drop_ended(now: datetime, good: Sequence[Candidate], bad: list[BadRow]) -> Sequence[Candidate]:
    """Drop codes whose expiry has passed since their rows were checked."""
    if isinstance(good, UsualCandidates):
        return good
    left = []
    for one in good:
        if one.kind.expires_at is not None and one.kind.expires_at <= now:
            bad.append(bad_row(one.row, one.text, "bad_expiry", "it has passed meanwhile: give a later one"))
        else:
            left.append(one)
    return left


async def drop_holders(
    connection: Connection, program: ProgramRules, now: datetime, good: Sequence[Candidate], bad: list[BadRow]
) -> Sequence[Candidate]:
    """Drop codes for profiles that hold a code of a program that gives the same code again."""
    if not program.reuses_codes:
        return good
    keys = {
        one.row: assignment_key(program, ManualRequest(one.profile_id, program.name)) for one in good if one.profile_id
    }
    held = await assigned_codes(connection, list(set(keys.values())))
    taken = {key for key, code in held.items() if code.lives_at(now)}
    left = []
    for one in good:
        key = keys.get(one.row)
        if key is not None and key in taken:
            bad.append(bad_row(one.row, one.text, "profile_has_code"))
            continue
        if key is not None:
            taken.add(key)
        left.append(one)
    return left
