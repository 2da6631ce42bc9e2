"""The issuer's consume loop: fetch, decide, publish, commit; it survives rebalances and lost connections."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from prometheus_client import Counter

from codewell.infra.kafka import clients, lag
from codewell.infra.kafka.record_batches import TopicRefused
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health
from codewell.infra.telemetry.tracing import Tracing
from codewell.issuing.claim_result import ClaimResult
from codewell.pool.demand import LowPool
from schemas import topics
from services.issuer.batch import BatchProcessor, DecodedBatch, observe_answer_seconds
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.demand_publisher import DemandPublisher
from services.issuer.offsets import OffsetCommitter
from services.issuer.output_topics import OutputTopics
from services.issuer.prefetcher import FetchedPartition, Prefetcher
from services.issuer.rebalance import RebalanceListener
from services.issuer.received_request import ReceivedRequest
from services.issuer.retry_schedule import batches_when_due
from services.issuer.settings import IssuerSettings
from services.issuer.traces import BatchTrace

log = structlog.get_logger()

REQUESTS: Final = Counter("codewell_requests", "Records received, by topic; redeliveries count again.", ["topic"])

# After a connection that lasted this long, the next attempt is made without backoff.
_STABLE_AFTER_S: Final = 60.0


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
        kinds = topics.reply_to, topics.retry_of, topics.dead_letters_of
        self._outputs = OutputTopics((kind(name) for name in requests for kind in kinds), settings.reply_topics)
        for topic in self._topics:
            REQUESTS.labels(topic)
        self._retry_delay_s = settings.retry_delay_s if retries else 0.0
        # Held while a batch is decided, so that a rebalance waits for its end.
        self._decide_lock = asyncio.Lock()
        # Publishes the previous batch while the next one is decided. A failed task stays, so that it is raised again.
        self._publish_task: asyncio.Task[None] | None = None

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
        prefetcher = Prefetcher(consumer, self._processor.decode, self._settings.batch_size_max)
        watching: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await producer.start()
                await self._outputs.load(producer)
                consumer.subscribe(self._topics, listener=RebalanceListener(self._await_batch, offsets, prefetcher))
                await consumer.start()
            self._health.set_ready(self._kafka)
            watching = asyncio.create_task(self._outputs.watch(producer))
            async with lag.exported_lag(consumer):
                await self._consume(prefetcher, offsets, producer, stop)
        finally:
            reach(Failpoint.CLOSING)
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await prefetcher.close()
            if self._publish_task is not None:
                self._publish_task.cancel()
                await asyncio.gather(self._publish_task, return_exceptions=True)
                self._publish_task = None
            # Leaving the group now lets other members take over without the session timeout.
            await asyncio.shield(clients.stop(consumer, producer))

    async def _consume(
        self,
        prefetcher: Prefetcher[DecodedBatch[ReceivedRequest]],
        offsets: OffsetCommitter,
        producer: AIOKafkaProducer,
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
                    low_pools = await self._process(batch_parts, prefetcher, offsets, self._publisher(producer))
                if low_pools is None:
                    break
                await demands.publish(low_pools)
        await self._publish_and_commit(offsets)

    async def _process(
        self,
        parts: list[FetchedPartition[DecodedBatch[ReceivedRequest]]],
        prefetcher: Prefetcher[DecodedBatch[ReceivedRequest]],
        offsets: OffsetCommitter,
        publisher: BatchPublisher,
    ) -> dict[int, LowPool] | None:
        """Decide these records as one batch; start to publish it once the previous batch is published.

        Empties `parts`. Returns pools below their mark by program id, or None when stopped before the decision.
        """
        batch = DecodedBatch(
            [received for part in parts for received in part.batch.received],
            [unreadable for part in parts for unreadable in part.batch.unreadable],
        )
        next_offsets = {part.tp: part.next_offset for part in parts}
        for part in parts:
            REQUESTS.labels(part.tp.topic).inc(len(part.batch.received) + len(part.batch.unreadable))
        parts.clear()
        if not batch.received and not batch.unreadable:
            # Only markers of transactions and aborted records were read.
            await self._await_publish()
            await offsets.mark_processed(next_offsets)
            return {}
        trace = None if self._tracing is None else BatchTrace(self._tracing, batch.received, self._group)
        claimed = await self._processor.decide(batch)
        if claimed is None:
            return None
        # While the previous batch is published.
        prefetcher.fetch_on()
        if trace is not None:
            trace.decided(claimed)
        await self._await_publish()
        self._publish_task = asyncio.create_task(self._publish(batch, claimed, publisher, offsets, next_offsets, trace))
        return claimed.low

    def _publisher(self, producer: AIOKafkaProducer) -> BatchPublisher:
        return BatchPublisher(producer, self._outputs.partitions, frozenset(self._settings.reply_topics))

    async def _publish(
        self,
        batch: DecodedBatch[ReceivedRequest],
        claimed: ClaimResult,
        publisher: BatchPublisher,
        offsets: OffsetCommitter,
        next_offsets: Mapping[TopicPartition, int],
        trace: BatchTrace | None,
    ) -> None:
        """Publish the answers of a batch; once they are acknowledged, mark its records as processed."""
        answered_ms = await self._processor.answer(batch, claimed, publisher, trace)
        await self._flush(publisher)
        reach(Failpoint.ACKNOWLEDGED)
        observe_answer_seconds(answered_ms)
        if trace is not None:
            trace.answered()
        await offsets.mark_processed(next_offsets)

    async def _flush(self, publisher: BatchPublisher) -> None:
        """Publish the batch. Raises KafkaError where a reply topic does not take its answers.

        The batch is then read again, and those answers become dead letters.
        """
        flushing, losing = asyncio.ensure_future(publisher.flush()), asyncio.ensure_future(self._outputs.lost.wait())
        try:
            await asyncio.wait((flushing, losing), return_when=asyncio.FIRST_COMPLETED)
            if not flushing.done():
                raise UnknownTopicOrPartitionError("a reply topic is gone")
            await flushing
        except TopicRefused as refused:
            if refused.is_final and self._outputs.refuse(refused.topic):
                log.warning("reply_topic_refused", topic=refused.topic, why=str(refused))
            raise
        finally:
            flushing.cancel()
            losing.cancel()
            await asyncio.gather(flushing, losing, return_exceptions=True)

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

    async def _wait_until_due(self, due_s: float, stop: asyncio.Event) -> None:
        """Wait until `due_s` (s since 1970) or `stop`; at most the retry delay, as the sender's clock may be ahead."""
        pause_s = min(due_s - time.time(), self._retry_delay_s)
        if pause_s > 0:
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                return
