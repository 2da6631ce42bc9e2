"""Batches from outside: read record by record with bounded memory, whatever they hold."""

import hashlib
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher

from codewell.infra.kafka.batch_reader import RECORD_BYTES_MAX
from codewell.infra.kafka.header_memory import HeaderMemory
from codewell.infra.kafka.partition_records import FaultyRecord, limited
from tests.support.packed_batches import CODECS, RawRecord, batch, batch_of, gzip_bomb, pack, record_bytes

TP = TopicPartition("profile-changed", 0)
ALL = pytest.mark.parametrize("kind", CODECS)
PACKED = pytest.mark.parametrize("kind", [kind for kind in CODECS if kind != "none"])


def read(data: bytes, offset: int = 0) -> Iterator[ConsumerRecord]:
    """As the fetcher of every consumer does after this package is imported."""
    return iter(
        fetcher.PartitionRecords(TP, fetcher.MemoryRecords(data), [], offset, None, None, True, fetcher.READ_COMMITTED)
    )


def faults(records: list[ConsumerRecord]) -> dict[int, str]:
    return {one.offset: one.fault for one in records if isinstance(one, FaultyRecord)}


@ALL
def test_all_records_come_in_order(kind: str) -> None:
    records = [
        RawRecord(b"k%d" % n, bytes([n % 251]) * (n * 37), ((b"name", b"v"), (b"null", None))) for n in range(900)
    ]
    came = list(read(batch(kind, records) + batch(kind, [RawRecord()], base_offset=900)))
    assert [one.offset for one in came] == list(range(901))
    assert [(one.key, one.value) for one in came[:900]] == [(one.key, one.value) for one in records]
    assert came[0].headers == (("name", b"v"), ("null", None))
    assert faults(came) == {}
    assert [one.offset for one in read(batch(kind, records), 450)] == list(range(450, 900))


@ALL
def test_a_header_name_that_is_not_utf8_marks_its_record_only(kind: str) -> None:
    records = [RawRecord(b"k%d" % n, b"v%d" % n, ((b"n\xff" if n in {0, 5, 9} else b"name", b"x"),)) for n in range(10)]
    came = list(read(batch(kind, records)))
    assert [one.value for one in came] == [one.value for one in records]
    assert faults(came) == dict.fromkeys((0, 5, 9), "a header's name is not UTF-8")
    # Such a name can be written again.
    assert came[5].headers == (("n\\xff", b"x"),)


class Assignment:
    """One that has the partition, and follows its position."""

    active = has_valid_position = True
    paused = False
    position = 0

    def state_value(self, _: TopicPartition) -> "Assignment":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


async def test_records_of_very_many_headers_come_in_several_calls() -> None:
    # A header of two bytes has 64 in memory: so many take 8 MB, and a fetch may have some hundred thousands more.
    many, few = ((b"", None),) * 131_072, ((b"name", b"v"),) * 60
    records = [RawRecord(b"k%d" % n, b"{}", many if n in {1, 2} else few) for n in range(5)]
    came_from = read(batch("none", records))
    result = fetcher.FetchResult(TP, assignment=Assignment(), partition_records=came_from, backoff=0)
    of_headers = HeaderMemory()
    calls: list[tuple[list[int], int]] = []

    async def fetched(*_: object) -> dict[TopicPartition, list[ConsumerRecord]]:
        found = result.getall() if result.has_more() else []
        return {TP: found} if found else {}

    take: Any = limited(fetched)
    while len(calls) < len(records) and (came := await take(None, [])):
        calls.append(([one.offset for one in came[TP]], of_headers.take()))

    assert calls == [([0, 1], 8 * 1024 * 1024), ([2], 8 * 1024 * 1024), ([3, 4], 0)]


@PACKED
def test_a_record_that_is_too_large_is_not_kept(kind: str) -> None:
    records = [RawRecord(b"a"), RawRecord(b"b", bytes(RECORD_BYTES_MAX + 1)), RawRecord(b"c")]
    came = list(read(batch(kind, records)))
    assert [(one.offset, one.key, one.value) for one in came] == [(0, b"a", b"{}"), (1, None, None), (2, b"c", b"{}")]
    assert list(faults(came)) == [1]


@PACKED
def test_bytes_after_the_last_record_are_ignored(kind: str) -> None:
    """Kafka takes them, and aiokafka's parser ended its consumer."""
    packed = pack(kind, record_bytes(0, RawRecord()) + bytes(99))
    came = list(read(batch_of(kind, 1, packed)))
    assert [one.value for one in came] == [b"{}"]
    if kind == "lz4":
        packed = pack(kind, record_bytes(0, RawRecord())) + b"no frame"
        assert [one.value for one in read(batch_of(kind, 1, packed))] == [b"{}"]


@ALL
@pytest.mark.parametrize("cut", [20, 60, 110])
def test_a_batch_that_lies_is_passed_by_and_the_next_is_read(kind: str, cut: int) -> None:
    values = [hashlib.sha256(b"%d" % n).digest() for n in range(3)]
    good = pack(kind, b"".join(record_bytes(n, RawRecord(b"k", value)) for n, value in enumerate(values)))
    bad = batch_of(kind, 3, good[:-cut])
    came = list(read(bad + batch("none", [RawRecord()], base_offset=3)))
    assert came[-1].offset == 3
    assert came[-1].value == b"{}"
    # What was before the fault, or a mark in the place of the last record.
    assert list(faults(came)) == [2]
    assert [one.offset for one in came] == [*range(len(came) - 2), 2, 3]


@pytest.mark.parametrize(("attributes", "packed"), [(7, b"x"), (2, b"\xff\xff\xff\xff\x0fx"), (4, b"x"), (2, b"")])
def test_a_codec_or_a_size_that_lies(attributes: int, packed: bytes) -> None:
    came = list(read(batch_of("none", 2, packed, attributes=attributes)))
    assert list(faults(came)) == [1]


def test_a_small_batch_of_much_does_not_fill_the_memory() -> None:
    bomb = gzip_bomb(400, bytes(250_000))
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        assert sum(len(one.value) for one in read(bomb)) == 100_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000
