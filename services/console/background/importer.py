"""Imports uploaded files one by one in the background of a console."""

import asyncio
from contextlib import nullcontext, suppress
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from codewell.errors import CodewellError, FileRefused
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.imports import run, staging, undo, uploads
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.process.scratch import scratch_folder
from codewell.pool.minter_cache import Minters
from services.console.background.workbooks import WorkbookSlot

log = structlog.get_logger()

_POLL_INTERVAL_S: Final = 2.0
# Errors that the database will raise again on each attempt.
_REFUSED_DATA: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Importer:
    """Imports pending uploads. They are stored in the database, so that any console can resume an import."""

    def __init__(self, pool: Pool, minters: Minters, limits: FileLimits) -> None:
        self.limits = limits
        self._pool = pool
        self._minters = minters
        self.workbooks = WorkbookSlot()
        self._wake_up = asyncio.Event()
        # Imports that failed here through a bug: left to another console, or to the next start of this one.
        self._broken: set[UUID] = set()

    def notify(self) -> None:
        """Wake the importer: a file was uploaded."""
        self._wake_up.set()

    async def run(self) -> None:
        """Import uploads until cancelled."""
        while True:
            self._wake_up.clear()
            try:
                await self.process_pending()
                await self._forget_old_uploads()
            except Exception as error:  # noqa: BLE001  the database fails in many ways, and recovers
                log.warning("imports_wait", why=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake_up.wait(), _POLL_INTERVAL_S)

    async def process_pending(self) -> None:
        """Import pending uploads that no other console holds. Raises what asyncpg raises; the next call resumes."""
        async with self._pool.acquire() as connection:
            for import_id in await uploads.pending(connection):
                if import_id in self._broken:
                    continue
                try:
                    async with run.import_lock(connection, import_id, wait=False) as has:
                        if has and await uploads.is_pending(connection, import_id):
                            await self._import_file(connection, import_id)
                except Exception as error:
                    if connection.is_closed():
                        raise
                    # Other imports may succeed, as when the disk is too full for this file alone.
                    log.warning("import_waits", import_id=str(import_id), why=type(error).__name__)

    async def _forget_old_uploads(self) -> None:
        async with self._pool.acquire() as connection:
            await staging.delete_old(connection)

    async def _import_file(self, connection: Connection, import_id: UUID) -> None:
        with scratch_folder() as folder:
            path = folder / "file"
            await uploads.fetch(connection, import_id, path)
            try:
                scanned = await asyncio.to_thread(scan, path, self.limits)
                async with nullcontext() if scanned.kind == "text" else self.workbooks.held():
                    done = await run.import_file(
                        connection, self._minters, import_id, path, scanned, self.limits, _ignore_progress
                    )
            except FileRefused as error:
                # The limits may have been lowered since the upload.
                await undo.refuse(connection, import_id, str(error))
                log.info("import_ended", import_id=str(import_id), why=type(error).__name__)
            except CodewellError as error:
                # The error is stored in the import's row, where the API shows it.
                log.info("import_ended", import_id=str(import_id), why=type(error).__name__)
            except (AssertionError, TypeError, ValueError, LookupError, *_REFUSED_DATA):
                self._broken.add(import_id)
                log.exception("import_broke", import_id=str(import_id))
            else:
                log.info("import_ended", import_id=str(import_id), state=done.state, imported=done.imported)


def _ignore_progress(_: int) -> None:
    """The import stores its progress in the database."""
