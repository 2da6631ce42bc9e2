"""A producer that records its messages instead of sending them."""

import asyncio
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch

from codewell.infra.kafka.record_encoding import RecordBatch


class Kept(NamedTuple):
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class RecordingProducer:
    def __init__(self) -> None:
        self.kept: dict[str, list[Kept]] = {}

    async def send_batch(self, batch: RecordBatch, topic: str, partition: int) -> asyncio.Future[None]:
        self.kept.setdefault(topic, []).extend(
            Kept(partition, record.key, record.value, record.headers) for record in DefaultRecordBatch(batch._build())
        )
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent
