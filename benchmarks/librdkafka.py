"""A ceiling, not a product: the issuer's traffic with Kafka by librdkafka, without any code of the product.

It reads batches of the same size and decodes nothing, answers with as many bytes and headers, and commits offsets as
often, when the answers before them are acknowledged. What it costs does not change with the product.
"""

import signal
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks.backlog import REPLY_TOPIC, TOPIC
from benchmarks.bare_issuer import HEADERS, data
from codewell.infra.config.settings import read_settings
from services.issuer.offsets import COMMIT_INTERVAL_S
from services.issuer.settings import IssuerSettings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer

GROUP: Final = "librdkafka"
# How long a fetch waits for a full batch: the last one of a backlog is not full.
_POLL_S: Final = 0.01
# For whole batches of a partition, as the issuer sends them: with the default of 5, all cost more.
_LINGER_MS: Final = 25
_UNACKNOWLEDGED_MAX: Final = 20_000
_HEADERS: Final[list[tuple[str, str | bytes | None]]] = [*HEADERS]


class Answerer:
    """Answers batches. Raises KafkaException when a record is not read, or an answer not acknowledged."""

    def __init__(self, consumer: "Consumer", producer: "Producer", prefix: str) -> None:
        self._consumer = consumer
        self._producer = producer
        self._prefix = prefix
        self._value: bytes | None = None
        self._processed: dict[int, int] = {}
        self._committed_at = time.monotonic()

    def answer(self, records: Sequence[Any]) -> None:
        """Produce an answer to each message, and commit the offsets of earlier ones when that is due."""
        while len(self._producer) > _UNACKNOWLEDGED_MAX:
            self._producer.poll(_POLL_S)
        last = {record.partition(): record for record in records}
        for record in records:
            _check(record.error())
            if self._value is None:
                self._value = data(dict(record.headers() or ())["ce_id"], record.value())
            # Those of a partition are acknowledged in order: the last one of a batch stands for all.
            is_last = last[record.partition()] is record
            self._producer.produce(
                self._prefix + REPLY_TOPIC,
                self._value,
                record.key(),
                record.partition(),
                headers=_HEADERS,
                on_delivery=partial(self._acknowledged, record.partition(), record.offset()) if is_last else None,
            )
        self._producer.poll(0)
        if time.monotonic() - self._committed_at >= COMMIT_INTERVAL_S:
            self.commit()

    def commit(self) -> None:
        """Commit the offsets of the records whose answers are acknowledged."""
        from confluent_kafka import TopicPartition

        if self._processed:
            topic = self._prefix + TOPIC
            self._consumer.commit(offsets=[TopicPartition(topic, *one) for one in self._processed.items()])
            self._processed.clear()
        self._committed_at = time.monotonic()

    def _acknowledged(self, partition: int, offset: int, error: "KafkaError | None", _answer: object) -> None:
        _check(error)
        self._processed[partition] = offset + 1


def _check(error: "KafkaError | None") -> None:
    from confluent_kafka import KafkaException

    if error is not None:
        raise KafkaException(error)


def issue(settings: IssuerSettings) -> None:
    """Answer until SIGTERM."""
    from confluent_kafka import Consumer, Producer

    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stops.append(number))
    servers = {"bootstrap.servers": settings.kafka_bootstrap}
    producer = Producer({**servers, "acks": "all", "enable.idempotence": True, "linger.ms": _LINGER_MS})
    consumer = Consumer({
        **servers,
        "group.id": settings.topic_prefix + GROUP,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    })  # fmt: skip
    answerer = Answerer(consumer, producer, settings.topic_prefix)
    consumer.subscribe([settings.topic_prefix + TOPIC])
    while not stops:
        answerer.answer(consumer.consume(settings.batch_size_max, _POLL_S))
    producer.flush()
    answerer.commit()
    consumer.close()


if __name__ == "__main__":
    issue(read_settings(IssuerSettings))
