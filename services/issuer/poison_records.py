"""Records that aiokafka can't read: it takes the names of headers for UTF-8, and raises without saying where."""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from codewell.infra.kafka import clients

_POLL_MS: Final = 500


async def read_up_to_unreadable(
    consumer: AIOKafkaConsumer, tp: TopicPartition, records_max: int
) -> tuple[list[ConsumerRecord], ConsumerRecord | None]:
    """What can be read of one partition now, and a stand-in for the record behind it if that one can't be read."""
    async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
        start = await consumer.position(tp)
    try:
        fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=records_max)
        return fetched.get(tp, []), None
    except UnicodeDecodeError:
        consumer.seek(tp, start)
    records: list[ConsumerRecord] = []
    while True:
        try:
            fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=1)
            records += fetched.get(tp, [])
        except UnicodeDecodeError:
            offset = await consumer.position(tp)
            return records, ConsumerRecord(tp.topic, tp.partition, offset, 0, 0, None, None, None, -1, -1, ())
