"""Dead letters: read them as they stand in their topics, and publish the events in them again."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas import topics
from services.errors import StackUnavailable
from services.kafka import clients
from services.kafka.batches import Batches
from services.kafka.refusals import why_not
from services.runtime.brokers import Brokers

# What the issuer wrote beside the event; the sender's own headers stay.
_OURS: Final = frozenset(
    f"codewell_{name}" for name in ("reason", "detail", "topic", "partition", "offset", "time", "attempt", "give_up_at")
)
_POLL_MS: Final = 500


class DeadLetter(NamedTuple):
    """An event that could not be read, and why."""

    request_topic: str
    """Where the event belongs, without the deployment's prefix."""
    reason: str
    detail: str
    event_id: str | None
    written_at: datetime
    record: ConsumerRecord

    @property
    def has_event(self) -> bool:
        """Whether there is an event to publish again: of a record that Kafka's client can't read there is none."""
        return bool(self.record.value)


class DeadLetters:
    """The dead-letter topics, to be read from their beginning."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str, partitions: Mapping[str, int]) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._partitions = partitions

    async def letters(self, request_topics: Collection[str]) -> AsyncIterator[DeadLetter]:
        """The dead letters of these request topics that are there now, each partition's in its order.

        Raises StackUnavailable when Kafka stops answering.
        """
        for name in request_topics:
            topic = self._prefix + topics.dead_letters_of(name)
            for partition in range(self._partitions[topic]):
                async for record in _records(self._consumer, TopicPartition(topic, partition)):
                    yield _letter(name, record)


@asynccontextmanager
async def opened(brokers: Brokers | str, prefix: str) -> AsyncIterator[DeadLetters]:
    """The dead letters of a deployment. Raises StackUnavailable when Kafka or its topics are not there."""
    names = [prefix + topics.dead_letters_of(name) for name in topics.REQUESTS]
    async with clients.admin(brokers) as admin:
        described = await admin.describe_topics(names)
    partitions = {one["topic"]: len(one["partitions"]) for one in described if one["error_code"] == 0}
    missing = sorted(set(names) - partitions.keys())
    if missing:
        raise StackUnavailable(f"Kafka has no topic {missing[0]}: run codewell topics.")
    consumer = AIOKafkaConsumer(
        **Brokers.of(brokers).client_options(),
        enable_auto_commit=False,
        # A seek to the beginning may be overtaken by the consumer's own look for where to start.
        auto_offset_reset="earliest",
        request_timeout_ms=clients.REQUEST_TIMEOUT_MS,
    )
    try:
        try:
            await asyncio.wait_for(consumer.start(), clients.EXCHANGE_TIMEOUT_S)
        except (KafkaError, TimeoutError) as error:
            raise await why_not(brokers) from error
        yield DeadLetters(consumer, prefix, partitions)
    finally:
        await asyncio.shield(consumer.stop())


async def replay(
    producer: AIOKafkaProducer, prefix: str, found: Iterable[DeadLetter], partitions: dict[str, int]
) -> None:
    """Publish the events of these letters again as they came, on the partitions they came on, and wait for it.

    `partitions` counts those of each request topic. Raises what aiokafka raises.
    """
    batches = Batches(producer)
    for letter in found:
        kept = [(name, value) for name, value in letter.record.headers if name not in _OURS]
        partition = _came_on(letter.record) % partitions[letter.request_topic]
        batches.add(prefix + letter.request_topic, partition, letter.record.key, letter.record.value, kept)
    await batches.send()


async def partitions_of(producer: AIOKafkaProducer, prefix: str) -> dict[str, int]:
    """How many partitions each request topic has."""
    return {name: len(await producer.partitions_for(prefix + name)) for name in topics.REQUESTS}


async def _records(consumer: AIOKafkaConsumer, tp: TopicPartition) -> AsyncIterator[ConsumerRecord]:
    consumer.assign([tp])
    try:
        end = (await consumer.end_offsets([tp]))[tp]
        while await asyncio.wait_for(consumer.position(tp), clients.EXCHANGE_TIMEOUT_S) < end:
            fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=1_000)
            for record in fetched.get(tp, []):
                if record.offset < end:
                    yield record
    except (KafkaError, TimeoutError) as error:
        raise StackUnavailable(f"Kafka did not give the dead letters of {tp.topic} ({error!r}): try again.") from error


def _letter(request_topic: str, record: ConsumerRecord) -> DeadLetter:
    headers = dict(record.headers)

    def text(name: str) -> str | None:
        value = headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")

    written_at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return DeadLetter(
        request_topic, text("codewell_reason") or "?", text("codewell_detail") or "?", text("ce_id"), written_at, record
    )


def _came_on(record: ConsumerRecord) -> int:
    number = dict(record.headers).get("codewell_partition") or b""
    return int(number) if number.isdigit() else int(record.partition)
