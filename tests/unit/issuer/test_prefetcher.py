"""What is read ahead has a limit in bytes too: four thousand large records are more than a small machine has."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from codewell.infra.kafka.batch_reader import ParsedRecord
from codewell.infra.kafka.partition_records import Record
from services.issuer.batch import DecodedBatch
from services.issuer.prefetcher import BUFFERED_BYTES_MAX, Prefetcher

A = TopicPartition("message-render", 0)
VALUE = bytes(256 * 1024)
ROUNDS = 1_000


class Consumer:
    """Has more large records however many were read."""

    def __init__(self) -> None:
        self.read = 0
        self._subscription = SimpleNamespace(subscription=None)

    async def getmany(self, **_: int) -> dict[TopicPartition, list[Record]]:
        self.read += 1
        return {A: [Record(A, ParsedRecord(self.read, 0, b"p-1", VALUE))]}

    def assignment(self) -> set[TopicPartition]:
        return {A}

    def last_poll_timestamp(self, _: TopicPartition) -> int:
        return self.read


def read(_: Iterable[Record]) -> DecodedBatch[Any]:
    return DecodedBatch([], [])


async def test_large_records_are_not_read_without_end() -> None:
    consumer = Consumer()
    prefetcher = Prefetcher(consumer, read, 4_000_000)
    prefetcher.resume()
    for taken in range(1, 4):
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert consumer.read == taken * BUFFERED_BYTES_MAX // len(VALUE)
        _, parts = await prefetcher.drain()
        assert len(parts) == BUFFERED_BYTES_MAX // len(VALUE)
    await prefetcher.close()
