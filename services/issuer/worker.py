"""The issuer's loop over its topics, from start to stop, over every rebalance and every loss of Kafka."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas import topics
from services.errors import StackUnavailable
from services.issuer.batch import Processor
from services.issuer.outbox import Demands, Outbox
from services.kafka import clients
from services.runtime.process import pauses
from services.runtime.settings import IssuerSettings
from services.telemetry.health import Health

log = structlog.get_logger()

_POLL_MS: Final = 500
_CLOSE_TIMEOUT_S: Final = 3.0


class Worker:
    """One member of one consumer group: `fresh` requests, or those that wait in the retry topics."""

    def __init__(self, settings: IssuerSettings, processor: Processor, health: Health, *, retries: bool) -> None:
        self._settings = settings
        self._processor = processor
        self._health = health
        prefix = settings.topic_prefix
        self._name = "retry" if retries else "issue"
        self._group = f"{prefix}codewell-issuer" + ("-retry" if retries else "")
        requests = [prefix + name for name in topics.REQUESTS]
        self._topics = [topics.retry_of(name) for name in requests] if retries else requests
        self._targets = [
            *settings.reply_topics,
            *(kind(name) for name in requests for kind in (topics.reply_to, topics.retry_of, topics.dead_letters_of)),
        ]
        self._delay_s = settings.retry_delay_s if retries else 0.0
        # Held while a batch is in hand, so that a rebalance waits for its end.
        self._in_hand = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until told to stop. A broken connection to Kafka is made anew; the records in hand come again."""
        async for _ in pauses(stop):
            self._health.beat(self._name)
            try:
                await self._connected(stop)
            except (KafkaError, OSError, TimeoutError) as error:
                self._health.waits("kafka", type(error).__name__)
                log.warning("kafka_lost", group=self._group, error=repr(error))

    async def _connected(self, stop: asyncio.Event) -> None:
        producer = clients.producer(self._settings.kafka_bootstrap)
        consumer = clients.consumer(self._settings.kafka_bootstrap, self._group)
        try:
            await producer.start()
            partitions = await self._partitions(producer)
            consumer.subscribe(self._topics, listener=_Rebalance(self._in_hand, self._settings.stop_timeout_s))
            await consumer.start()
            self._health.has("kafka")
            await self._consume(consumer, producer, partitions, stop)
        finally:
            # Leaving the group at once lets the others take over at once.
            await asyncio.shield(_close(consumer, producer))

    async def _consume(
        self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, partitions: dict[str, int], stop: asyncio.Event
    ) -> None:
        prefix = self._settings.topic_prefix
        demands = Demands(producer, prefix + topics.POOL_DEMAND, self._settings.demand_interval_s)
        while not stop.is_set():
            self._health.beat(self._name)
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._settings.batch_size_max)
            if not fetched:
                continue
            await self._let_wait(fetched.values(), stop)
            async with self._in_hand:
                records = [record for of_partition in fetched.values() for record in of_partition]
                outbox = Outbox(producer, partitions)
                if not await self._processor.process(records, outbox, demands):
                    return
                await _commit(consumer, {tp: of[-1].offset + 1 for tp, of in fetched.items() if of})

    async def _let_wait(self, fetched: Iterable[Sequence[ConsumerRecord]], stop: asyncio.Event) -> None:
        """Wait until the newest of these records has waited its time, or until told to stop."""
        if self._delay_s == 0:
            return
        newest_s = max(record.timestamp for of_partition in fetched for record in of_partition) / 1000
        pause_s = min(newest_s + self._delay_s - time.time(), self._delay_s)
        if pause_s > 0:
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                return

    async def _partitions(self, producer: AIOKafkaProducer) -> dict[str, int]:
        """How many partitions each topic has that records may go to."""
        counts = {}
        for topic in self._targets:
            try:
                counts[topic] = len(await producer.partitions_for(topic))
            except KafkaError as error:
                raise StackUnavailable(f"Kafka has no topic {topic} ({error!r}): run codewell topics.") from error
        return counts


class _Rebalance(ConsumerRebalanceListener):
    def __init__(self, in_hand: asyncio.Lock, timeout_s: float) -> None:
        self._in_hand = in_hand
        self._timeout_s = timeout_s

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give partitions up only between batches; past the limit the batch's offsets are not committed."""
        try:
            async with asyncio.timeout(self._timeout_s), self._in_hand:
                pass
        except TimeoutError:
            log.warning("revoked_with_batch_in_hand", partitions=len(list(revoked)))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the last owner committed."""
        log.info("assigned", partitions=len(list(assigned)))


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    """Commit finished work. Where a partition has gone to another worker, that one answers the records again."""
    assigned = consumer.assignment()
    try:
        await consumer.commit({tp: offset for tp, offset in offsets.items() if tp in assigned})
    except (CommitFailedError, IllegalStateError) as error:
        log.warning("commit_refused", error=repr(error))


async def _close(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
    for client in (consumer, producer):
        try:
            await asyncio.wait_for(client.stop(), _CLOSE_TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("close_failed", error=repr(error))
