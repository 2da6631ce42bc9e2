"""Publishes requests and collects answers as a campaign sender does, for the command line, the demo and the tests."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from pydantic_core import to_json

from codewell.errors import StackUnavailable
from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.diagnose import connect_error
from codewell.infra.uuid7 import uuid7
from schemas import events, topics

SOURCE = "/codewell/client"


class OutgoingRequest(NamedTuple):
    """A request that is ready to be published."""

    request_id: UUID
    topic: str
    """Topic without the deployment's prefix."""
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class ReceivedAnswer(NamedTuple):
    """One answer and its record."""

    event_id: str
    type: str
    data: dict[str, Any]
    record: ConsumerRecord


def build_request(topic: str, data: Mapping[str, object], request_id: UUID | None = None) -> OutgoingRequest:
    """Build a request in CloudEvents' binary mode, with its four required headers."""
    request_id = request_id or uuid7()
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(request_id).encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", topics.REQUEST_TYPE[topic].encode()),
    ]
    return OutgoingRequest(request_id, topic, str(data["profile_id"]).encode(), to_json(data), headers)


class Exchange:
    """Publishes to the request topics, and reads the reply topics from their end at the time of opening."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, prefix: str) -> None:
        self._producer = producer
        self._consumer = consumer
        self._prefix = prefix

    async def publish(self, requests: Iterable[OutgoingRequest]) -> None:
        """Publish all requests and wait for their acknowledgements. Raises what aiokafka raises."""
        sent = [
            await self._producer.send(
                self._prefix + request.topic, request.value, key=request.key, headers=request.headers
            )
            for request in requests
        ]
        await asyncio.gather(*sent)

    async def answers(self, timeout_s: float) -> AsyncIterator[ReceivedAnswer]:
        """Yield answers to all senders' requests as they arrive; ends after `timeout_s` (s) without one."""
        while fetched := await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=1_000):
            for records in fetched.values():
                for record in records:
                    yield _parse_answer(record)


def _parse_answer(record: ConsumerRecord) -> ReceivedAnswer:
    headers = dict(record.headers)
    value = json.loads(record.value)
    if headers["content-type"].startswith(b"application/cloudevents+json"):
        return ReceivedAnswer(value["id"], value["type"], value["data"], record)
    return ReceivedAnswer(headers["ce_id"].decode(), headers["ce_type"].decode(), value, record)


@asynccontextmanager
async def open_exchange(
    kafka_config: KafkaConfig | str, prefix: str, *, from_start: bool = False
) -> AsyncIterator[Exchange]:
    """An open exchange. Raises StackUnavailable if Kafka is unavailable."""
    async with clients.started_producer(kafka_config) as producer:
        consumer = AIOKafkaConsumer(
            **KafkaConfig.parse(kafka_config).client_options(),
            enable_auto_commit=False,
            # The consumer's own offset reset may override a seek.
            auto_offset_reset="earliest" if from_start else "latest",
            request_timeout_ms=clients.REQUEST_TIMEOUT_MS,
        )
        try:
            try:
                await _assign(consumer, producer, prefix)
            except UnknownTopicOrPartitionError as error:
                missing = f"{prefix}{topics.reply_to(topics.REQUESTS[0])}"
                raise StackUnavailable(f"Kafka has no topic {missing}: run codewell topics.") from error
            except KafkaError as error:
                raise await connect_error(kafka_config) from error
            yield Exchange(producer, consumer, prefix)
        finally:
            await asyncio.shield(consumer.stop())


async def _assign(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, prefix: str) -> None:
    await consumer.start()
    partitions = [
        TopicPartition(topic, partition)
        for topic in (prefix + topics.reply_to(name) for name in topics.REQUESTS)
        for partition in await producer.partitions_for(topic)
    ]
    consumer.assign(partitions)
    # Start offsets are resolved lazily; asking for the positions fixes them before anything is published.
    await asyncio.gather(*(consumer.position(partition) for partition in partitions))


async def publish_program_changed(producer: AIOKafkaProducer, prefix: str, program_id: int, name: str) -> bool:
    """Notify the generator that a program was created or changed. Returns False if Kafka failed; a sweep finds it."""
    changed = events.ProgramChanged(program_id=program_id, name=name)
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(uuid7()).encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", events.PROGRAM_CHANGED.encode()),
        ("content-type", b"application/json"),
    ]
    try:
        await producer.send_and_wait(
            prefix + topics.PROGRAM_CHANGED, to_json(changed), key=str(program_id).encode(), headers=headers
        )
    except KafkaError:
        return False
    return True
