"""Brings uploaded files in, one after the other, in the background of a console."""

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from codewell.errors import CodewellError, FileRefused
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.imports import run, undo, uploads
from codewell.infra.postgres.connection import Connection, Pool
from codewell.pool.minter_cache import Minters

log = structlog.get_logger()

_LOOK_INTERVAL_S: Final = 2.0
# What the database will say again the next time.
_REFUSED_DATA: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Importer:
    """One console's own. Uploads wait in the database, so that any console takes one up where another left it."""

    def __init__(self, pool: Pool, minters: Minters, limits: FileLimits) -> None:
        self.limits = limits
        self._pool = pool
        self._minters = minters
        self._news = asyncio.Event()
        # What broke here is left to another console, or to the next start of this one.
        self._broken: set[UUID] = set()

    def tell(self) -> None:
        """Look soon: a file has come."""
        self._news.set()

    async def run(self) -> None:
        """Bring in what comes, until cancelled."""
        while True:
            self._news.clear()
            try:
                await self.work_off()
            except Exception as error:  # noqa: BLE001  the database may be away in many ways, and comes back
                log.warning("imports_wait", why=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LOOK_INTERVAL_S)

    async def work_off(self) -> None:
        """Bring in what waits and nobody else works on. Raises what asyncpg raises; the next call goes on then."""
        async with self._pool.acquire() as connection:
            for import_id in await uploads.pending(connection):
                if import_id in self._broken:
                    continue
                try:
                    async with run.import_lock(connection, import_id, wait=False) as has:
                        if has and await uploads.is_pending(connection, import_id):
                            await self._bring_in(connection, import_id)
                except Exception as error:
                    if connection.is_closed():
                        raise
                    # The next file may be smaller than what is left of the disk.
                    log.warning("import_waits", import_id=str(import_id), why=type(error).__name__)

    async def _bring_in(self, connection: Connection, import_id: UUID) -> None:
        with TemporaryDirectory(prefix="codewell-import-") as directory:
            path = Path(directory) / "file"
            await uploads.fetch(connection, import_id, path)
            try:
                scanned = await asyncio.to_thread(scan, path, self.limits)
                done = await run.import_file(connection, self._minters, import_id, path, scanned, self.limits, _nothing)
            except FileRefused as error:
                # A file that is larger than a limit is now is refused before it is opened.
                await undo.refuse(connection, import_id, str(error))
                log.info("import_ended", import_id=str(import_id), why=type(error).__name__)
            except CodewellError as error:
                # The import says so too, to whoever asks for it.
                log.info("import_ended", import_id=str(import_id), why=type(error).__name__)
            except (AssertionError, TypeError, ValueError, LookupError, *_REFUSED_DATA):
                self._broken.add(import_id)
                log.exception("import_broke", import_id=str(import_id))
            else:
                log.info("import_ended", import_id=str(import_id), state=done.state, imported=done.imported)


def _nothing(_: int) -> None:
    """Progress is in the database."""
