"""Publishes requests and collects answers as a campaign sender does, for the command line, the demo and the tests."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from pydantic_core import to_json

from codewell.errors import StackUnavailable
from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.diagnose import connect_error
from codewell.infra.kafka.partition_records import FaultyRecord
from codewell.infra.uuid7 import uuid7
from schemas import events, topics

SOURCE = "/codewell/client"
# Of each answer's data.
_MEMBERS: Final = frozenset({"request_id", "profile_id", "outcome"})


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
        """Yield answers to all senders' requests as they arrive; ends after `timeout_s` (s) without any record.

        Skips records that are no answers.
        """
        while fetched := await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=1_000):
            for records in fetched.values():
                for record in records:
                    if isinstance(record, FaultyRecord):
                        continue
                    try:
                        answer = _parse_answer(record)
                    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                        continue
                    yield answer


def _parse_answer(record: ConsumerRecord) -> ReceivedAnswer:
    """The answer. Raises what the reading of anything else raises."""
    headers = dict(record.headers)
    value = json.loads(record.value)
    if headers["content-type"].startswith(b"application/cloudevents+json"):
        answer = ReceivedAnswer(value["id"], value["type"], value["data"], record)
    else:
        answer = ReceivedAnswer(headers["ce_id"].decode(), headers["ce_type"].decode(), value, record)
    if answer.data.keys() >= _MEMBERS:
        return answer
    raise ValueError("The data is no answer's.")


@asynccontextmanager
async def open_exchange(
    kafka_config: KafkaConfig | str, prefix: str, *, from_start: bool = False
) -> AsyncIterator[Exchange]:
    """An open exchange. Raises StackUnavailable if Kafka is unavailable."""
    async with clients.started_producer(kafka_config) as producer:
        consumer = clients.reader(kafka_config, from_start=from_start, follows=True)
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
    record = program_event(SOURCE, events.PROGRAM_CHANGED, program_id, changed)
    return await _publish(producer, prefix + topics.PROGRAM_CHANGED, record)


async def publish_pool_demand(producer: AIOKafkaProducer, prefix: str, program_id: int, pooled: int) -> bool:
    """Ask the generator to fill a pool with `pooled` codes left. Returns False if Kafka failed; a sweep finds it."""
    return await _publish(producer, prefix + topics.POOL_DEMAND, pool_demand(SOURCE, program_id, pooled))


def pool_demand(source: str, program_id: int, pooled: int) -> dict[str, Any]:
    """The record of a pool demand as keyword arguments of a producer's `send`; `source` is who found the pool low."""
    demand = events.PoolDemand(program_id=program_id, pooled=pooled)
    return program_event(source, events.POOL_DEMAND, program_id, demand)


def program_event(
    source: str, kind: str, program_id: int, data: events.Event, event_id: UUID | None = None
) -> dict[str, Any]:
    """The record of an event about a program, keyed by it, as keyword arguments of a producer's `send`."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event_id or uuid7()).encode()),
        ("ce_source", source.encode()),
        ("ce_type", kind.encode()),
        ("content-type", b"application/json"),
    ]
    return {"value": to_json(data), "key": str(program_id).encode(), "headers": headers}


async def _publish(producer: AIOKafkaProducer, topic: str, record: Mapping[str, Any]) -> bool:
    try:
        await producer.send_and_wait(topic, **record)
    except KafkaError:
        return False
    return True
