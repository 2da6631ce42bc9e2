"""Records in a reply topic that cannot be read: the sender listens on, and no other answer is lost with them."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from codewell_client import InvalidAnswer, Refused, replies
from codewell_client.replies import Replies

A, B = TopicPartition("replies", 0), TopicPartition("replies", 1)
BAD = 2


class Consumer:
    """Two partitions with five records each; the third of the first one is unreadable."""

    def __init__(self) -> None:
        self.positions = {A: 0, B: 0}

    def assignment(self) -> set[TopicPartition]:
        return {A, B}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    async def getmany(
        self, *partitions: TopicPartition, max_records: int = 100, **_: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        await asyncio.sleep(0)
        fetched = {}
        # What was fetched before the fault is lost with it, as in aiokafka.
        for partition in partitions or (B, A):
            offsets = range(self.positions[partition], 5)[:max_records]
            if partition == A and BAD in offsets:
                self.positions[A] = BAD
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
            if offsets:
                self.positions[partition] = offsets[-1] + 1
                fetched[partition] = [record(partition, offset) for offset in offsets]
        return fetched

    async def stop(self) -> None:
        pass


def record(partition: TopicPartition, offset: int) -> ConsumerRecord:
    return ConsumerRecord(partition.topic, partition.partition, offset, 0, 0, None, b"{}", None, 0, 2, ())


@pytest.fixture
async def reading(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[tuple[int, int]]]:
    monkeypatch.setattr(replies, "AIOKafkaConsumer", lambda **_: Consumer())
    monkeypatch.setattr(replies, "close", lambda consumer: consumer.stop())
    handed_out: list[tuple[int, int]] = []
    monkeypatch.setattr(Replies, "_hand_out", lambda _, one: handed_out.append((one.partition, one.offset)))
    opened = Replies(["replies"], None, {})
    opened._next = {A: 0, B: 0}
    opened._reading = asyncio.create_task(opened._read())
    yield handed_out
    await opened.stop()


async def test_it_is_stepped_over_and_no_other_is_lost(reading: list[tuple[int, int]]) -> None:
    wanted = [(0, offset) for offset in range(5) if offset != BAD] + [(1, offset) for offset in range(5)]
    for _ in range(200):
        await asyncio.sleep(0)
        if len(reading) == len(wanted):
            break
    assert sorted(reading) == wanted


@pytest.mark.parametrize(
    "value", [b"[]", b"null", b'{"request_id": 1, "profile_id": "p", "refusals": []}', b"[" * 100_000], ids=range(4)
)
async def test_an_answer_of_another_shape_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    monkeypatch.setattr(replies, "AIOKafkaConsumer", lambda **_: Consumer())
    opened = Replies(["replies"], None, {})
    first, second = opened.expect(b"first"), opened.expect(b"second")
    good = json.dumps({"request_id": None, "profile_id": "p", "refusals": []}).encode()

    opened._hand_out_all({A: [answer(b"first", value), answer(b"second", good)]})

    assert isinstance(first.exception(), InvalidAnswer)
    assert isinstance(second.result(), Refused)


def answer(correlation_id: bytes, value: bytes) -> ConsumerRecord:
    headers = (
        ("ce_id", b"e-1"),
        ("ce_type", b"dev.codewell.codes-refused.v1"),
        (replies.CORRELATION_ID, correlation_id),
    )
    return ConsumerRecord(A.topic, A.partition, 0, 0, 0, None, value, None, 0, len(value), headers)
