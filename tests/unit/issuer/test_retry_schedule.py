"""Requests that wait come back spread over half of their wait, each partition's together and in order."""

from typing import Any

from aiokafka import TopicPartition

from services.issuer.batch import DecodedBatch
from services.issuer.prefetcher import FetchedPartition
from services.issuer.retry_schedule import batches_when_due

DELAY_S = 2.0


def part(partition: int, newest_s: float) -> FetchedPartition[Any]:
    return FetchedPartition(TopicPartition("t", partition), DecodedBatch([], []), 1, int(newest_s * 1000))


def test_partitions_come_back_at_moments_of_their_own() -> None:
    parts = [part(number % 24, 100.0 + number // 24) for number in range(48)]
    rounds = batches_when_due(list(parts), DELAY_S)
    assert [due for due, _ in rounds] == sorted(due for due, _ in rounds)
    assert len({due for due, _ in rounds}) == 24
    # Each waits from its newest request on.
    assert all(101.0 + DELAY_S / 2 <= due <= 101.0 + DELAY_S for due, _ in rounds)
    assert {some[0].tp.partition: some for _, some in rounds} == {n: [parts[n], parts[n + 24]] for n in range(24)}


def test_fresh_requests_are_one_batch_at_once() -> None:
    parts = [part(0, 100.0), part(1, 101.0)]
    assert batches_when_due(parts, 0.0) == [(0.0, parts)]
