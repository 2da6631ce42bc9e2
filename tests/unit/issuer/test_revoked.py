"""What an issuer does when its partitions are taken from it."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from services.issuer import rebalance as module
from services.issuer.batch import DecodedBatch
from services.issuer.offsets import OffsetCommitter
from services.issuer.prefetcher import Prefetcher
from services.issuer.rebalance import RebalanceListener

A = TopicPartition("message-render", 0)


class Consumer:
    """Its last commit takes as long as a test wants, or fails."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, int]] = []
        self.goes_on = asyncio.Event()
        self.fault: Exception | None = None

    def assignment(self) -> set[TopicPartition]:
        return {A}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        await self.goes_on.wait()
        if self.fault is not None:
            raise self.fault
        self.commits.append(offsets)


def read(_: Iterable[ConsumerRecord]) -> DecodedBatch[Any]:
    return DecodedBatch([], [])


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def prefetcher(consumer: Consumer) -> Prefetcher[Any]:
    return Prefetcher(consumer, read, 10)


@pytest.fixture
async def offsets(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> OffsetCommitter:
    """Of one record that is answered and not committed yet."""
    monkeypatch.setattr("services.issuer.offsets.COMMIT_INTERVAL_S", float("inf"))
    offsets = OffsetCommitter(consumer)
    await offsets.mark_processed({A: 1})
    return offsets


async def nothing_in_hand() -> None:
    return


async def test_no_batch_begins_while_the_last_offsets_are_committed(
    consumer: Consumer, prefetcher: Prefetcher[Any], offsets: OffsetCommitter
) -> None:
    revoking = asyncio.create_task(RebalanceListener(nothing_in_hand, offsets, prefetcher).on_partitions_revoked([A]))
    await asyncio.sleep(0)

    # What was read before is of an era that is over, and a batch of it is not begun.
    assert prefetcher.generation == 1
    assert consumer.commits == []
    consumer.goes_on.set()
    await revoking
    assert consumer.commits == [{A: 1}]


@pytest.mark.parametrize("fault", [KafkaError(), TimeoutError()])
async def test_a_last_commit_that_fails_is_no_fault(
    consumer: Consumer, prefetcher: Prefetcher[Any], offsets: OffsetCommitter, fault: Exception
) -> None:
    consumer.fault = fault
    consumer.goes_on.set()

    await RebalanceListener(nothing_in_hand, offsets, prefetcher).on_partitions_revoked([A])

    assert prefetcher.generation == 1


async def test_what_was_answered_is_committed_though_the_batch_behind_it_takes_too_long(
    consumer: Consumer, prefetcher: Prefetcher[Any], offsets: OffsetCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REVOKE_TIMEOUT_S", 0.01)
    consumer.goes_on.set()

    await RebalanceListener(asyncio.Event().wait, offsets, prefetcher).on_partitions_revoked([A])

    assert consumer.commits == [{A: 1}]
