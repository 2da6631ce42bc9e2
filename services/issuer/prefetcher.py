"""Read ahead: records are fetched and decoded while the batch before them is being decided."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from codewell.infra.kafka.broker_watchdog import BrokerWatchdog
from services.issuer.batch import DecodedBatch

IDLE_S: Final = 0.5
# After so many records the decision in hand gets its turn again: two milliseconds' work.
RECORDS_PER_FETCH_MAX: Final = 250
# Records may be large, and four thousand of them more than a small machine has.
BYTES_MAX: Final = 16 * 1024 * 1024

Reader = Callable[[Iterable[ConsumerRecord]], DecodedBatch]


class FetchedPart(NamedTuple):
    """What was read of one partition in one fetch."""

    tp: TopicPartition
    read: DecodedBatch
    next_offset: int
    newest_ms: int

    @classmethod
    def of(cls, tp: TopicPartition, records: Sequence[ConsumerRecord], reader: Reader) -> Self:
        """Read these records, of which there is at least one."""
        return cls(tp, reader(records), records[-1].offset + 1, max(record.timestamp for record in records))


class _Fetch(NamedTuple):
    generation: int
    parts: list[FetchedPart]
    size_bytes: int
    error: Exception | None


class Prefetcher:
    """Reads up to one batch ahead of what is being decided, from one rebalance to the next.

    What was read before a rebalance is forgotten with it, whoever has the partition afterwards: its owner begins at the
    committed offset. Were a part of it used, offsets could be committed past another part that was not.
    """

    def __init__(self, consumer: AIOKafkaConsumer, reader: Reader, records_max: int) -> None:
        self._consumer = consumer
        self._reader = reader
        self._per_fetch_max = min(RECORDS_PER_FETCH_MAX, records_max)
        self._fetches: asyncio.Queue[_Fetch] = asyncio.Queue(records_max // self._per_fetch_max)
        self._held_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._reading: asyncio.Task[None] | None = None
        # Kept when the wait for it ends: a task that is cancelled could take a fetch with it.
        self._next: asyncio.Task[_Fetch] | None = None
        self.generation = 0
        """How many rebalances there were. Parts of an earlier generation are not to be used."""
        self.watchdog = BrokerWatchdog(consumer)

    def resume(self) -> None:
        """Read on from where the partitions that are assigned now stand."""
        self.watchdog.rebalance_ended()
        self._reading = asyncio.create_task(self._read_on(self.generation))

    async def forget(self) -> None:
        """Stop reading and forget what was read; twice does no harm."""
        self.generation += 1
        self.watchdog.rebalance_started()
        await _end(self._reading)

    async def close(self) -> None:
        """Forget everything and wait for nothing more."""
        await self.forget()
        await _end(self._next)

    async def take(self) -> tuple[int, list[FetchedPart]]:
        """The era, and all that has been read in it since the last call; nothing after IDLE_S without a record.

        Raises what aiokafka raised while reading, and TimeoutError when no broker has said anything for long.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._fetches.get())
        await asyncio.wait((self._next,), timeout=IDLE_S)
        if not self._next.done():
            self.watchdog.check()
            return self.generation, []
        fetches, self._next = [self._next.result()], None
        while not self._fetches.empty():
            fetches.append(self._fetches.get_nowait())
        self._hold(-sum(fetch.size_bytes for fetch in fetches))
        parts: list[FetchedPart] = []
        for fetch in fetches:
            if fetch.generation != self.generation:
                continue
            if fetch.error is not None:
                raise fetch.error
            parts += fetch.parts
        return self.generation, parts

    async def _read_on(self, generation: int) -> None:
        while True:
            await self._has_room.wait()
            try:
                fetched = await self._consumer.getmany(timeout_ms=int(IDLE_S * 1000), max_records=self._per_fetch_max)
                self.watchdog.record_fetch(records=bool(fetched))
                parts = [FetchedPart.of(tp, records, self._reader) for tp, records in fetched.items()]
            except Exception as error:  # noqa: BLE001  whoever takes decides what is to be done about it
                await self._fetches.put(_Fetch(generation, [], 0, error))
                return
            if parts:
                size = sum(len(record.value or b"") for records in fetched.values() for record in records)
                await self._fetches.put(_Fetch(generation, parts, size, None))
                self._hold(size)
            # A fetch that is served from memory does not give way by itself.
            await asyncio.sleep(0)

    def _hold(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        if self._held_bytes < BYTES_MAX:
            self._has_room.set()
        else:
            self._has_room.clear()


async def _end(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
