"""Checks the promises in the background of a console, one check at a time."""

import asyncio

import structlog

from codewell.audit import promise_checks
from codewell.infra.postgres.connection import Pool, outage_reason

log = structlog.get_logger()


class PromiseChecker:
    """Makes the checks that were begun on this console."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._begun: asyncio.Queue[int] = asyncio.Queue()

    def put(self, check_id: int) -> None:
        """Have a check made that was begun."""
        self._begun.put_nowait(check_id)

    async def run(self) -> None:
        """Make checks until cancelled."""
        while True:
            await self.check(await self._begun.get())

    async def check(self, check_id: int) -> None:
        """Make one check. Raises nothing."""
        try:
            async with self._pool.acquire() as writing:
                try:
                    async with self._pool.acquire() as reading:
                        await promise_checks.run(reading, writing, check_id)
                except Exception as error:  # noqa: BLE001  the row says why
                    log.warning("promises_not_checked", why=outage_reason(error))
                    await promise_checks.fail(writing, check_id, f"The database failed ({type(error).__name__}).")
        except Exception as error:  # noqa: BLE001  the check is shown as interrupted
            log.warning("promises_not_checked", why=outage_reason(error))
