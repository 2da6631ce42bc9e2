"""Fills pools in batches or one by one, and retries while the database is unavailable."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import structlog
from prometheus_client import Counter

from codewell.access import sessions
from codewell.alerts import alert_events
from codewell.infra.postgres.connection import CONTENTION_ERRORS, UNAVAILABLE_ERRORS, Pool, outage_reason
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health
from codewell.pool import fill, level_history
from codewell.pool.fill_many import PROGRAMS_MAX, top_up_many
from codewell.pool.minter_cache import Minters
from codewell.usage.retention import delete_old
from services.generator.pool_metrics import update_pool_gauges
from services.generator.wake_ups import WAKE_UPS

log = structlog.get_logger()

MADE: Final = Counter("codewell_codes_made", "Codes created by the generator.")

# Concurrent single fills of a sweep; each is a few round trips to the database.
SWEEP_CONCURRENCY_MAX: Final = 4

_SWEEP: Final = "sweep"
_POSTGRES: Final = "postgres (pools)"


class Filler:
    """Fills pools up to their marks. Sets `ordered` when an order to a remote service is due."""

    def __init__(
        self, pool: Pool, minters: Minters, health: Health, stop: asyncio.Event, ordered: asyncio.Event
    ) -> None:
        self._pool = pool
        self._minters = minters
        self._health = health
        self._stop = stop
        self._ordered = ordered

    async def fill(self, program_id: int) -> None:
        """Fill one pool up to its mark; retries until it is done or the process stops. Raises nothing."""
        async for _ in backoff_delays(self._stop):
            try:
                async with self._pool.acquire() as connection:
                    filled = await fill.top_up(connection, self._minters, program_id)
            except (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS) as error:
                self._set_waiting(error)
            except Exception:
                # A retry would block all other programs of the partition; the sweep retries.
                log.exception("pool_not_filled", program_id=program_id)
                return
            else:
                self._health.set_ready(_POSTGRES)
                if filled is not None and filled.made:
                    MADE.inc(filled.made)
                    log.info("pool_filled", program=filled.name, pooled=filled.pooled, made=filled.made)
                if filled is not None and filled.ordered:
                    log.info("codes_ordered", program=filled.name, pooled=filled.pooled, ordered=filled.ordered)
                    self._ordered.set()
                return

    async def fill_batch(self, program_ids: Sequence[int]) -> list[int]:
        """Fill up to PROGRAMS_MAX pools in one transaction; returns those to fill one by one.

        Retries until it is done or the process stops. Raises nothing.
        """
        async for _ in backoff_delays(self._stop):
            try:
                async with self._pool.acquire() as connection:
                    filled, left = await top_up_many(connection, program_ids)
            except (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS) as error:
                self._set_waiting(error)
            except Exception:
                # One program may be at fault; filling each alone finds and logs it.
                log.exception("pools_not_filled", pools=len(program_ids))
                break
            else:
                self._health.set_ready(_POSTGRES)
                made = sum(one.made for one in filled)
                if made:
                    MADE.inc(made)
                    log.info("pools_filled", programs=[one.name for one in filled if one.made], made=made)
                return left
        return list(program_ids)

    async def run_sweeps(self, interval_s: float) -> None:
        """Sweep every `interval_s` (s), sooner after a failure, until the process stops. Raises nothing.

        Independent of Kafka: during its outage, codes are still attached over HTTP.
        """
        while not self._stop.is_set():
            async for _ in backoff_delays(self._stop):
                self._health.heartbeat(_SWEEP)
                WAKE_UPS.labels("sweep").inc()
                if await self.sweep():
                    break
            self._health.set_idle(_SWEEP)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), interval_s)

    async def sweep(self) -> bool:
        """Fill all pools below their mark. False when the database failed. Raises nothing."""
        try:
            async with self._pool.acquire() as connection:
                needy = await fill.needy_programs(connection)
        except (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS) as error:
            self._set_waiting(error)
            return False
        except Exception:
            log.exception("sweep_failed")
            return False
        self._health.set_ready(_POSTGRES)
        # Twice, as a program locked at first has usually been filled by another generator by now.
        waiting = iter(await self._fill_batches(await self._fill_batches(needy)))

        async def fill_some() -> None:
            for program_id in waiting:
                await self.fill(program_id)
                self._health.heartbeat(_SWEEP)

        await asyncio.gather(*(fill_some() for _ in range(SWEEP_CONCURRENCY_MAX)))
        await self._update_pool_gauges()
        await self._keep_figures()
        return True

    def _set_waiting(self, error: Exception) -> None:
        self._health.set_waiting(_POSTGRES, outage_reason(error))
        # Idle, not stuck: a restart does not restore the database.
        self._health.set_idle(_SWEEP)

    async def _update_pool_gauges(self) -> None:
        try:
            async with self._pool.acquire() as connection:
                await update_pool_gauges(connection)
        except Exception as error:  # noqa: BLE001  the next sweep retries, and fills report the cause
            log.warning("levels_not_read", why=type(error).__name__)

    async def _keep_figures(self) -> None:
        try:
            async with self._pool.acquire() as connection:
                await delete_old(connection)
                await level_history.record(connection)
                await level_history.delete_old(connection)
                await sessions.delete_ended(connection)
                await alert_events.delete_old(connection)
        except Exception as error:  # noqa: BLE001  the next sweep retries, and fills report the cause
            log.warning("figures_not_kept", why=type(error).__name__)

    async def _fill_batches(self, program_ids: Sequence[int]) -> list[int]:
        left: list[int] = []
        for first in range(0, len(program_ids), PROGRAMS_MAX):
            left += await self.fill_batch(program_ids[first : first + PROGRAMS_MAX])
            self._health.heartbeat(_SWEEP)
        return left
