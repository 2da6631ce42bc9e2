"""Carries out changes of many codes in the background of a console, chunk by chunk."""

import asyncio
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from codewell.codes import bulk, bulk_apply
from codewell.infra.postgres.connection import Pool
from codewell.pool.demand import read_low_pool
from codewell.programs import programs
from services.console.background.announcer import Announcer

log = structlog.get_logger()

CODES: Final = Counter("codewell_bulk_codes", "Codes that changes of many codes changed or restored.", ["outcome"])
for _outcome in ("changed", "restored"):
    CODES.labels(_outcome)

_POLL_INTERVAL_S: Final = 2.0


class BulkChanger:
    """Advances pending changes. Their place is in the database, so that any console goes on with them."""

    def __init__(self, pool: Pool, announcer: Announcer) -> None:
        self._pool = pool
        self._announcer = announcer
        self._wake_up = asyncio.Event()

    def notify(self) -> None:
        """Wake the changer: a change began, or is to be undone."""
        self._wake_up.set()

    async def run(self) -> None:
        """Carry out changes until cancelled."""
        while True:
            self._wake_up.clear()
            try:
                await self.process_pending()
            except Exception as error:  # noqa: BLE001  the database fails in many ways, and recovers
                log.warning("changes_wait", why=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake_up.wait(), _POLL_INTERVAL_S)

    async def process_pending(self) -> None:
        """Carry out pending changes that no other process is at. Raises what asyncpg raises; the next call resumes."""
        async with self._pool.acquire() as connection:
            pending = await bulk.pending(connection)
        for change_id in pending:
            try:
                await self._carry_out(change_id)
            except Exception as error:  # noqa: BLE001  other changes may succeed
                log.warning("change_waits", change_id=str(change_id), why=type(error).__name__)

    async def _carry_out(self, change_id: UUID) -> None:
        more = True
        while more:
            async with self._pool.acquire() as connection:
                done = await bulk_apply.advance(connection, change_id)
            CODES.labels("changed").inc(done.changed)
            CODES.labels("restored").inc(done.restored)
            more = done.more
            await asyncio.sleep(bulk_apply.PAUSE_S)
        log.info("change_carried_out", change_id=str(change_id))
        await self._demand_if_low(change_id)

    async def _demand_if_low(self, change_id: UUID) -> None:
        """Have the generator fill the pool, whose codes may be deleted now."""
        async with self._pool.acquire() as connection:
            program = await programs.get(connection, (await bulk.get(connection, change_id)).program)
            low = await read_low_pool(connection, program.id)
        if low is not None:
            self._announcer.demand({program.id: low})
