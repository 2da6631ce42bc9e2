"""Imports a file into a program: prefetches chunks in a thread, stores each, and resumes where it stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from codewell.errors import FileRefused, ProgramRefused
from codewell.files.limits import FileLimits
from codewell.files.scan import Scan
from codewell.files.table import Table, open_table
from codewell.imports import imports
from codewell.imports.candidates import CandidateRules, Chunk, chunks
from codewell.imports.chunk_writer import ChunkWriter, ImportEnded
from codewell.imports.undo import refuse
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.imports import Import
from schemas.program import Program

# Measured: 5,000 rows cost a tenth more a row, 20,000 nothing less, and the program's row is locked twice as long.
CHUNK_ROWS: Final = 10_000

_LOCK: Final = "SELECT pg_advisory_lock(hashtextextended($1, 0))"
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"
_DONE: Final = "UPDATE import SET state = 'done', ended_at = now() WHERE id = $1 AND state = 'running'"
_STOP: Final = "UPDATE import SET state = 'stopped', error = $2 WHERE id = $1 AND state = 'running'"
_FORGET_FILE: Final = "DELETE FROM import_piece WHERE import_id = $1"

Progress = Callable[[int], None]
"""Told how many rows of the file have been read up to now."""


async def import_file(
    connection: Connection,
    minters: Minters,
    import_id: UUID,
    path: Path,
    scan: Scan,
    limits: FileLimits,
    progress: Progress,
) -> Import:
    """Bring the rest of an import's file in, and return the import at its end.

    Raises FileRefused when the file turns out to be none; then nothing of it stays that nobody has got yet. Raises
    ProgramRefused when the program's rules forbid it now; then it is stopped, and goes on with the same file.
    """
    async with import_lock(connection, import_id):
        found = await imports.get(connection, import_id)
        try:
            await _import_file(connection, minters, found, path, scan, limits, progress)
        except FileRefused as error:
            await refuse(connection, import_id, str(error))
            raise
        except ImportEnded:
            return await imports.get(connection, import_id)
        except ProgramRefused as error:
            await connection.execute(_STOP, import_id, str(error))
            raise
        async with connection.transaction():
            await connection.execute(_DONE, import_id)
            await connection.execute(_FORGET_FILE, import_id)
    return await imports.get(connection, import_id)


async def _import_file(
    connection: Connection,
    minters: Minters,
    found: Import,
    path: Path,
    scan: Scan,
    limits: FileLimits,
    progress: Progress,
) -> None:
    if found.state == "running" and (found.error or found.taken_back):
        # Its process ended while it took back what had come.
        raise FileRefused(
            found.error
            or "The file could not be read to its end, and its codes were deleted: correct it and import it again."
        )
    program = await programs.get(connection, found.program)
    rules = await _rules(connection, program)
    opened = open_table(path, scan, found.options, limits)
    table: Table = await asyncio.to_thread(opened.__enter__)
    try:
        reader = _ChunkPrefetcher(chunks(table, rules, limits, found.rows, CHUNK_ROWS))
        writer = ChunkWriter(connection, minters, program.id, found.id, reader.begin)
        try:
            while (chunk := await reader.take()) is not None:
                await writer.take(chunk)
                progress(chunk.after + chunk.rows)
        finally:
            await reader.close()
    finally:
        opened.__exit__(None, None, None)


class _ChunkPrefetcher:
    """Chunks, each read in a thread while the database stores the one before.

    Not sooner: beside the short statements that come before, the two would only wait for each other's turn in Python.
    Begun with the first of them, reading made an import take half as long again.
    """

    def __init__(self, found: Iterator[Chunk]) -> None:
        self._found = found
        self._reading: asyncio.Task[Chunk | None] | None = None

    def begin(self) -> None:
        """Begin to read the next chunk, if that has not begun."""
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(next, self._found, None))

    async def take(self) -> Chunk | None:
        """The next chunk, or None at the end. Raises what reading raises."""
        self.begin()
        assert self._reading is not None  # noqa: S101  for mypy
        chunk = await asyncio.shield(self._reading)
        self._reading = None
        return chunk

    async def close(self) -> None:
        """Wait for what is being read: a thread can't be stopped, and the file is not to be closed under it."""
        if self._reading is not None:
            await asyncio.gather(asyncio.shield(self._reading), return_exceptions=True)


async def _rules(connection: Connection, program: Program) -> CandidateRules:
    return CandidateRules(
        await connection.fetchval("SELECT statement_timestamp()"),
        frozenset(field.name for field in program.fields if field.save),
        frozenset(field.name for field in program.fields if field.required),
        program.auto_link,
    )


@asynccontextmanager
async def import_lock(connection: Connection, import_id: UUID, *, wait: bool = True) -> AsyncIterator[bool]:
    """Have an import to oneself for as long as the block and the connection live; whether that is so without a wait.

    Raises ProgramRefused when somebody else works on it for longer than a lock is waited for.
    """
    try:
        has = await connection.fetchval(_LOCK if wait else _TRY_LOCK, str(import_id)) is not False
    except asyncpg.LockNotAvailableError as error:
        raise ProgramRefused(f"Another process is working on import {import_id}: wait until it ends.") from error
    try:
        yield has
    finally:
        if has and not connection.is_closed():
            await connection.execute(_UNLOCK, str(import_id))
