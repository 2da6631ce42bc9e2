"""The ceilings must do the product's work with Kafka, or the comparison means nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from aiokafka import ConsumerRecord
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from benchmarks import bare_issuer
from benchmarks.librdkafka import Answerer
from benchmarks.tests.unit.recording import Kept, RecordingProducer
from codewell.client.exchange import build_request
from codewell.issuing.model import AnswerRow
from schemas.events import MESSAGE_RENDER
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.decode import Decoder
from tests.support.records import decoded_headers

TOPIC = "message-render"
REPLY_TOPIC = "message-render.reply"


def request() -> ConsumerRecord:
    data = {"profile_id": "p-1", "campaign_id": "spring", "message_id": "m-1", "programs": ["SPRING"]}
    sent = build_request(TOPIC, data)
    return ConsumerRecord(TOPIC, 3, 0, 0, 0, sent.key, sent.value, None, 0, 0, tuple(sent.headers))


async def product_answer(record: ConsumerRecord) -> Kept:
    received = Decoder({TOPIC: MESSAGE_RENDER}, frozenset()).decode(record)
    expires_at = datetime(2026, 12, 23, 0, 0, 0, 123456, tzinfo=UTC)
    row = AnswerRow(
        received.request.id, 0, 1, 1, 0, False, False, "p-1", "abCd-1234-EFGH", expires_at, None, None, expires_at
    )  # fmt: skip
    producer = RecordingProducer()
    publisher = BatchPublisher(producer, {REPLY_TOPIC: 24})
    publisher.answer(received, [row], {1: "SPRING"})
    await publisher.flush()
    [kept] = producer.kept[REPLY_TOPIC]
    return kept


async def test_an_answer_without_a_database_is_as_long_and_has_the_same_headers() -> None:
    record = request()

    product = await product_answer(record)
    value, headers = bare_issuer.answer(record)

    assert len(value) == len(product.value)
    assert {name: len(text) for name, text in decoded_headers(headers)} == {
        name: len(text) for name, text in product.headers
    }


def test_an_answer_without_a_database_names_its_request() -> None:
    record = request()

    value, headers = bare_issuer.answer(record)

    request_id = dict(record.headers)["ce_id"].decode()
    assert UUID(request_id).version == 7
    assert request_id in value.decode()
    assert dict(decoded_headers(headers))["ce_id"].decode() == request_id


class Produced:
    """A producer of librdkafka that keeps what it gets; a test acknowledges it."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, bytes, bytes, int, list[tuple[str, bytes]]]] = []
        self.acknowledge: list[Callable[[KafkaError | None, Any], None]] = []

    def __len__(self) -> int:
        return 0

    def poll(self, _timeout: float) -> None:
        """All is acknowledged by the test."""

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, *, headers: Any, on_delivery: Any) -> None:
        self.answers.append((topic, value, key, partition, headers))
        if on_delivery is not None:
            self.acknowledge.append(on_delivery)


class Committed:
    def __init__(self) -> None:
        self.offsets: list[TopicPartition] = []

    def commit(self, *, offsets: list[TopicPartition]) -> None:
        self.offsets += offsets


def answerer(consumer: Any, producer: Any) -> Answerer:
    return Answerer(consumer, producer, "run.")


def message(partition: int, offset: int) -> Any:
    record = request()
    fields = {
        "error": None, "partition": partition, "offset": offset, "key": record.key, "value": record.value,
        "headers": list(record.headers),
    }  # fmt: skip
    return SimpleNamespace(**{name: lambda field=field: field for name, field in fields.items()})


async def test_an_answer_of_librdkafka_is_as_long_and_has_the_same_headers() -> None:
    product = await product_answer(request())
    producer = Produced()

    answerer(Committed(), producer).answer([message(3, 0)])

    [(topic, value, key, partition, headers)] = producer.answers
    assert (topic, len(value), key, partition) == (f"run.{REPLY_TOPIC}", len(product.value), b"p-1", 3)
    assert [(name, len(text)) for name, text in headers] == [(name, len(text)) for name, text in product.headers]


def test_librdkafka_commits_what_is_acknowledged_and_nothing_else() -> None:
    producer, consumer = Produced(), Committed()
    one = answerer(consumer, producer)
    one.answer([message(3, 10), message(5, 20), message(3, 11)])
    assert len(producer.answers) == 3

    one.commit()
    assert consumer.offsets == []

    # That of partition 5 is before the last one of partition 3.
    producer.acknowledge[0](None, None)
    one.commit()
    assert consumer.offsets == [TopicPartition(f"run.{TOPIC}", 5, 21)]

    producer.acknowledge[1](None, None)
    one.commit()
    assert [(place.partition, place.offset) for place in consumer.offsets] == [(5, 21), (3, 12)]


def test_librdkafka_ends_when_an_answer_is_not_acknowledged() -> None:
    producer = Produced()
    answerer(Committed(), producer).answer([message(3, 10)])

    with pytest.raises(KafkaException):
        producer.acknowledge[0](KafkaError(KafkaError._MSG_TIMED_OUT), None)
