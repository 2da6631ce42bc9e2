"""Codes as people look at them: a page of a program's codes, and the facts on one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import asyncpg

from services.postgres.connection import Connection
from services.store.minters import Minters

State = Literal["pooled", "attached", "activated", "expired", "deleted"]

_BLOCKS: Final = """
    SELECT id, kind, version, first, size, expires_at, fields, coalesce(expires_at <= now(), false) AS over
    FROM block WHERE program_id = $1 AND id >= $2 ORDER BY id LIMIT $3
    """

_FACTS: Final = """
    SELECT p.position, a.profile_id, a.answered_at, a.expires_at, a.code, s.activated_at, s.deleted_at,
           coalesce(a.expires_at <= now(), false) AS over, c.text
    FROM unnest($2::bigint[]) AS p (position)
    LEFT JOIN answer a ON a.block_id = $1 AND a.position = p.position AND NOT a.again AND a.block_id IS NOT NULL
    LEFT JOIN code_state s ON s.block_id = $1 AND s.position = p.position
    LEFT JOIN code c ON c.block_id = $1 AND c.position = p.position
    ORDER BY p.position
    """

_BLOCK_OF_NUMBER: Final = """
    SELECT id, kind, version, first, size, expires_at, fields, coalesce(expires_at <= now(), false) AS over
    FROM block
    WHERE kind = 'range' AND program_id = $1 AND version = $2 AND int8range(first, first + size) @> $3::bigint
    """

_BLOCK_OF_TEXT: Final = """
    SELECT b.id, kind, version, first, size, expires_at, fields, coalesce(expires_at <= now(), false) AS over,
           c.position
    FROM code c JOIN block b ON b.id = c.block_id WHERE c.program_id = $1 AND c.text = $2
    """


class CodeFacts(NamedTuple):
    """What is known of one code. Its place is (block id, position), by which pages go on."""

    code: str
    state: State
    profile_id: str | None
    attached_at: datetime | None
    expires_at: datetime | None
    fields: str | None
    place: tuple[int, int]


async def page(
    connection: Connection, minters: Minters, program_id: int, after: tuple[int, int], limit: int
) -> list[CodeFacts]:
    """Up to `limit` codes whose place is after `after`, in the order in which they were made."""
    found: list[CodeFacts] = []
    for block in await connection.fetch(_BLOCKS, program_id, after[0], limit + 1):
        first = after[1] + 1 if block["id"] == after[0] else 0
        positions = range(first, min(block["size"], first + limit - len(found)))
        if positions:
            found += await _facts(connection, minters, program_id, block, positions)
        if len(found) == limit:
            break
    return found


async def find(connection: Connection, minters: Minters, program_id: int, code: str) -> CodeFacts | None:
    """The facts on the program's code of this text, or None when it never made or took in such a code."""
    listed = await connection.fetchrow(_BLOCK_OF_TEXT, program_id, code)
    if listed is not None:
        return (await _facts(connection, minters, program_id, listed, [listed["position"]]))[0]
    versions = await connection.fetch(
        "SELECT version, next_number FROM template_version WHERE program_id = $1 ORDER BY version", program_id
    )
    for version, next_number in versions:
        minter = await minters.get(connection, program_id, version)
        number = minter.number_of([code])[0]
        if number is None or number >= next_number:
            continue
        block = await connection.fetchrow(_BLOCK_OF_NUMBER, program_id, version, number)
        if block is not None:
            return (await _facts(connection, minters, program_id, block, [number - block["first"]]))[0]
    return None


async def _facts(
    connection: Connection, minters: Minters, program_id: int, block: asyncpg.Record, positions: Sequence[int]
) -> list[CodeFacts]:
    rows = await connection.fetch(_FACTS, block["id"], list(positions))
    if block["kind"] == "range":
        minter = await minters.get(connection, program_id, block["version"])
        texts = minter.mint(block["first"] + positions[0], len(positions))
    else:
        texts = [row["text"] for row in rows]
    return [
        CodeFacts(
            row["code"] or text,
            _state(block, row),
            row["profile_id"],
            row["answered_at"],
            row["expires_at"] if row["profile_id"] is not None else block["expires_at"],
            block["fields"],
            (block["id"], row["position"]),
        )
        for row, text in zip(rows, texts, strict=True)
    ]


def _state(block: asyncpg.Record, row: asyncpg.Record) -> State:
    if row["deleted_at"] is not None:
        return "deleted"
    if row["activated_at"] is not None:
        return "activated"
    attached = row["profile_id"] is not None
    if row["over"] if attached else block["over"]:
        return "expired"
    return "attached" if attached else "pooled"
