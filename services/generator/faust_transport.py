"""Faust's transport over aiokafka, with the limits of our other consumers: Faust has no settings for them."""

from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from codewell.infra.kafka.clients import FETCH_BYTES_MAX, ISOLATION
from codewell.infra.kafka.partition_records import FaultyRecord
from services.generator.wake_ups import WAKE_UPS

log = structlog.get_logger()

# Faust buffers some hundred events of each partition; ours have a few hundred bytes.
EVENT_BYTES_MAX: Final = 16 * 1024


def _bytes_of(record: ConsumerRecord[bytes, bytes]) -> int:
    headers = sum(len(name) + len(content or b"") for name, content in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust chooses it by its own transactions, which we don't use.
        consumer._isolation_level = ISOLATION
        consumer._fetch_max_bytes = FETCH_BYTES_MAX
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: ConsumerRecord[bytes, bytes]) -> ConsumerMessage:
        """A faulty or large record becomes an empty event, which the agents step over."""
        why = record.fault if isinstance(record, FaultyRecord) else None
        if why is None and _bytes_of(record) > EVENT_BYTES_MAX:
            why = f"it has more than {EVENT_BYTES_MAX:,} bytes"
        if why is not None:
            WAKE_UPS.labels("unreadable").inc()
            log.warning("event_unreadable", topic=tp.topic, partition=tp.partition, offset=record.offset, why=why)
            record = ConsumerRecord(
                record.topic, record.partition, record.offset, record.timestamp, record.timestamp_type,
                None, None, None, -1, -1, (),
            )  # fmt: skip
        return super()._to_message(tp, record)


class Transport(driver.Transport):
    """The transport of the generator's application."""

    Consumer = _Consumer
