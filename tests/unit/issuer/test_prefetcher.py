"""What is read ahead has a limit in bytes, and few records are fetched once a batch."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from codewell.infra.kafka.batch_reader import ParsedRecord
from codewell.infra.kafka.partition_records import Record
from services.issuer import prefetcher as prefetcher_module
from services.issuer.batch import DecodedBatch
from services.issuer.prefetcher import BUFFERED_BYTES_MAX, RECORDS_PER_FETCH_MAX, Prefetcher

A = TopicPartition("message-render", 0)
VALUE = bytes(256 * 1024)
ROUNDS = 1_000


class Consumer:
    """Has more large records however many were read."""

    def __init__(self) -> None:
        self.read = 0
        self._subscription = SimpleNamespace(subscription=None)
        self.is_held = False
        self._fetcher = self

    def hold(self) -> None:
        self.is_held = True

    def release(self) -> None:
        self.is_held = False

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


class FewRecords(Consumer):
    """Has as many records for each fetch as it is told, and no response of a broker."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: asyncio.Queue[int] = asyncio.Queue()
        self.empty = 0

    async def getmany(self, **_: int) -> dict[TopicPartition, list[Record]]:
        try:
            count = await asyncio.wait_for(self.counts.get(), prefetcher_module.POLL_TIMEOUT_S)
        except TimeoutError:
            self.empty += 1
            return {}
        self.read += count
        return {A: [Record(A, ParsedRecord(number, 0, b"p-1", b"{}")) for number in range(count)]}

    def last_poll_timestamp(self, _: TopicPartition) -> int:
        return 0


async def fetched(consumer: FewRecords, count: int) -> None:
    """Hand out a fetch of so many records, and wait until it is read."""
    read = consumer.read + count
    consumer.counts.put_nowait(count)
    while consumer.read < read:
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_few_records_are_fetched_once_a_batch() -> None:
    consumer = FewRecords()
    prefetcher = Prefetcher(consumer, read, 1_000)
    prefetcher.resume()
    await fetched(consumer, 3)
    assert consumer.is_held
    prefetcher.fetch_on()
    assert not consumer.is_held
    await fetched(consumer, 3)
    assert consumer.is_held
    # What is fetched already is a batch: the next fetch is due once that is decided.
    assert len((await prefetcher.drain())[1]) == 2
    assert consumer.is_held
    waiting = asyncio.create_task(prefetcher.drain())
    await asyncio.sleep(0)
    assert not consumer.is_held
    consumer.counts.put_nowait(1)
    await waiting
    await prefetcher.close()


async def test_of_many_records_more_are_fetched_while_a_batch_is_decided() -> None:
    consumer = FewRecords()
    prefetcher = Prefetcher(consumer, read, 1_000)
    prefetcher.resume()
    prefetcher.fetch_on()
    await fetched(consumer, RECORDS_PER_FETCH_MAX)
    assert not consumer.is_held
    await prefetcher.close()


async def test_a_new_assignment_is_fetched_at_once() -> None:
    consumer = FewRecords()
    prefetcher = Prefetcher(consumer, read, 1_000)
    prefetcher.resume()
    await fetched(consumer, 3)
    await prefetcher.discard()
    assert consumer.is_held
    prefetcher.resume()
    assert not consumer.is_held
    await prefetcher.close()


async def test_brokers_that_are_not_asked_are_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetcher_module, "POLL_TIMEOUT_S", 0.01)
    consumer = FewRecords()
    prefetcher = Prefetcher(consumer, read, 1_000)
    prefetcher.resume()
    await fetched(consumer, 3)
    await prefetcher.drain()
    empty = consumer.empty
    while consumer.empty < empty + 3:
        await asyncio.sleep(0.01)
    assert prefetcher.watchdog.silence_s == 0
    prefetcher.fetch_on()
    while prefetcher.watchdog.silence_s == 0:
        await asyncio.sleep(0.01)
    await prefetcher.close()
