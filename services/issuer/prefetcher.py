"""Prefetches: records are fetched and decoded while the previous batch is decided."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from codewell.infra.kafka.broker_watchdog import BrokerWatchdog
from codewell.infra.kafka.header_memory import HeaderMemory
from codewell.infra.kafka.positions import Positions

POLL_TIMEOUT_S: Final = 0.5
# Records decoded before control returns to the event loop, so that the concurrent claim makes progress; some 2 ms.
RECORDS_PER_FETCH_MAX: Final = 400
# Limits the memory of the buffer: 4,000 large records may exceed a small machine's.
BUFFERED_BYTES_MAX: Final = 16 * 1024 * 1024

B = TypeVar("B")
DecodeRecords: TypeAlias = Callable[[Sequence[ConsumerRecord]], B]
"""What makes a batch of some records."""


class FetchedPartition(NamedTuple, Generic[B]):
    """Decoded records of one partition, from one fetch; none, where only the position moved."""

    tp: TopicPartition
    batch: B
    next_offset: int
    newest_ms: int


def _decoded(
    tp: TopicPartition, records: Sequence[ConsumerRecord], next_offset: int, decode: DecodeRecords[B]
) -> FetchedPartition[B]:
    """Decode these records. `next_offset` is the position after them."""
    return FetchedPartition(
        tp, decode(records), next_offset, max((record.raw.timestamp for record in records), default=0)
    )


class _Fetch(NamedTuple, Generic[B]):
    generation: int
    parts: list[FetchedPartition[B]]
    size_bytes: int
    error: Exception | None


class Prefetcher(Generic[B]):
    """Fetches up to one batch ahead of the batch that is decided.

    A rebalance discards all prefetched records, as each partition's owner resumes at the committed offset. Using some
    of them could commit an offset past others that were not processed.
    """

    def __init__(self, consumer: AIOKafkaConsumer, decode: DecodeRecords[B], records_max: int) -> None:
        self._consumer = consumer
        self._decode = decode
        self._per_fetch_max = min(RECORDS_PER_FETCH_MAX, records_max)
        self._fetches: asyncio.Queue[_Fetch[B]] = asyncio.Queue(records_max // self._per_fetch_max)
        self._buffered_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        # Records fetched since `fetch_on`. While they are few, one fetch a batch costs less than one for each of them.
        self._fetched = 0
        self._fetch_task: asyncio.Task[None] | None = None
        # Survives a timed-out wait: cancelling the task could lose the fetch that it has just taken from the queue.
        self._get_task: asyncio.Task[_Fetch[B]] | None = None
        self.generation = 0
        """Number of rebalances so far. Fetches of an earlier generation are discarded."""
        self.watchdog = BrokerWatchdog(consumer)
        self._positions = Positions(consumer)

    def resume(self) -> None:
        """Start to fetch from the positions of the assigned partitions."""
        self.watchdog.rebalance_ended()
        self.fetch_on()
        self._fetch_task = asyncio.create_task(self._fetch_loop(self.generation))

    def fetch_on(self) -> None:
        """Fetch the records that have come since the last fetch. `drain` does it too."""
        self._fetched = 0
        self._consumer._fetcher.release()

    async def discard(self) -> None:
        """Stop fetching and discard prefetched records. Idempotent."""
        self.generation += 1
        self.watchdog.rebalance_started()
        await _cancel(self._fetch_task)

    async def close(self) -> None:
        """Discard prefetched records and end all tasks."""
        await self.discard()
        await _cancel(self._get_task)

    async def drain(self) -> tuple[int, list[FetchedPartition[B]]]:
        """Return the generation and its records since the last call; an empty list after POLL_TIMEOUT_S without any.

        Raises what aiokafka raised while fetching, and TimeoutError when no broker has responded for too long.
        """
        if self._fetches.empty():
            self.fetch_on()
        if self._get_task is None:
            self._get_task = asyncio.create_task(self._fetches.get())
        await asyncio.wait((self._get_task,), timeout=POLL_TIMEOUT_S)
        if not self._get_task.done():
            self.watchdog.check()
            return self.generation, []
        fetches, self._get_task = [self._get_task.result()], None
        while not self._fetches.empty():
            fetches.append(self._fetches.get_nowait())
        self._add_buffered_bytes(-sum(fetch.size_bytes for fetch in fetches))
        parts: list[FetchedPartition[B]] = []
        for fetch in fetches:
            if fetch.generation != self.generation:
                continue
            if fetch.error is not None:
                raise fetch.error
            parts += fetch.parts
        return self.generation, parts

    async def _fetch_loop(self, generation: int) -> None:
        of_headers = HeaderMemory()
        while True:
            await self._has_room.wait()
            try:
                fetched = await self._consumer.getmany(
                    timeout_ms=int(POLL_TIMEOUT_S * 1000), max_records=self._per_fetch_max
                )
                self._fetched += sum(map(len, fetched.values()))
                if 0 < self._fetched < self._per_fetch_max:
                    self._consumer._fetcher.hold()
                self.watchdog.record_fetch(records=self._fetched > 0)
                parts = [
                    _decoded(tp, fetched.get(tp, ()), next_offset, self._decode)
                    for tp, next_offset in self._positions.after(fetched).items()
                ]
            except Exception as error:  # noqa: BLE001  `drain` raises it in the worker
                await self._fetches.put(_Fetch(generation, [], 0, error))
                return
            if parts:
                size = sum(len(record.raw.value or b"") for records in fetched.values() for record in records)
                size += of_headers.take()
                await self._fetches.put(_Fetch(generation, parts, size, None))
                self._add_buffered_bytes(size)
            # A fetch that is served from memory does not yield to the event loop by itself.
            await asyncio.sleep(0)

    def _add_buffered_bytes(self, size_bytes: int) -> None:
        self._buffered_bytes += size_bytes
        if self._buffered_bytes < BUFFERED_BYTES_MAX:
            self._has_room.set()
        else:
            self._has_room.clear()


async def _cancel(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
