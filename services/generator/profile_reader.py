"""Consumes `profile-changed` in batches and stores the profiles.

A plain consumer instead of a Faust agent: the first run reads every profile, and one statement for 1,000 of them costs
as much as for ten.
"""

import asyncio
import time
from collections.abc import Iterable
from itertools import chain
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from prometheus_client import Counter

from codewell.errors import StackUnavailable
from codewell.infra.kafka import clients, lag
from codewell.infra.kafka.broker_watchdog import BrokerWatchdog
from codewell.infra.kafka.positions import Positions
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import CONTENTION_ERRORS, UNAVAILABLE_ERRORS, Pool
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health
from codewell.profiles import forgetting, profiles
from schemas import topics
from services.generator.profile_events import ProfileChanges, UnreadableChange, read
from services.generator.settings import GeneratorSettings

log = structlog.get_logger()

EVENTS: Final = Counter("codewell_profile_events", "Profile events, by outcome.", ["outcome"])
for _outcome in ("written", "forgotten", "unreadable"):
    EVENTS.labels(_outcome)

BATCH_SIZE_MAX: Final = 1_000
# An erasure is slow. Committing after a few of them limits the repeated work when a batch exceeds the poll interval.
_ERASURES_PER_COMMIT_MAX: Final = 20
_POLL_MS: Final = 500
# How long a rebalance waits for the current batch; less than the group's rebalance timeout.
_REVOKE_TIMEOUT_S: Final = 20.0
_STABLE_AFTER_S: Final = 60.0
_LOOP: Final = "profiles"
_KAFKA: Final = "kafka (profiles)"
_POSTGRES: Final = "postgres (profiles)"
_TRANSIENT: Final = (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS, StackUnavailable)


class ProfileReader(ConsumerRebalanceListener):
    """One member of the consumer group of profile changes. Offsets are committed after the database commit."""

    def __init__(self, settings: GeneratorSettings, pool: Pool, health: Health, stop: asyncio.Event) -> None:
        self._kafka_config = settings.kafka_config
        self._group = f"{settings.topic_prefix}codewell-profiles"
        self._topic = settings.topic_prefix + topics.PROFILE_CHANGED
        self._pool = pool
        self._health = health
        self._stop = stop
        # Held while a batch is written, and awaited by a rebalance: the next owner can't write newer changes first.
        self._write_lock = asyncio.Lock()
        # Number of rebalances: the partition's next owner may already have written newer changes than an older fetch.
        self._generation = 0

    async def run(self) -> None:
        """Consume until the process stops. Raises nothing; reconnects, and uncommitted records are redelivered."""
        while not self._stop.is_set():
            async for _ in backoff_delays(self._stop):
                self._health.heartbeat(_LOOP)
                began = time.monotonic()
                try:
                    await self._run_connection()
                except (KafkaError, OSError) as error:
                    self._health.set_waiting(_KAFKA, clients.outage_reason(error))
                except Exception:
                    # Not raised: filling pools does not depend on profiles.
                    log.exception("profiles_not_read")
                if self._stop.is_set() or time.monotonic() - began > _STABLE_AFTER_S:
                    break

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Release partitions between batches."""
        try:
            async with asyncio.timeout(_REVOKE_TIMEOUT_S), self._write_lock:
                pass
        except TimeoutError:
            log.warning("revoked_with_batch_in_hand", partitions=len(list(revoked)))
        self._generation += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Only log it: aiokafka resumes at the committed offsets."""
        log.info("assigned", partitions=len(list(assigned)))

    async def _run_connection(self) -> None:
        consumer = clients.consumer(self._kafka_config, self._group)
        try:
            consumer.subscribe([self._topic], listener=self)
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await consumer.start()
            self._health.set_ready(_KAFKA)
            watchdog, positions = BrokerWatchdog(consumer), Positions(consumer)
            async with lag.exported_lag(consumer):
                while not self._stop.is_set():
                    self._health.heartbeat(_LOOP)
                    fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=BATCH_SIZE_MAX)
                    next_offsets = positions.after(fetched)
                    self._report_broker_silence(watchdog, records=bool(fetched))
                    await self._process(consumer, fetched, next_offsets)
        finally:
            await asyncio.shield(clients.stop(consumer))

    def _report_broker_silence(self, watchdog: BrokerWatchdog, *, records: bool) -> None:
        """Report a fetch to the watchdog. Raises TimeoutError when no broker has responded for too long."""
        watchdog.record_fetch(records=records)
        if watchdog.is_silent:
            self._health.set_waiting(_KAFKA, "no broker answers")
        else:
            self._health.set_ready(_KAFKA)
        watchdog.check()

    async def _process(
        self,
        consumer: AIOKafkaConsumer,
        fetched: dict[TopicPartition, list[ConsumerRecord]],
        next_offsets: dict[TopicPartition, int],
    ) -> None:
        """Write the fetched changes, then commit the offsets after them. Unreadable records are logged and skipped."""
        async with self._write_lock:
            generation, changes, offsets = self._generation, ProfileChanges(), dict[TopicPartition, int]()
            assigned = consumer.assignment()
            ours = [records for tp, records in fetched.items() if tp in assigned]
            ends = {tp: offset for tp, offset in next_offsets.items() if tp in assigned}
            for record in chain.from_iterable(ours):
                try:
                    changes.add(read(record))
                except UnreadableChange as error:
                    _log_unreadable(record.partition, record.offset, str(error))
                offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
                if len(changes.forgotten) == _ERASURES_PER_COMMIT_MAX:
                    if not await self._write(changes, generation):
                        return
                    await _commit(consumer, offsets)
                    changes, offsets = ProfileChanges(), {}
            if await self._write(changes, generation):
                await _commit(consumer, ends)

    async def _write(self, changes: ProfileChanges, generation: int) -> bool:
        """Write the changes, with retries. False when the process stops or a rebalance comes first."""
        if not changes.forgotten and not changes.written:
            return True
        async for _ in backoff_delays(self._stop):
            self._health.heartbeat(_LOOP)
            if generation != self._generation:
                return False
            try:
                async with self._pool.acquire() as connection:
                    for profile_id in changes.forgotten:
                        await forgetting.forget(connection, profile_id)
                        self._health.heartbeat(_LOOP)
                    await profiles.put(connection, changes.written)
            except _TRANSIENT as error:
                self._health.set_waiting(_POSTGRES, postgres.outage_reason(error))
            else:
                self._health.set_ready(_POSTGRES)
                EVENTS.labels("forgotten").inc(len(changes.forgotten))
                EVENTS.labels("written").inc(len(changes.written))
                return True
        return False


def _log_unreadable(partition: int, offset: int, why: str) -> None:
    EVENTS.labels("unreadable").inc()
    log.warning("profile_event_unreadable", partition=partition, offset=offset, why=why)


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    """Commit offsets. A lost partition's new owner writes the same changes again."""
    if not offsets:
        return
    try:
        async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
            await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError) as error:
        log.warning("commit_refused", error=repr(error))
