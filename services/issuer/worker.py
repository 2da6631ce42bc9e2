"""The issuer's loop over its topics, from start to stop, over every rebalance and every loss of Kafka."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from codewell.infra.kafka import clients, lag
from codewell.infra.kafka.broker_watchdog import SILENCE_REPORTED_AFTER_S
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.lifecycle import pauses
from codewell.infra.telemetry.health import Health
from codewell.infra.telemetry.tracing import Tracing
from codewell.issuing.claim import ClaimResult
from schemas import topics
from services.issuer.batch import BatchProcessor, DecodedBatch, note_answered
from services.issuer.decode import UnreadableRecord
from services.issuer.offsets import Offsets
from services.issuer.poison_records import read_up_to_unreadable
from services.issuer.prefetcher import FetchedPart, Prefetcher
from services.issuer.rebalance import RebalanceListener
from services.issuer.record_buffer import DemandPublisher, RecordBuffer
from services.issuer.retry_schedule import batches_when_due
from services.issuer.settings import IssuerSettings
from services.issuer.traces import BatchTrace

REQUESTS: Final = Counter("codewell_requests", "Records received, by topic; redeliveries count again.", ["topic"])

# A connection that held so long was a good one: the next is made at once.
_GOOD_AFTER_S: Final = 60.0
_UNREADABLE: Final = (
    "A header's name is not UTF-8, so the record cannot be read; codewell_topic and the other headers name its place."
)


class IssuerWorker:
    """One member of one consumer group: fresh requests, or those that wait in the retry topics."""

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
        self._targets = [
            *settings.reply_topics,
            *(kind(name) for name in requests for kind in (topics.reply_to, topics.retry_of, topics.dead_letters_of)),
        ]
        for topic in self._topics:
            REQUESTS.labels(topic)
        self._delay_s = settings.retry_delay_s if retries else 0.0
        # Held while a batch is being decided, so that a rebalance waits for its end.
        self._in_hand = asyncio.Lock()
        # The batch before, whose answers are on their way while the next is being decided. One that failed stays here.
        self._sending: asyncio.Task[None] | None = None
        # Set when aiokafka could not read a record and did not say which.
        self._careful = False

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until told to stop. A broken connection to Kafka is made anew; the records in hand come again."""
        while not stop.is_set():
            async for _ in pauses(stop):
                self._health.heartbeat(self._name)
                began = time.monotonic()
                try:
                    await self._connected(stop)
                except (KafkaError, OSError) as error:
                    self._health.set_waiting(self._kafka, clients.why_away(error))
                if time.monotonic() - began > _GOOD_AFTER_S:
                    break

    async def _connected(self, stop: asyncio.Event) -> None:
        producer = clients.producer(self._settings.kafka_config)
        consumer = clients.consumer(self._settings.kafka_config, self._group)
        offsets = Offsets(consumer)
        prefetcher = (
            None if self._careful else Prefetcher(consumer, self._processor.read, self._settings.batch_size_max)
        )
        try:
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await producer.start()
                partitions = {topic: len(await producer.partitions_for(topic)) for topic in self._targets}
                consumer.subscribe(self._topics, listener=RebalanceListener(self._batch_finished, offsets, prefetcher))
                await consumer.start()
            self._health.set_ready(self._kafka)
            async with lag.watched(consumer):
                if prefetcher is None:
                    await self._find_unreadable(consumer, offsets, producer, partitions)
                else:
                    await self._consume(prefetcher, offsets, producer, partitions, stop)
        except UnicodeDecodeError:
            # What was fetched along with it is lost to this consumer; the next one begins at the committed offsets.
            self._careful = True
        finally:
            reach(Failpoint.CLOSING)
            if prefetcher is not None:
                await prefetcher.close()
            if self._sending is not None:
                self._sending.cancel()
                await asyncio.gather(self._sending, return_exceptions=True)
                self._sending = None
            # Leaving the group at once lets the others take over at once.
            await asyncio.shield(clients.stop(consumer, producer))

    async def _consume(
        self,
        prefetcher: Prefetcher,
        offsets: Offsets,
        producer: AIOKafkaProducer,
        partitions: dict[str, int],
        stop: asyncio.Event,
    ) -> None:
        """Decide one batch while the next is being read and the one before is being sent.

        A batch is what was read since the last one.
        """
        prefix = self._settings.topic_prefix
        demands = DemandPublisher(producer, prefix + topics.POOL_DEMAND, self._settings.demand_interval_s)
        while not stop.is_set():
            self._health.heartbeat(self._name)
            generation, parts = await prefetcher.take()
            if prefetcher.watchdog.seconds > SILENCE_REPORTED_AFTER_S:
                self._health.set_waiting(self._kafka, "no broker answers")
            else:
                self._health.set_ready(self._kafka)
            if not parts:
                await self._settled(offsets)
                await demands.publish({})
                continue
            reach(Failpoint.FETCHED)
            for due_s, some in batches_when_due(parts, self._delay_s):
                self._health.heartbeat(self._name)
                await self._wait_until_due(due_s, stop)
                async with self._in_hand:
                    # What is left out here comes again, as nothing behind it of its partition is committed.
                    if generation != prefetcher.generation or (self._delay_s and stop.is_set()):
                        break
                    low = await self._take(some, offsets, RecordBuffer(producer, partitions))
                if low is None:
                    break
                await demands.publish(low)
        await self._settled(offsets)

    async def _take(
        self, parts: list[FetchedPart], offsets: Offsets, record_buffer: RecordBuffer
    ) -> dict[int, int] | None:
        """Use these parts up: decide them as one batch, and begin to send it once the batch before is sent.

        None when told to stop before it was decided.
        """
        read = DecodedBatch(
            [one for part in parts for one in part.read.received],
            [one for part in parts for one in part.read.unreadable],
        )
        next_offsets = {part.tp: part.next_offset for part in parts}
        for part in parts:
            REQUESTS.labels(part.tp.topic).inc(len(part.read.received) + len(part.read.unreadable))
        parts.clear()
        trace = None if self._tracing is None else BatchTrace(self._tracing, read.received, self._group)
        claimed = await self._processor.decide(read)
        if claimed is None:
            return None
        if trace is not None:
            trace.decided(claimed)
        await self._sent()
        self._sending = asyncio.create_task(self._send(read, claimed, record_buffer, offsets, next_offsets, trace))
        return claimed.low

    async def _send(
        self,
        read: DecodedBatch,
        claimed: ClaimResult,
        record_buffer: RecordBuffer,
        offsets: Offsets,
        next_offsets: Mapping[TopicPartition, int],
        trace: BatchTrace | None,
    ) -> None:
        """Answer a batch; once the answers are stored, it is done."""
        answered_ms = await self._processor.answer(read, claimed, record_buffer, trace)
        await record_buffer.send()
        reach(Failpoint.ACKNOWLEDGED)
        note_answered(answered_ms)
        if trace is not None:
            trace.answered()
        await offsets.finish(next_offsets)

    async def _sent(self) -> None:
        """Wait until the batch before is sent. Raises what that raised, each time it is asked."""
        if self._sending is not None:
            await self._sending
            self._sending = None

    async def _settled(self, offsets: Offsets) -> None:
        """Wait until everything decided is sent and committed. Raises as `_sent` does."""
        await self._sent()
        await offsets.commit()

    async def _batch_finished(self) -> None:
        """Wait until nothing is being decided or sent."""
        async with self._in_hand:
            if self._sending is not None:
                await asyncio.wait((self._sending,))

    async def _find_unreadable(
        self, consumer: AIOKafkaConsumer, offsets: Offsets, producer: AIOKafkaProducer, partitions: dict[str, int]
    ) -> None:
        """Go on partition by partition until the record is found that aiokafka can't read, and bury it.

        aiokafka takes the names of headers for UTF-8 and raises, without a word on where, when one is not.
        """
        self._careful = False
        async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
            ends = await consumer.end_offsets(list(consumer.assignment()))
            # To read a partition with nothing in it costs a poll's whole time, while all others wait.
            some = [tp for tp in sorted(ends) if await consumer.position(tp) < ends[tp]]
        for tp in some:
            found = True
            # Behind such a record, those of the same batch can't be read either.
            while found:
                async with self._in_hand:
                    found = await self._read_past(tp, consumer, offsets, producer, partitions)

    async def _read_past(
        self,
        tp: TopicPartition,
        consumer: AIOKafkaConsumer,
        offsets: Offsets,
        producer: AIOKafkaProducer,
        partitions: dict[str, int],
    ) -> bool:
        """Process what can be read of one partition, and bury the record behind it if there is one that can't be."""
        records, unreadable = await read_up_to_unreadable(consumer, tp, self._settings.batch_size_max)
        parts = [FetchedPart.of(tp, records, self._processor.read)] if records else []
        if await self._take(parts, offsets, RecordBuffer(producer, partitions)) is None:
            return False
        await self._settled(offsets)
        if unreadable is None:
            return False
        record_buffer = RecordBuffer(producer, partitions)
        record_buffer.dead_letter(unreadable, UnreadableRecord("invalid_event", _UNREADABLE))
        await record_buffer.send()
        await offsets.finish({tp: unreadable.offset + 1})
        await offsets.commit()
        consumer.seek(tp, unreadable.offset + 1)
        return True

    async def _wait_until_due(self, due_s: float, stop: asyncio.Event) -> None:
        """Wait until then, or until told to stop; no longer than a request waits, whatever clocks say."""
        pause_s = min(due_s - time.time(), self._delay_s)
        if pause_s > 0:
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                return
