"""What aiokafka's fetcher uses to read a partition's batches, with bounded memory and a mark on faulty records.

Its own classes unpack a whole batch at once, raise without an offset where a header's name is not UTF-8, and end the
consumer where a batch cannot be unpacked. `aiokafka_patch` puts these classes in their place, for Faust too.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from msgspec import Struct

from codewell.infra.kafka import header_memory
from codewell.infra.kafka.batch_reader import ParsedRecord, RecordRun, parse_leniently, runs
from codewell.infra.kafka.header_memory import HEADER_BYTES
from codewell.infra.kafka.unpacking import BatchHeader, CorruptBatch

# What one call of getmany may unpack, over all partitions. Uncompressed batches are limited by the fetch.
UNPACKED_BYTES_MAX: Final = 8 * 1024 * 1024
# The headers of a record that has more count as unpacked.
_HEADERS_FREE: Final = 64
_LENGTH_END: Final = 12
_LENGTH_START: Final = 8


class Record(Struct, frozen=True, gc=False):
    """The fields of ConsumerRecord, which takes eight times as long to make. What is read of most is in `raw`."""

    tp: TopicPartition
    raw: DefaultRecord | ParsedRecord

    @property
    def topic(self) -> str:
        """As in ConsumerRecord."""
        topic: str = self.tp.topic
        return topic

    @property
    def partition(self) -> int:
        """As in ConsumerRecord."""
        partition: int = self.tp.partition
        return partition

    @property
    def offset(self) -> int:
        """As in ConsumerRecord."""
        return self.raw.offset

    @property
    def timestamp(self) -> int:
        """As in ConsumerRecord."""
        return self.raw.timestamp

    @property
    def timestamp_type(self) -> int:
        """As in ConsumerRecord."""
        return self.raw.timestamp_type

    @property
    def checksum(self) -> int | None:
        """As in ConsumerRecord."""
        return self.raw.checksum

    @property
    def key(self) -> bytes | None:
        """As in ConsumerRecord."""
        return self.raw.key

    @property
    def value(self) -> bytes | None:
        """As in ConsumerRecord."""
        return self.raw.value

    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        """As in ConsumerRecord."""
        return tuple(self.raw.headers)

    @property
    def serialized_key_size(self) -> int:
        """As in ConsumerRecord."""
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self) -> int:
        """As in ConsumerRecord."""
        return -1 if self.value is None else len(self.value)


@dataclass
class FaultyRecord(ConsumerRecord[bytes, bytes]):
    """A record that cannot be read as it is. Its key, value and headers are what could be read of it, or empty.

    One that stands for the rest of a batch has the offset of the batch's last record.
    """

    fault: str = ""
    """The reason, to be read after "The record cannot be read:"."""

    @property
    def raw(self) -> "FaultyRecord":
        """As in Record."""
        return self


class FetchedBatches:
    """The record batches of one partition in one response: aiokafka's MemoryRecords, with access to their bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._whole = MemoryRecords(data)

    def has_next(self) -> bool:
        """Whether there is a whole batch."""
        return bool(self._whole.has_next())

    def size_in_bytes(self) -> int:
        """The size of the response's part (bytes)."""
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the whole batches; the last one of a response may be cut."""
        at = 0
        while at + _LENGTH_END <= len(self._data):
            length = int.from_bytes(self._data[at + _LENGTH_START : at + _LENGTH_END], "big")
            end = at + _LENGTH_END + length
            if end > len(self._data):
                return
            yield self._data[at:end]
            at = end


class _Allowance:
    """The bytes that the current call of getmany may still unpack."""

    def __init__(self) -> None:
        self.left_bytes = UNPACKED_BYTES_MAX


_allowance: Final[ContextVar[_Allowance]] = ContextVar("allowance")


def _count_headers(number: int) -> None:
    allowance = _allowance.get(None)
    if allowance is not None:
        allowance.left_bytes -= number * HEADER_BYTES
    header_memory.add(number)


FetchedRecords: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]


class PartitionRecords(fetcher.PartitionRecords):
    """The records of one partition in one response. No client of ours has deserializers."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[ConsumerRecord[bytes, bytes] | None]:
        for batch in self._records:
            try:
                header = BatchHeader.of(batch)
            except CorruptBatch as error:
                first = int.from_bytes(batch[:_LENGTH_START], "big")
                yield self._faulty(max(first, self.next_fetch_offset), str(error))
                continue
            if self._check_crcs and not DefaultRecordBatch(bytes(batch)).validate_crc():
                raise CorruptRecordException(f"Invalid CRC - {self._tp}")
            if not header.is_control and not self._is_aborted(header, batch):
                yield from self._records_of(header, batch)
            elif header.is_control:
                self._is_aborted(header, batch)
            # Also past the records that compaction has removed, and past markers.
            self.next_fetch_offset = max(self.next_fetch_offset, header.next_offset)

    def _is_aborted(self, header: BatchHeader, batch: memoryview) -> bool:
        """Follow the transactions of the partition; whether this batch belongs to an aborted one."""
        if self._isolation_level != fetcher.READ_COMMITTED:
            return False
        self._consume_aborted_up_to(header.base_offset)
        if header.is_control:
            if self._contains_abort_marker(DefaultRecordBatch(bytes(batch))):
                self._aborted_producers.discard(header.producer_id)
            return False
        return header.is_transactional and header.producer_id in self._aborted_producers

    def _records_of(self, header: BatchHeader, batch: memoryview) -> Iterator[ConsumerRecord[bytes, bytes] | None]:
        """Yield the records from the position on, and None where the call's allowance ends without one."""
        try:
            for run in runs(header, batch):
                before = self.next_fetch_offset
                # Another call may go on with the generator.
                allowance = _allowance.get(None)
                if allowance is not None:
                    allowance.left_bytes -= run.unpacked_bytes
                if run.records:
                    yield from self._records_of_run(header, run)
                if allowance is not None and allowance.left_bytes <= 0 and self.next_fetch_offset == before:
                    # Or a batch that is almost all skipped would hold up the event loop, and so the heartbeats.
                    yield None
        except CorruptBatch as error:
            last = max(header.next_offset - 1, self.next_fetch_offset)
            yield self._faulty(last, f"the rest of its batch with it: {error}")

    def _records_of_run(self, header: BatchHeader, run: RecordRun) -> Iterator[ConsumerRecord[bytes, bytes]]:
        parsed = 0
        try:
            if not run.is_too_large:
                tp = self._tp
                for record in DefaultRecordBatch(run.batch):
                    parsed += 1
                    offset = record.offset
                    # A response begins with the whole batch that holds the position.
                    if offset >= self.next_fetch_offset:
                        self.next_fetch_offset = offset + 1
                        if len(record.headers) > _HEADERS_FREE:
                            _count_headers(len(record.headers))
                        yield Record(tp, record)
                return
        except (ValueError, CorruptRecordException):
            # Among them: a header's name that is not UTF-8, which ends aiokafka's parser.
            pass
        for lenient in parse_leniently(header, run, parsed):
            if lenient.offset >= self.next_fetch_offset:
                self.next_fetch_offset = lenient.offset + 1
                _count_headers(len(lenient.headers))
                made = Record(self._tp, lenient)
                yield made if lenient.fault is None else FaultyRecord(
                    made.topic, made.partition, made.offset, made.timestamp, made.timestamp_type, made.key, made.value,
                    None, made.serialized_key_size, made.serialized_value_size, made.headers, lenient.fault,
                )  # fmt: skip

    def _faulty(self, offset: int, fault: str) -> FaultyRecord:
        self.next_fetch_offset = offset + 1
        return FaultyRecord(self._tp.topic, self._tp.partition, offset, 0, 0, None, None, None, -1, -1, (), fault)


def getall(result: Any, max_records: int | None = None) -> list[ConsumerRecord[bytes, bytes]]:
    """FetchResult.getall that also ends when the call's allowance is used up; the next call goes on from there."""
    allowance = _allowance.get()
    if allowance.left_bytes <= 0 or not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    taken: list[ConsumerRecord[bytes, bytes]] = []
    for record in result._partition_records:
        if record is not None:
            taken.append(record)
        if len(taken) == max_records or allowance.left_bytes <= 0:
            result._update_position()
            return taken
    result._update_position()
    result._partition_records = None
    return taken


def limited(fetched_records: FetchedRecords) -> FetchedRecords:
    """Give each call of Fetcher.fetched_records an allowance, and go on while it is used up without a record."""

    async def with_allowance(
        self: fetcher.Fetcher, partitions: Any, timeout: float = 0, max_records: int | None = None
    ) -> Any:
        deadline = time.monotonic() + (timeout or 0)
        while True:
            allowance = _Allowance()
            token = _allowance.set(allowance)
            try:
                fetched = await fetched_records(self, partitions, 0, max_records)
                if fetched or (allowance.left_bytes > 0 and not timeout):
                    return fetched
                if allowance.left_bytes > 0:
                    left_s = max(0.0, deadline - time.monotonic())
                    return await fetched_records(self, partitions, left_s, max_records)
            finally:
                _allowance.reset(token)
            if time.monotonic() >= deadline:
                return {}
            await asyncio.sleep(0)

    return with_allowance
