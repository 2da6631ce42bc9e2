"""The issuer's consume loop: fetch, decide, publish, commit; it survives rebalances and lost connections."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from codewell.infra.kafka import clients, lag
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health
from codewell.infra.telemetry.tracing import Tracing
from codewell.issuing.claim import ClaimResult
from schemas import topics
from services.issuer.batch import BatchProcessor, DecodedBatch, observe_answer_seconds
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.decode import UnreadableRecord
from services.issuer.demand_publisher import DemandPublisher
from services.issuer.offsets import OffsetCommitter
from services.issuer.poison_records import read_up_to_poison_record
from services.issuer.prefetcher import FetchedPartition, Prefetcher
from services.issuer.rebalance import RebalanceListener
from services.issuer.retry_schedule import batches_when_due
from services.issuer.settings import IssuerSettings
from services.issuer.traces import BatchTrace

REQUESTS: Final = Counter("codewell_requests", "Records received, by topic; redeliveries count again.", ["topic"])

# After a connection that lasted this long, the next attempt is made without backoff.
_STABLE_AFTER_S: Final = 60.0
_POISON_RECORD_DETAIL: Final = (
    "A header's name is not UTF-8, so the record cannot be read; codewell_topic and the other headers name its place."
)


class IssuerWorker:
    """One member of one consumer group: of the request topics, or of the retry topics."""

    def __init__(
        self,
        name: str,
        settings: IssuerSettings,
        processor: BatchProcessor,
        health: Health,
        tracing: Tracing | None,
        *,
        retries: bool,
    ) -> None:
        self._name = name
        self._kafka = f"kafka ({name})"
        self._settings = settings
        self._processor = processor
        self._health = health
        self._tracing = tracing
        prefix = settings.topic_prefix
        self._group = f"{prefix}codewell-issuer" + ("-retry" if retries else "")
        requests = [prefix + name for name in topics.REQUESTS]
        self._topics = [topics.retry_of(name) for name in requests] if retries else requests
        self._output_topics = [
            *settings.reply_topics,
            *(kind(name) for name in requests for kind in (topics.reply_to, topics.retry_of, topics.dead_letters_of)),
        ]
        for topic in self._topics:
            REQUESTS.labels(topic)
        self._retry_delay_s = settings.retry_delay_s if retries else 0.0
        # Held while a batch is decided, so that a rebalance waits for its end.
        self._decide_lock = asyncio.Lock()
        # Publishes the previous batch while the next one is decided. A failed task stays, so that it is raised again.
        self._publish_task: asyncio.Task[None] | None = None
        # Set when aiokafka failed to decode a record without naming its offset: the next connection looks for it.
        self._has_poison_record = False

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set. Reconnects to Kafka as needed; uncommitted records are redelivered."""
        while not stop.is_set():
            async for _ in backoff_delays(stop):
                self._health.heartbeat(self._name)
                began = time.monotonic()
                try:
                    await self._run_connection(stop)
                except (KafkaError, OSError) as error:
                    self._health.set_waiting(self._kafka, clients.outage_reason(error))
                if time.monotonic() - began > _STABLE_AFTER_S:
                    break

    async def _run_connection(self, stop: asyncio.Event) -> None:
        producer = clients.producer(self._settings.kafka_config)
        consumer = clients.consumer(self._settings.kafka_config, self._group)
        offsets = OffsetCommitter(consumer)
        prefetcher = (
            None
            if self._has_poison_record
            else Prefetcher(consumer, self._processor.decode, self._settings.batch_size_max)
        )
        try:
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await producer.start()
                partitions = {topic: len(await producer.partitions_for(topic)) for topic in self._output_topics}
                consumer.subscribe(self._topics, listener=RebalanceListener(self._await_batch, offsets, prefetcher))
                await consumer.start()
            self._health.set_ready(self._kafka)
            async with lag.exported_lag(consumer):
                if prefetcher is None:
                    await self._skip_poison_records(consumer, offsets, producer, partitions)
                else:
                    await self._consume(prefetcher, offsets, producer, partitions, stop)
        except UnicodeDecodeError:
            # This consumer has lost the records of that fetch; the next one resumes at the committed offsets.
            self._has_poison_record = True
        finally:
            reach(Failpoint.CLOSING)
            if prefetcher is not None:
                await prefetcher.close()
            if self._publish_task is not None:
                self._publish_task.cancel()
                await asyncio.gather(self._publish_task, return_exceptions=True)
                self._publish_task = None
            # Leaving the group now lets other members take over without the session timeout.
            await asyncio.shield(clients.stop(consumer, producer))

    async def _consume(
        self,
        prefetcher: Prefetcher,
        offsets: OffsetCommitter,
        producer: AIOKafkaProducer,
        partitions: dict[str, int],
        stop: asyncio.Event,
    ) -> None:
        """Pipeline: decide one batch while the next is fetched and the previous is published.

        A batch is all records fetched since the previous one.
        """
        prefix = self._settings.topic_prefix
        demands = DemandPublisher(producer, prefix + topics.POOL_DEMAND, self._settings.demand_interval_s)
        while not stop.is_set():
            self._health.heartbeat(self._name)
            generation, parts = await prefetcher.drain()
            if prefetcher.watchdog.is_silent:
                self._health.set_waiting(self._kafka, "no broker answers")
            else:
                self._health.set_ready(self._kafka)
            if not parts:
                await self._publish_and_commit(offsets)
                await demands.publish({})
                continue
            reach(Failpoint.FETCHED)
            for due_s, batch_parts in batches_when_due(parts, self._retry_delay_s):
                self._health.heartbeat(self._name)
                await self._wait_until_due(due_s, stop)
                async with self._decide_lock:
                    # Skipped records are redelivered, as no later offset of their partitions is committed.
                    if generation != prefetcher.generation or (self._retry_delay_s and stop.is_set()):
                        break
                    low_pools = await self._process(batch_parts, offsets, BatchPublisher(producer, partitions))
                if low_pools is None:
                    break
                await demands.publish(low_pools)
        await self._publish_and_commit(offsets)

    async def _process(
        self, parts: list[FetchedPartition], offsets: OffsetCommitter, publisher: BatchPublisher
    ) -> dict[int, int] | None:
        """Decide these records as one batch; start to publish it once the previous batch is published.

        Empties `parts`. Returns pools below their mark (program id to codes left), or None when stopped before the
        decision.
        """
        batch = DecodedBatch(
            [received for part in parts for received in part.batch.received],
            [unreadable for part in parts for unreadable in part.batch.unreadable],
        )
        next_offsets = {part.tp: part.next_offset for part in parts}
        for part in parts:
            REQUESTS.labels(part.tp.topic).inc(len(part.batch.received) + len(part.batch.unreadable))
        parts.clear()
        trace = None if self._tracing is None else BatchTrace(self._tracing, batch.received, self._group)
        claimed = await self._processor.decide(batch)
        if claimed is None:
            return None
        if trace is not None:
            trace.decided(claimed)
        await self._await_publish()
        self._publish_task = asyncio.create_task(self._publish(batch, claimed, publisher, offsets, next_offsets, trace))
        return claimed.low

    async def _publish(
        self,
        batch: DecodedBatch,
        claimed: ClaimResult,
        publisher: BatchPublisher,
        offsets: OffsetCommitter,
        next_offsets: Mapping[TopicPartition, int],
        trace: BatchTrace | None,
    ) -> None:
        """Publish the answers of a batch; once they are acknowledged, mark its records as processed."""
        answered_ms = await self._processor.answer(batch, claimed, publisher, trace)
        await publisher.flush()
        reach(Failpoint.ACKNOWLEDGED)
        observe_answer_seconds(answered_ms)
        if trace is not None:
            trace.answered()
        await offsets.mark_processed(next_offsets)

    async def _await_publish(self) -> None:
        """Wait until the previous batch is published. Raises its error, on every call."""
        if self._publish_task is not None:
            await self._publish_task
            self._publish_task = None

    async def _publish_and_commit(self, offsets: OffsetCommitter) -> None:
        """Wait until all decided batches are published, and commit. Raises as `_await_publish` does."""
        await self._await_publish()
        await offsets.commit()

    async def _await_batch(self) -> None:
        """Wait until no batch is being decided or published."""
        async with self._decide_lock:
            if self._publish_task is not None:
                await asyncio.wait((self._publish_task,))

    async def _skip_poison_records(
        self,
        consumer: AIOKafkaConsumer,
        offsets: OffsetCommitter,
        producer: AIOKafkaProducer,
        partitions: dict[str, int],
    ) -> None:
        """Process partition by partition, and dead-letter the records that aiokafka can't decode.

        aiokafka decodes header names as UTF-8 and raises without the offset when one is not.
        """
        self._has_poison_record = False
        async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
            ends = await consumer.end_offsets(list(consumer.assignment()))
            # Polling an empty partition takes the whole poll timeout, and holds up the others.
            with_backlog = [tp for tp in sorted(ends) if await consumer.position(tp) < ends[tp]]
        for tp in with_backlog:
            found = True
            # After such a record, the rest of its fetch can't be read either.
            while found:
                async with self._decide_lock:
                    found = await self._skip_poison_record(tp, consumer, offsets, producer, partitions)

    async def _skip_poison_record(
        self,
        tp: TopicPartition,
        consumer: AIOKafkaConsumer,
        offsets: OffsetCommitter,
        producer: AIOKafkaProducer,
        partitions: dict[str, int],
    ) -> bool:
        """Process one partition up to its next poison record and dead-letter that. False when there is none."""
        records, unreadable = await read_up_to_poison_record(consumer, tp, self._settings.batch_size_max)
        parts = [FetchedPartition.of(tp, records, self._processor.decode)] if records else []
        if await self._process(parts, offsets, BatchPublisher(producer, partitions)) is None:
            return False
        await self._publish_and_commit(offsets)
        if unreadable is None:
            return False
        publisher = BatchPublisher(producer, partitions)
        publisher.dead_letter(unreadable, UnreadableRecord("invalid_event", _POISON_RECORD_DETAIL))
        await publisher.flush()
        await offsets.mark_processed({tp: unreadable.offset + 1})
        await offsets.commit()
        consumer.seek(tp, unreadable.offset + 1)
        return True

    async def _wait_until_due(self, due_s: float, stop: asyncio.Event) -> None:
        """Wait until `due_s` (s since 1970) or `stop`; at most the retry delay, as the sender's clock may be ahead."""
        pause_s = min(due_s - time.time(), self._retry_delay_s)
        if pause_s > 0:
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                return
