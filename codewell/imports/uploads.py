"""Uploaded files, stored in pieces in the database until they are imported, so that any console can import them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import UUID

from codewell.files.limits import MIB
from codewell.infra.postgres.connection import Connection

_PENDING: Final = "SELECT id FROM import WHERE uploaded AND state = 'running' ORDER BY started_at LIMIT 100"
_IS_PENDING: Final = "SELECT EXISTS (SELECT FROM import WHERE id = $1 AND uploaded AND state = 'running')"
_HAS: Final = "SELECT EXISTS (SELECT FROM import_piece WHERE import_id = $1)"
_STORE: Final = "INSERT INTO import_piece (import_id, number, bytes) VALUES ($1, $2, $3)"
_FETCH: Final = "SELECT bytes FROM import_piece WHERE import_id = $1 AND number = $2"
_FORGET: Final = "DELETE FROM import_piece WHERE import_id = $1"


async def pieces_of(path: Path) -> AsyncIterator[tuple[int, bytes]]:
    """The pieces of a file (1 MiB each), numbered from 0."""
    with path.open("rb") as file:
        number = 0
        while piece := await asyncio.to_thread(file.read, MIB):
            yield number, piece
            number += 1


async def write_pieces(connection: Connection, statement: str, owner: UUID, path: Path) -> None:
    """Write the pieces that the statement gives for an owner and a number to `path`, up to the first missing one."""
    with path.open("wb") as file:
        number = 0
        while piece := await connection.fetchval(statement, owner, number):
            await asyncio.to_thread(file.write, piece)
            number += 1


async def store(connection: Connection, import_id: UUID, path: Path) -> None:
    """Store the file of an import, unless it is stored already, in the current transaction."""
    if await is_stored(connection, import_id):
        return
    async for number, piece in pieces_of(path):
        await connection.execute(_STORE, import_id, number, piece)


async def is_stored(connection: Connection, import_id: UUID) -> bool:
    """Whether the file of an import is stored."""
    return bool(await connection.fetchval(_HAS, import_id))


async def forget(connection: Connection, import_id: UUID) -> None:
    """Delete the stored file of an import, if there is one, in the current transaction."""
    await connection.execute(_FORGET, import_id)


async def fetch(connection: Connection, import_id: UUID, path: Path) -> None:
    """Write the file of an import to `path`."""
    await write_pieces(connection, _FETCH, import_id, path)


async def pending(connection: Connection) -> list[UUID]:
    """Imports with a stored file that is not fully imported, oldest first; another process may be importing them."""
    return [row["id"] for row in await connection.fetch(_PENDING)]


async def is_pending(connection: Connection, import_id: UUID) -> bool:
    """Whether the import's file is still stored."""
    return bool(await connection.fetchval(_IS_PENDING, import_id))
