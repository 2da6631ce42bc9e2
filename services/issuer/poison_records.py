"""Locates poison records: aiokafka decodes header names as UTF-8 and raises without the offset when one is not."""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from codewell.infra.kafka import clients

_POLL_MS: Final = 500


async def read_up_to_poison_record(
    consumer: AIOKafkaConsumer, tp: TopicPartition, records_max: int
) -> tuple[list[ConsumerRecord], ConsumerRecord | None]:
    """Fetch from one partition up to its first poison record: the records before it, and a placeholder for it."""
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
