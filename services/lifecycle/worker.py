"""Publishes the stream while it has the lock; a spare waits for the lock."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Final

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health
from codewell.lifecycle import slot
from codewell.lifecycle.publisher import publisher
from codewell.lifecycle.stream import WORK_LOCK, Stream
from schemas import topics
from services.lifecycle import figures
from services.lifecycle.settings import LifecycleSettings

log = structlog.get_logger()

POLL_S: Final = 0.2
"""Between two readings, unless there was much to read: each has a cost of its own."""
CHANGES_AT_ONCE: Final = 20_000
LOCK_POLL_S: Final = 1.0
_STATUS_INTERVAL_S: Final = 5.0
_STABLE_AFTER_S: Final = 60.0
_NAME: Final = "codewell-lifecycle"
_LOOP: Final = "stream"


class LifecycleWorker:
    """Runs in each life-cycle worker; one at a time works."""

    def __init__(self, settings: LifecycleSettings, health: Health) -> None:
        self._url = settings.postgres_url.get_secret_value()
        self._kafka_config = settings.kafka_config
        self._topic = settings.topic_prefix + topics.CODE_LIFECYCLE
        self._health = health
        self._lag = figures.StreamLag()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, and begin again after errors. Raises nothing."""
        while not stop.is_set():
            async for _ in backoff_delays(stop):
                began = time.monotonic()
                if not await self._attempt(stop):
                    self._lag.grow()
                if stop.is_set() or time.monotonic() - began > _STABLE_AFTER_S:
                    break

    async def _attempt(self, stop: asyncio.Event) -> bool:
        """Work until `stop` is set. False when that failed."""
        try:
            async with postgres.connection(self._url, _NAME) as connection:
                if await self._has_lock(connection, stop):
                    await self._work(connection, stop)
                return True
        except (KafkaError, TimeoutError) as error:
            self._health.set_waiting("kafka", clients.outage_reason(error))
        except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
            self._health.set_waiting("postgres", postgres.outage_reason(error))
        except CodewellError as error:
            self._health.set_waiting("stream", str(error))
        except Exception as error:
            log.exception("stream_broke")
            self._health.set_waiting("stream", type(error).__name__)
        finally:
            figures.WORKING.set(0)
            self._health.set_idle(_LOOP)
        return False

    async def _has_lock(self, connection: Connection, stop: asyncio.Event) -> bool:
        """Wait for the lock, which the connection keeps; False when stopped meanwhile."""
        is_spare, began = False, time.monotonic()
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *WORK_LOCK):
            if not is_spare:
                log.info("stream_spare")
                is_spare = True
            for name in ("postgres", "kafka", "stream"):
                self._health.set_ready(name)
            # Workers that fail have the lock in turns.
            if time.monotonic() - began > _STABLE_AFTER_S:
                self._lag.none()
            await _wait(stop, LOCK_POLL_S)
            if stop.is_set():
                return False
        return True

    async def _work(self, connection: Connection, stop: asyncio.Event) -> None:
        figures.WORKING.set(1)
        self._health.heartbeat(_LOOP)
        async with (
            postgres.connection(self._url, f"{_NAME}-reading") as reading,
            publisher(self._kafka_config, self._topic) as publishing,
        ):
            # Postgres sorts a snapshot or decodes its log for longer than a loop may go without a heartbeat. Each wait
            # from here on, also for Kafka, has a limit of its own.
            self._health.set_idle(_LOOP)
            stream = Stream(connection, reading, publishing, self._published)
            reason = await stream.begin()
            if reason is not None:
                log.warning("stream_epoch", epoch=stream.epoch, reason=reason)
            log.info("stream_reads", epoch=stream.epoch)
            figures.EPOCH.set(stream.epoch)
            shown_at = 0.0
            while not stop.is_set():
                changes = await stream.read()
                for name in ("postgres", "kafka", "stream"):
                    self._health.set_ready(name)
                if changes == 0:
                    self._lag.none()
                if changes < CHANGES_AT_ONCE:
                    await _wait(stop, POLL_S)
                if time.monotonic() - shown_at > _STATUS_INTERVAL_S:
                    shown_at = time.monotonic()
                    figures.show(await slot.status(connection, stream.slot))

    def _published(self, counts: Mapping[str, int], age_s: float) -> None:
        figures.count(counts)
        self._lag.published(age_s)


async def _wait(stop: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), timeout_s)
