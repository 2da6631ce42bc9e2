"""Publishes the stream's events: what a partition already has is not published again."""

from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.record_batches import RecordBatches
from codewell.infra.kafka.record_encoding import encode_headers
from codewell.lifecycle.drafts import EventDraft, moment_of
from codewell.lifecycle.pseudonyms import Pseudonyms
from codewell.lifecycle.records import SEQUENCE_HEADER, StreamPlace, event_id, headers_of, partitions_of, value_of
from codewell.webhooks import WebhookEvent

_READ_TIMEOUT_S: Final = 20.0


class Placed(NamedTuple):
    """An event with its sequence, where its commit is in the log, and when that was (us since 2000)."""

    draft: EventDraft
    sequence: str
    lsn: int
    at: int


class TopicEnds(NamedTuple):
    """How a topic ends: the sequence of the last record of each partition, empty where there is none."""

    last: Mapping[int, str]
    is_new: bool
    """No partition has ever had a record."""


class Publisher:
    """Publishes to one topic, of whose partitions it knows how they ended when it began."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, ends: TopicEnds) -> None:
        self._batches = RecordBatches(producer)
        self._topic = topic
        self._last: Mapping[int, str] = ends.last
        self.is_new_topic = ends.is_new
        """Whether the topic has never had a record."""

    @property
    def last(self) -> StreamPlace | None:
        """The last place in any partition."""
        places = [text for text in self._last.values() if text]
        return StreamPlace.parse(max(places)) if places else None

    async def publish(self, events: Sequence[Placed], named: Pseudonyms) -> Mapping[str, int]:
        """Publish events, in order, and return how many of each type were new. Raises what RecordBatches.send raises.

        After an error, read the last sequences again: some partitions may have them.
        """
        counts: Tally[str] = Tally()
        last = {**self._last}
        for event in events:
            draft, sequence, lsn, at = event
            value = b""
            for partition in partitions_of(draft, len(last)):
                if sequence > last[partition]:
                    value = value or value_of(draft, lsn, named).encode()
                    headers = headers_of(draft.type, sequence, at)
                    self._batches.add(self._topic, partition, draft.key.encode(), value, encode_headers(headers))
                    last[partition] = sequence
                    counts[draft.type] += 1
        await self._batches.send()
        self._last = last
        return counts


def profiles_of(events: Iterable[Placed]) -> dict[str, int]:
    """The profiles in these events, with the place in the log of the last event about each."""
    return {one.draft.profile_id: one.lsn for one in events if one.draft.profile_id is not None}


def webhook_events(events: Iterable[Placed], named: Pseudonyms) -> Iterator[WebhookEvent]:
    """The events about programs and codes as webhooks take them."""
    for draft, sequence, lsn, at in events:
        value = value_of(draft, lsn, named)
        yield WebhookEvent(UUID(event_id(sequence)), draft.type, moment_of(at), draft.program_id, value)


@asynccontextmanager
async def publisher(kafka_config: KafkaConfig | str, topic: str) -> AsyncIterator[Publisher]:
    """A publisher that knows what the topic has. Raises StackUnavailable and what aiokafka raises."""
    async with clients.started_producer(kafka_config) as producer:
        numbers = sorted(await producer.partitions_for(topic))
        yield Publisher(producer, topic, await topic_ends(kafka_config, topic, numbers))


async def topic_ends(kafka_config: KafkaConfig | str, topic: str, numbers: Sequence[int]) -> TopicEnds:
    """How these partitions of a topic end."""
    reader = clients.reader(kafka_config, from_start=True)
    await reader.start()
    try:
        return await _topic_ends(reader, topic, numbers)
    finally:
        await clients.stop(reader)


async def _topic_ends(reader: AIOKafkaConsumer, topic: str, numbers: Sequence[int]) -> TopicEnds:
    partitions = [TopicPartition(topic, number) for number in numbers]
    reader.assign(partitions)
    begins, ends = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
    found = dict.fromkeys(numbers, "")
    left = {one for one in partitions if ends[one] > begins[one]}
    reader.assign(list(left))
    for one in left:
        reader.seek(one, ends[one] - 1)
    while left:
        records = await reader.getmany(timeout_ms=int(_READ_TIMEOUT_S * 1000))
        if not records:
            raise TimeoutError(f"the last records of {topic} could not be read")
        for partition, some in records.items():
            headers = dict(some[-1].headers)
            found[partition.partition] = (headers.get(SEQUENCE_HEADER) or b"").decode()
            if some[-1].offset >= ends[partition] - 1:
                left.discard(partition)
    return TopicEnds(found, not any(ends.values()))
