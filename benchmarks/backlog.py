"""Publishes a backlog of requests, and counts its answers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID
from zlib import crc32

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from codewell.client.exchange import build_request
from codewell.infra.kafka.record_batches import RecordBatches
from codewell.infra.kafka.record_encoding import encode_headers
from codewell.infra.uuid7 import uuid7
from schemas import topics

TOPIC: Final = "message-render"
REPLY_TOPIC: Final = topics.reply_to(TOPIC)
PARTITIONS: Final = 24


class Backlog:
    """Requests for codes, one for each of `count` profiles, built ahead and published at once.

    All request the one program, unless `wanted` returns the programs of each by its number; `new_id` makes their ids.
    `data` returns the whole request by its number instead, and `topic` is its topic, with so many `partitions`.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        prefix: str,
        program: str,
        count: int,
        wanted: Callable[[int], Sequence[str]] | None = None,
        new_id: Callable[[], UUID] = uuid7,
        data: Callable[[int], Mapping[str, object]] | None = None,
        topic: str = TOPIC,
        partitions: int = PARTITIONS,
    ) -> None:
        # One list for each partition, as partitions are sent concurrently.
        self._batches = [RecordBatches(producer) for _ in range(partitions)]
        for number in range(count):
            asked = data(number) if data is not None else {
                "profile_id": f"p-{number}", "campaign_id": "spring", "message_id": f"m-{number}",
                "programs": [program] if wanted is None else wanted(number),
            }  # fmt: skip
            request = build_request(topic, asked, new_id())
            # Any hash works that always maps a profile to the same partition.
            partition = crc32(request.key) % partitions
            self._batches[partition].add(
                prefix + topic, partition, request.key, request.value, encode_headers(request.headers)
            )

    async def store(self) -> None:
        """Return when each request is acknowledged. Raises what aiokafka raises."""
        await asyncio.gather(*(batches.send() for batches in self._batches))


class Answers:
    """Counts answers by the end offsets of the reply topic's partitions, without consuming them."""

    def __init__(
        self, consumer: AIOKafkaConsumer, prefix: str, topic: str = TOPIC, partitions: int = PARTITIONS
    ) -> None:
        self._consumer = consumer
        self._partitions = [TopicPartition(prefix + topics.reply_to(topic), number) for number in range(partitions)]

    async def count(self) -> int:
        """The number of answers since the topic was created."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return sum(ends.values())
