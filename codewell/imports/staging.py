"""Stages uploaded files until their columns are chosen, in the database, so that any console can show and import them.

Who may import into the program sees its files. Each is kept for KEPT_FOR at most, and as one of the newest FILES_MAX of
the token that uploaded it.
"""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from codewell.errors import UploadUnknown
from codewell.files.beginning import facts_of, scan_of
from codewell.files.limits import MIB
from codewell.files.scan import Scan
from codewell.imports import uploads
from codewell.infra.postgres.connection import Connection
from schemas.imports import Upload

KEPT_FOR: Final = timedelta(hours=1)
FILES_MAX: Final = 3
_NAME_MAX: Final = 200
# Pieces that one statement moves: a large file takes several statements, each within the time limit of pages.
_MOVED: Final = 32
_DELETED_MAX: Final = 20

_DELETE_OLD: Final = """
    DELETE FROM upload WHERE id IN (SELECT id FROM upload WHERE uploaded_at < now() - $1::interval LIMIT $2)
    """
_DELETE_OTHERS: Final = """
    DELETE FROM upload WHERE id IN (SELECT id FROM upload WHERE token_id = $1 ORDER BY uploaded_at DESC OFFSET $2)
    """
_INSERT: Final = """
    INSERT INTO upload (id, program_id, token_id, file_name, file_bytes, scanned, beginning)
    SELECT $1, id, $3, $4, $5, $6::jsonb, $7 FROM program WHERE name = $2
    """
_INSERT_PIECE: Final = "INSERT INTO upload_piece (upload_id, number, bytes) VALUES ($1, $2, $3)"
_FIND: Final = """
    SELECT u.id, p.name AS program, u.file_name AS file, u.file_bytes, u.uploaded_at + $3::interval AS kept_until
    FROM upload u JOIN program p ON p.id = u.program_id
    WHERE u.id = $1 AND p.name = $2 AND u.uploaded_at > now() - $3::interval
    """
_BEGINNING: Final = "SELECT scanned, beginning FROM upload WHERE id = $1 AND scanned IS NOT NULL"
_FETCH: Final = "SELECT bytes FROM upload_piece WHERE upload_id = $1 AND number = $2"
_MOVE: Final = """
    INSERT INTO import_piece (import_id, number, bytes)
    SELECT $2, number, bytes FROM upload_piece WHERE upload_id = $1 AND number >= $3 AND number < $4
    """
_DELETE: Final = "DELETE FROM upload WHERE id = $1"


async def stage(
    connection: Connection, new_id: UUID, program: str, token_id: int, file_name: str, scanned: Scan, first: bytes,
    path: Path,
) -> Upload:  # fmt: skip
    """Store a file and its beginning in the current transaction, and delete those of the token that are too many."""
    name = "".join(character for character in file_name if character.isprintable())[-_NAME_MAX:]
    await connection.execute(_DELETE_OTHERS, token_id, FILES_MAX - 1)
    await connection.execute(
        _INSERT, new_id, program, token_id, name, scanned.size, json.dumps(facts_of(scanned)), first
    )
    async for number, piece in uploads.pieces_of(path):
        await connection.execute(_INSERT_PIECE, new_id, number, piece)
    return await find(connection, new_id, program)


async def find(connection: Connection, upload_id: UUID, program: str) -> Upload:
    """The file that was uploaded for the program. Raises UploadUnknown."""
    row = await connection.fetchrow(_FIND, upload_id, program, KEPT_FOR)
    if row is None:
        raise UploadUnknown
    return Upload(**row)


async def fetch_beginning(connection: Connection, upload_id: UUID, path: Path) -> Scan | None:
    """Write the beginning of the file to `path`; None where it was not kept."""
    row = await connection.fetchrow(_BEGINNING, upload_id)
    if row is None:
        return None
    await asyncio.to_thread(path.write_bytes, row["beginning"])
    return scan_of(json.loads(row["scanned"]), row["beginning"])


async def fetch(connection: Connection, upload_id: UUID, path: Path) -> None:
    """Write the file to `path`."""
    await uploads.write_pieces(connection, _FETCH, upload_id, path)


async def move_to_import(connection: Connection, upload: Upload, import_id: UUID) -> None:
    """Make it the file of an import that does not have it yet, in the current transaction, and stage it no more."""
    if not await uploads.is_stored(connection, import_id):
        for first in range(0, upload.file_bytes // MIB + 1, _MOVED):
            await connection.execute(_MOVE, upload.id, import_id, first, first + _MOVED)
    await connection.execute(_DELETE, upload.id)


async def delete_old(connection: Connection) -> None:
    """Delete files whose time is over, some at a time."""
    await connection.execute(_DELETE_OLD, KEPT_FOR, _DELETED_MAX)
