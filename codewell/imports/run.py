"""Imports a file into a program: prefetches chunks in a thread, stores each, and resumes where it stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from codewell.errors import FileRefused, ProgramRefused
from codewell.files.limits import FileLimits
from codewell.files.scan import Scan
from codewell.files.table import Table, open_table
from codewell.imports import imports, uploads
from codewell.imports.candidates import Chunk
from codewell.imports.chunk_writer import ChunkWriter, CopiedChunk, ImportEnded
from codewell.imports.chunks import chunks
from codewell.imports.preview import rules_of
from codewell.imports.undo import refuse
from codewell.infra.postgres.advisory_lock import held
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.imports import Import, Reason

# Measured: 5,000 rows cost a tenth more a row; 20,000 save nothing and lock the program's row twice as long.
CHUNK_ROWS: Final = 10_000

_LOCK: Final = "SELECT pg_advisory_lock(hashtextextended($1, 0))"
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"
_DONE: Final = "UPDATE import SET state = 'done', ended_at = now() WHERE id = $1 AND state = 'running'"
_STOP: Final = "UPDATE import SET state = 'stopped', error = $2 WHERE id = $1 AND state = 'running'"

# Reasons of rows whose codes the program has, or had: importing the same file again does no harm.
_KNOWN: Final[frozenset[Reason]] = frozenset({"already_in_program", "twice_in_file", "deleted_in_program"})

Progress = Callable[[int], None]
"""Called with the number of rows of the file that are done."""

Connect = Callable[[], AbstractAsyncContextManager[Connection]]
"""Opens another connection to the same database."""


async def import_file(
    connection: Connection,
    minters: Minters,
    import_id: UUID,
    path: Path,
    scan: Scan,
    limits: FileLimits,
    progress: Progress,
    table: Table | None = None,
    connect: Connect | None = None,
) -> Import:
    """Import the rest of an import's file, and return the import at its end.

    `table` is the file as its caller has opened it, of which no row was taken; a workbook takes seconds to open again.
    With `connect` a file of several chunks is imported over two connections, on two cores of the database.

    Raises FileRefused if the file turns out to be invalid; then its pooled codes are deleted. Raises ProgramRefused if
    the program's rules forbid it now; then the import stops, and importing the same file again continues it.
    """
    async with import_lock(connection, import_id):
        found = await imports.get(connection, import_id)
        try:
            await _import_file(connection, minters, found, path, scan, limits, progress, table, connect)
            await _refuse_if_nothing_came(connection, import_id)
        except FileRefused as error:
            await refuse(connection, import_id, str(error))
            raise
        except ImportEnded:
            return await imports.get(connection, import_id)
        except ProgramRefused as error:
            async with connection.transaction():
                await connection.execute(_STOP, import_id, str(error))
                # It goes on when the file is given again.
                await uploads.forget(connection, import_id)
            raise
        async with connection.transaction():
            await connection.execute(_DONE, import_id)
            await uploads.forget(connection, import_id)
    return await imports.get(connection, import_id)


async def _import_file(
    connection: Connection,
    minters: Minters,
    found: Import,
    path: Path,
    scan: Scan,
    limits: FileLimits,
    progress: Progress,
    given: Table | None,
    connect: Connect | None,
) -> None:
    if found.state == "running" and (found.error or found.taken_back):
        # An earlier process ended while it deleted the import's codes.
        raise FileRefused(
            found.error
            or "The file could not be read to its end, and its codes were deleted: correct it and import it again."
        )
    program = await programs.get(connection, found.program)
    rules = rules_of(program, await connection.fetchval("SELECT statement_timestamp()"))
    # The zone of its begin applies, whatever this process has.
    zone = {} if found.reading is None else {"time_zone": found.reading.time_zone}
    options = found.options.model_copy(update=zone)
    opened: AbstractContextManager[Table] = open_table(path, scan, options, limits)
    if given is not None and given.reading == found.reading:
        opened = nullcontext(given)
    table: Table = await asyncio.to_thread(opened.__enter__)
    try:
        _check_reading(found, table)
        after = found.rows if found.reading is None else found.rows + found.reading.skipped_rows
        reader = _ChunkPrefetcher(chunks(table, rules, limits, after, CHUNK_ROWS, options))
        writer = ChunkWriter(connection, minters, program.id, found.id, reader.begin)
        first = table.columns.first
        try:
            await _store_chunks(
                reader, writer, connection, connect, lambda chunk: progress(chunk.after + chunk.rows - first)
            )
        finally:
            await reader.close()
    finally:
        opened.__exit__(None, None, None)


async def _store_chunks(
    reader: "_ChunkPrefetcher", writer: ChunkWriter, connection: Connection, connect: Connect | None,
    stored: Callable[[Chunk], None],
) -> None:  # fmt: skip
    """Store all chunks in order, each while the next is read and, if it can be, copied early."""
    pair: list[Connection] = []
    copied: CopiedChunk | None = None
    chunk = await reader.take()
    async with AsyncExitStack() as stack:
        try:
            while chunk is not None:
                if copied is None:
                    await writer.take(chunk)
                elif not await reader.is_before(copied.copying):
                    # A file that is read slowly must not leave a transaction open.
                    if not await writer.store_copied(copied):
                        await writer.take(chunk)
                    copied = None
                following = await reader.take()
                before, copied = copied, None
                if connect is not None and following is not None:
                    pair = pair or [connection, await stack.enter_async_context(connect())]
                    copied = writer.copy_early(pair[0], following, before)
                    pair.reverse()
                if before is not None and not await writer.store_copied(before):
                    if copied is not None:
                        await copied.undo()
                        copied = None
                    await writer.take(chunk)
                stored(chunk)
                chunk = following
        finally:
            if copied is not None:
                await copied.undo()


def _check_reading(found: Import, table: Table) -> None:
    """Refuse to go on in another way than the import began: another version may detect other columns."""
    if found.reading is not None and found.reading != table.reading:
        raise FileRefused(
            "Another version of Codewell began this import and read the file in another way: import it again, with its "
            "columns as options."
        )


async def _refuse_if_nothing_came(connection: Connection, import_id: UUID) -> None:
    """An import that brought in nothing has failed, unless the program has the codes of the file already."""
    done = await imports.get(connection, import_id)
    if done.state != "running" or done.imported or not done.bad or done.bad.keys() & _KNOWN:
        return
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in done.bad.items())
    raise FileRefused(f"No row could be imported ({reasons}): see the list of bad rows, and correct the file.")


class _ChunkPrefetcher:
    """Reads each chunk in a thread while the database stores the previous one.

    Reading starts at `begin`, not sooner: next to a chunk's many short statements, both threads only wait for the
    GIL. Started with the first statement, reading made an import take half as long again.
    """

    def __init__(self, found: Iterator[Chunk]) -> None:
        self._found = found
        self._reading: asyncio.Task[Chunk | None] | None = None

    def begin(self) -> None:
        """Start to read the next chunk, unless that has started."""
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(next, self._found, None))

    async def take(self) -> Chunk | None:
        """Return the next chunk, or None at the end. Raises what reading raises."""
        self.begin()
        assert self._reading is not None  # noqa: S101  for mypy
        chunk = await asyncio.shield(self._reading)
        self._reading = None
        return chunk

    async def is_before(self, task: asyncio.Task[None]) -> bool:
        """Whether the next chunk is read before the task ends."""
        self.begin()
        assert self._reading is not None  # noqa: S101  for mypy
        await asyncio.wait({self._reading, task}, return_when=asyncio.FIRST_COMPLETED)
        return self._reading.done()

    async def close(self) -> None:
        """Wait for the current read: a thread can't be stopped, and the file must stay open until it ends."""
        if self._reading is not None:
            await asyncio.gather(asyncio.shield(self._reading), return_exceptions=True)


@asynccontextmanager
async def import_lock(connection: Connection, import_id: UUID, *, wait: bool = True) -> AsyncIterator[bool]:
    """Lock an import while the block and the connection live; yields False if `wait` is False and the lock is taken.

    Raises ProgramRefused if another process holds the lock for longer than the lock timeout.
    """
    async with AsyncExitStack() as stack:
        try:
            has = await stack.enter_async_context(
                held(connection, _LOCK if wait else _TRY_LOCK, _UNLOCK, str(import_id))
            )
        except asyncpg.LockNotAvailableError as error:
            raise ProgramRefused(
                f"Another process is working on import {import_id}: wait until it ends.", reason="import_busy"
            ) from error
        yield has
