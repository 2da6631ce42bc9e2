"""Ends quarantines that are over: their codes go back to the pool, are voided, or stay, as their programs say."""

import asyncio
from typing import Final

import asyncpg
import structlog

from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Pool
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health
from codewell.returns.settle import Returns
from codewell.usage.tally import UsageTally
from services.generator.looks import looks

log = structlog.get_logger()

_LOOP: Final = "quarantines"
_INTERVAL_S: Final = 5.0
# A transaction of some tens of milliseconds.
CODES_MAX: Final = 1_000


class QuarantineEnder:
    """Ends due quarantines in batches, on a timer. Any number of generators share them."""

    def __init__(self, pool: Pool, health: Health, usage: UsageTally, stop: asyncio.Event) -> None:
        self._pool = pool
        self._health = health
        self._usage = usage
        self._stop = stop
        self._returns = Returns()

    async def run(self) -> None:
        """End what is due until the process stops. Raises nothing."""
        async for _ in looks(self._health, _LOOP, self._stop, _INTERVAL_S):
            async for _ in backoff_delays(self._stop):
                self._health.heartbeat(_LOOP)
                if await self.end_due():
                    break

    async def end_due(self) -> bool:
        """End all quarantines that are over. False when the database failed. Raises nothing."""
        ended = CODES_MAX
        while ended >= CODES_MAX and not self._stop.is_set():
            try:
                async with self._pool.acquire() as connection:
                    outcomes = await self._returns.end_quarantines(connection, CODES_MAX)
            except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError):
                # Whatever fails here fails in the sweep too, which says so.
                return False
            except Exception:
                log.exception("quarantines_not_ended")
                return False
            for program_id, outcome in outcomes:
                if outcome != "kept":
                    self._usage.count(program_id, outcome)
            ended = len(outcomes)
        return True
