"""Publishes a backlog of requests, and counts their answers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID
from zlib import crc32

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from codewell.client.exchange import build_request
from codewell.infra.kafka.record_batches import RecordBatches
from codewell.infra.uuid7 import uuid7
from schemas import topics

TOPIC: Final = "message-render"
REPLY_TOPIC: Final = topics.reply_to(TOPIC)
PARTITIONS: Final = 24


class Backlog:
    """Requests for codes, one for each of so many profiles, built ahead and stored at once.

    All are for the one program, unless `wanted` names the programs of each by its number; `new_id` makes their ids.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        prefix: str,
        program: str,
        count: int,
        wanted: Callable[[int], Sequence[str]] | None = None,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        # One for each partition, as they are sent side by side.
        self._batches = [RecordBatches(producer) for _ in range(PARTITIONS)]
        for number in range(count):
            request = build_request(
                TOPIC,
                {"profile_id": f"p-{number}", "campaign_id": "spring", "message_id": f"m-{number}",
                 "programs": [program] if wanted is None else wanted(number)},
                new_id(),
            )  # fmt: skip
            # Any hash will do that sends a profile always to the same partition.
            partition = crc32(request.key) % PARTITIONS
            self._batches[partition].add(prefix + TOPIC, partition, request.key, request.value, request.headers)

    async def store(self) -> None:
        """Return when each request is in its topic. Raises what aiokafka raises."""
        await asyncio.gather(*(batches.send() for batches in self._batches))


class Answers:
    """Counts answers by the ends of the reply topic's partitions, without reading any."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str) -> None:
        self._consumer = consumer
        self._partitions = [TopicPartition(prefix + REPLY_TOPIC, number) for number in range(PARTITIONS)]

    async def count(self) -> int:
        """How many answers there are since the topic was made."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return sum(ends.values())
