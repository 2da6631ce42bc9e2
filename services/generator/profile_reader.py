"""Keeps profiles as the events of `profile-changed` tell them, batch by batch.

A plain consumer and not an agent of the application beside it: a first reading brings every profile that there is, and
a statement for a thousand of them costs as much as for ten.
"""

import asyncio
import time
from collections.abc import Iterable
from itertools import chain
from typing import Final

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from prometheus_client import Counter

from codewell.errors import StackUnavailable
from codewell.infra.kafka import clients, lag
from codewell.infra.kafka.broker_watchdog import BrokerWatchdog
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Pool
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
# Each takes a while, and what is committed behind it is not done again where a batch takes too long.
_FORGOTTEN_MAX: Final = 20
_POLL_MS: Final = 500
# A rebalance waits so long for the batch in hand, less than the group waits for this member.
_REVOKE_TIMEOUT_S: Final = 20.0
_GOOD_AFTER_S: Final = 60.0
_LOOP: Final = "profiles"
_KAFKA: Final = "kafka (profiles)"
_POSTGRES: Final = "postgres (profiles)"
_TRANSIENT: Final = (
    *UNAVAILABLE_ERRORS, StackUnavailable, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)  # fmt: skip


class ProfileReader(ConsumerRebalanceListener):
    """One member of the group that reads changes of profiles. They count once they are in the database."""

    def __init__(self, settings: GeneratorSettings, pool: Pool, health: Health, stop: asyncio.Event) -> None:
        self._kafka_config = settings.kafka_config
        self._group = f"{settings.topic_prefix}codewell-profiles"
        self._topic = settings.topic_prefix + topics.PROFILE_CHANGED
        self._pool = pool
        self._health = health
        self._stop = stop
        # Held while a batch is being written, so that a rebalance waits for its end and nobody writes newer ones first.
        self._in_hand = asyncio.Lock()
        # Counts rebalances: what was fetched before one may be another reader's by now, and older than what that wrote.
        self._generation = 0
        # Set when aiokafka could not read a record and did not say which.
        self._careful = False

    async def run(self) -> None:
        """Go on until told to stop, and raise nothing. What is not committed comes again over a new connection."""
        while not self._stop.is_set():
            async for _ in backoff_delays(self._stop):
                self._health.heartbeat(_LOOP)
                began = time.monotonic()
                try:
                    await self._connected()
                except (KafkaError, OSError) as error:
                    self._health.set_waiting(_KAFKA, clients.outage_reason(error))
                except Exception:
                    # Pools are filled all the same.
                    log.exception("profiles_not_read")
                if self._stop.is_set() or time.monotonic() - began > _GOOD_AFTER_S:
                    break

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give partitions up only between batches."""
        try:
            async with asyncio.timeout(_REVOKE_TIMEOUT_S), self._in_hand:
                pass
        except TimeoutError:
            log.warning("revoked_with_batch_in_hand", partitions=len(list(revoked)))
        self._generation += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the last owner committed."""

    async def _connected(self) -> None:
        consumer = clients.consumer(self._kafka_config, self._group)
        try:
            consumer.subscribe([self._topic], listener=self)
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await consumer.start()
            self._health.set_ready(_KAFKA)
            if self._careful:
                await self._step_over(consumer)
                self._careful = False
            watchdog = BrokerWatchdog(consumer)
            async with lag.exported_lag(consumer):
                while not self._stop.is_set():
                    self._health.heartbeat(_LOOP)
                    fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=BATCH_SIZE_MAX)
                    self._listen(watchdog, records=bool(fetched))
                    await self._take(consumer, fetched)
        except UnicodeDecodeError:
            # What was fetched along with it is lost to this consumer; the next one begins at the committed offsets.
            self._careful = True
        finally:
            await asyncio.shield(clients.stop(consumer))

    def _listen(self, watchdog: BrokerWatchdog, *, records: bool) -> None:
        """Note that a fetch has ended. Raises TimeoutError when no broker has said anything for long."""
        watchdog.record_fetch(records=records)
        if watchdog.is_silent:
            self._health.set_waiting(_KAFKA, "no broker answers")
        else:
            self._health.set_ready(_KAFKA)
        watchdog.check()

    async def _step_over(self, consumer: AIOKafkaConsumer) -> None:
        """Go on one record at a time, past those that aiokafka can't read: a header's name is not UTF-8.

        Behind such a record, those of the same batch can't be read either.
        """
        async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
            ends = await consumer.end_offsets(list(consumer.assignment()))
        for tp, end in sorted(ends.items()):
            # It is before what is written meanwhile, which may be without end.
            while not self._stop.is_set() and await consumer.position(tp) < end:
                self._health.heartbeat(_LOOP)
                try:
                    fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=1)
                except UnicodeDecodeError:
                    offset = await consumer.position(tp)
                    _note_unreadable(tp.partition, offset, "a header's name is not UTF-8")
                    await _commit(consumer, {tp: offset + 1})
                    consumer.seek(tp, offset + 1)
                    continue
                if not fetched:
                    break
                await self._take(consumer, fetched)

    async def _take(self, consumer: AIOKafkaConsumer, fetched: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        """Write what was fetched and commit it then. What is unreadable is logged and stepped over."""
        async with self._in_hand:
            generation, changes, offsets = self._generation, ProfileChanges(), dict[TopicPartition, int]()
            ours = [records for tp, records in fetched.items() if tp in consumer.assignment()]
            for record in chain.from_iterable(ours):
                try:
                    changes.add(read(record))
                except UnreadableChange as error:
                    _note_unreadable(record.partition, record.offset, str(error))
                offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
                if len(changes.forgotten) == _FORGOTTEN_MAX:
                    if not await self._written(changes, generation):
                        return
                    await _commit(consumer, offsets)
                    changes, offsets = ProfileChanges(), {}
            if await self._written(changes, generation):
                await _commit(consumer, offsets)

    async def _written(self, changes: ProfileChanges, generation: int) -> bool:
        """Write the changes, trying again until it is done; False when told to stop before, or others may have them."""
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


def _note_unreadable(partition: int, offset: int, why: str) -> None:
    EVENTS.labels("unreadable").inc()
    log.warning("profile_event_unreadable", partition=partition, offset=offset, why=why)


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    """Commit what is written. Where a partition has gone to another reader, that one writes the same again."""
    if not offsets:
        return
    try:
        async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
            await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError) as error:
        log.warning("commit_refused", error=repr(error))
