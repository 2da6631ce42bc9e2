"""The consume loop for reports: fetch, settle a batch in one transaction, publish its answers, commit the offsets.

A batch is settled while the one before it is published. What a report means is its handler's. The loop survives
rebalances and lost connections, and commits no offset past a record without an answer, a retry or a dead letter.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Final

import asyncpg
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from codewell.infra.kafka import clients, lag
from codewell.infra.postgres.connection import Pool
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health
from schemas import topics
from services.issuer.batch import (
    ANSWERS_PER_SLICE_MAX,
    POISON_ERRORS,
    TRANSIENT_ERRORS,
    DecodedBatch,
    undecidable_record,
)
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.offsets import OffsetCommitter
from services.issuer.output_topics import OutputTopics
from services.issuer.part_sizes import PartSizes
from services.issuer.prefetcher import FetchedPartition, Prefetcher
from services.issuer.rebalance import RebalanceListener
from services.issuer.report_events import ReportDecoder, ReportedEvent
from services.issuer.report_handler import SETTLED, Handler, Outcome, Reply
from services.issuer.retry_schedule import batches_when_due
from services.issuer.settings import IssuerSettings
from services.issuer.unreadable_record import UnreadableRecord

REPORTS: Final = Counter("codewell_reports", "Reports received, by topic; redeliveries count again.", ["topic"])

# After a connection that lasted this long, the next attempt is made without backoff.
_STABLE_AFTER_S: Final = 60.0


class ReportConsumer:
    """One member of the group that reads one topic of reports, or of the group that reads its retry topic."""

    def __init__(
        self, handler: Handler, settings: IssuerSettings, pool: Pool, health: Health, stop: asyncio.Event,
        *, retries: bool,
    ) -> None:  # fmt: skip
        self._name = f"{handler.topic}{' (retry)' if retries else ''}"
        self._handler = handler
        self._settings = settings
        self._pool = pool
        self._health = health
        self._stop = stop
        self._decoder = ReportDecoder(topics.REPORT_TYPES[handler.topic])
        topic = settings.topic_prefix + handler.topic
        self._topic = topics.retry_of(topic) if retries else topic
        self._group = f"{settings.topic_prefix}codewell-issuer-{handler.topic}" + ("-retry" if retries else "")
        answered = (topics.reply_to, topics.retry_of) if handler.topic in topics.REPORT_ANSWER else ()
        self._outputs = OutputTopics([kind(topic) for kind in (*answered, topics.dead_letters_of)], ())
        self._retry_delay_s = handler.retry_delay_s if retries else 0.0
        self._kafka = kafka_dependency(self._name)
        REPORTS.labels(self._topic)
        self._sizes = PartSizes()
        # Held while a batch is settled, so that a rebalance waits for its end.
        self._batch_lock = asyncio.Lock()
        # Publishes the previous batch while the next one is settled. A failed task stays, so that it is raised again.
        self._publish_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Consume until stopped. Reconnects to Kafka as needed; uncommitted records are redelivered."""
        while not self._stop.is_set():
            async for _ in backoff_delays(self._stop):
                self._health.heartbeat(self._name)
                began = time.monotonic()
                try:
                    await self._run_connection()
                except (KafkaError, OSError) as error:
                    self._health.set_waiting(self._kafka, clients.outage_reason(error))
                if time.monotonic() - began > _STABLE_AFTER_S:
                    break

    async def _run_connection(self) -> None:
        producer = clients.producer(self._settings.kafka_config)
        consumer = clients.consumer(self._settings.kafka_config, self._group)
        offsets = OffsetCommitter(consumer)
        prefetcher = Prefetcher(consumer, self._decode, self._settings.batch_size_max)
        try:
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await producer.start()
                await self._outputs.load(producer)
                listener = RebalanceListener(self._await_batch, offsets, prefetcher)
                consumer.subscribe([self._topic], listener=listener)
                await consumer.start()
            self._health.set_ready(self._kafka)
            async with lag.exported_lag(consumer):
                await self._consume(prefetcher, offsets, producer)
        finally:
            await prefetcher.close()
            if self._publish_task is not None:
                self._publish_task.cancel()
                await asyncio.gather(self._publish_task, return_exceptions=True)
                self._publish_task = None
            await asyncio.shield(clients.stop(consumer, producer))

    async def _consume(
        self, prefetcher: Prefetcher[DecodedBatch[ReportedEvent]], offsets: OffsetCommitter, producer: AIOKafkaProducer
    ) -> None:
        while not self._stop.is_set():
            self._health.heartbeat(self._name)
            generation, parts = await prefetcher.drain()
            if prefetcher.watchdog.is_silent:
                self._health.set_waiting(self._kafka, "no broker answers")
            else:
                self._health.set_ready(self._kafka)
            if not parts:
                await self._await_publish()
                await offsets.commit()
                continue
            reach(Failpoint.FETCHED)
            for due_s, batch_parts in batches_when_due(parts, self._retry_delay_s):
                self._health.heartbeat(self._name)
                await self._wait_until_due(due_s)
                async with self._batch_lock:
                    # Skipped records are redelivered, as no later offset of their partitions is committed.
                    if generation != prefetcher.generation or (self._retry_delay_s and self._stop.is_set()):
                        break
                    if not await self._process(
                        batch_parts, offsets, BatchPublisher(producer, self._outputs.partitions)
                    ):
                        break
        await self._await_publish()
        await offsets.commit()

    async def _process(
        self, parts: Sequence[FetchedPartition[DecodedBatch[ReportedEvent]]], offsets: OffsetCommitter,
        publisher: BatchPublisher,
    ) -> bool:  # fmt: skip
        """Settle these records; start to publish them once the previous batch is published. False when stopped before.

        Raises what publishing the previous batch raised.
        """
        batch = DecodedBatch(
            [received for part in parts for received in part.batch.received],
            [unreadable for part in parts for unreadable in part.batch.unreadable],
        )
        next_offsets = {part.tp: part.next_offset for part in parts}
        REPORTS.labels(self._topic).inc(len(batch.received) + len(batch.unreadable))
        if not batch.received and not batch.unreadable:
            # Only markers of transactions and aborted records were read.
            await self._await_publish()
            await offsets.mark_processed(next_offsets)
            return True
        settled = await self._settle(batch.received)
        if settled is None:
            return False
        await self._await_publish()
        self._publish_task = asyncio.create_task(self._publish(batch, settled, publisher, offsets, next_offsets))
        return True

    async def _publish(
        self, batch: DecodedBatch[ReportedEvent], settled: Mapping[int, Outcome | UnreadableRecord],
        publisher: BatchPublisher, offsets: OffsetCommitter, next_offsets: Mapping[TopicPartition, int],
    ) -> None:  # fmt: skip
        """Publish the answers of a batch; once they are acknowledged, mark its records as processed."""
        for record, why in batch.unreadable:
            publisher.dead_letter(record, why, answered=False)
        for start in range(0, len(batch.received), ANSWERS_PER_SLICE_MAX):
            slice_ = range(start, min(start + ANSWERS_PER_SLICE_MAX, len(batch.received)))
            self._add_replies(batch.received, settled, slice_, publisher)
            await asyncio.sleep(0)
        await publisher.flush()
        reach(Failpoint.ACKNOWLEDGED)
        await offsets.mark_processed(next_offsets)

    async def _await_publish(self) -> None:
        """Wait until the previous batch is published. Raises its error, on every call."""
        if self._publish_task is not None:
            await self._publish_task
            self._publish_task = None

    def _add_replies(
        self, events: Sequence[ReportedEvent], settled: Mapping[int, Outcome | UnreadableRecord],
        numbers: Iterable[int], publisher: BatchPublisher,
    ) -> None:  # fmt: skip
        for number in numbers:
            event, outcome = events[number], settled[number]
            if outcome is None:
                publisher.retry(event.record)
            elif isinstance(outcome, UnreadableRecord):
                publisher.dead_letter(event.record, outcome, answered=False)
            elif outcome != SETTLED:
                _add_reply(event, outcome, publisher)

    async def _settle(self, events: Sequence[ReportedEvent]) -> dict[int, Outcome | UnreadableRecord] | None:
        """Settle a batch; retries while the database is unavailable. None when stopped meanwhile."""
        parts = await self._sizes.decide(
            list(enumerate(events)), self._settle_each, self._name, self._health, self._stop
        )
        return None if parts is None else reduce(or_, parts, {})

    async def _settle_each(self, events: Sequence[tuple[int, ReportedEvent]]) -> dict[int, Outcome | UnreadableRecord]:
        """Settle the batch in one transaction. Where one report makes it fail, isolate it by bisection."""
        try:
            async with self._pool.acquire() as connection:
                replies = await self._handler.settle(connection, [event for _, event in events])
        except (*TRANSIENT_ERRORS, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            raise
        except POISON_ERRORS as error:
            if len(events) == 1:
                [(number, event)] = events
                return {number: undecidable_record(event.record, error)}
            middle = len(events) // 2
            return await self._settle_each(events[:middle]) | await self._settle_each(events[middle:])
        return {number: reply for (number, _), reply in zip(events, replies, strict=True)}

    def _decode(self, records: Iterable[ConsumerRecord]) -> DecodedBatch[ReportedEvent]:
        batch = DecodedBatch[ReportedEvent]([], [])
        for record in records:
            try:
                batch.received.append(self._decoder.decode(record))
            except UnreadableRecord as why:
                batch.unreadable.append((record, why.detached()))
            except Exception as error:  # noqa: BLE001
                # A bug in Codewell. Raised, it would crash every issuer that the partition is assigned to.
                batch.unreadable.append((record, undecidable_record(record, error)))
        return batch

    async def _await_batch(self) -> None:
        """Wait until no batch is being settled or published."""
        async with self._batch_lock:
            if self._publish_task is not None:
                await asyncio.wait((self._publish_task,))

    async def _wait_until_due(self, due_s: float) -> None:
        """Wait until `due_s` (s since 1970) or the stop; at most the retry delay, as a sender's clock may be ahead."""
        pause_s = min(due_s - time.time(), self._retry_delay_s)
        if pause_s > 0:
            try:
                await asyncio.wait_for(self._stop.wait(), pause_s)
            except TimeoutError:
                return


def _add_reply(event: ReportedEvent, make: Callable[[], Reply], publisher: BatchPublisher) -> None:
    try:
        event_type, event_id, decided_at, key, data = make()
        publisher.reply(event.record, event_type, event_id, decided_at, key, data, structured=event.structured)
    except Exception as error:  # noqa: BLE001
        # A bug in Codewell. What was decided is stored, so a replay of the dead letter answers with it.
        publisher.dead_letter(event.record, undecidable_record(event.record, error), answered=False)


def kafka_dependency(name: str) -> str:
    """The name under which a consumer's connection stands in /readyz."""
    return f"kafka ({name})"
