"""When offsets of finished work are committed."""

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from services.issuer import offsets as module
from services.issuer.offsets import OffsetCommitter

A, B = TopicPartition("message-render", 0), TopicPartition("message-render", 1)


class Consumer:
    """Notes what is committed. Two partitions are its own, and the group may refuse it."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, int]] = []
        self.assigned = {A, B}
        self.refuses = False

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refuses:
            raise CommitFailedError
        self.commits.append(offsets)


async def test_what_is_finished_soon_after_a_commit_goes_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer()
    offsets = OffsetCommitter(consumer)

    await offsets.mark_processed({A: 1})
    await offsets.mark_processed({A: 2, B: 7})
    await offsets.mark_processed({A: 3})
    assert consumer.commits == [{A: 1}]
    monkeypatch.setattr(module, "COMMIT_INTERVAL_S", 0.0)
    await offsets.mark_processed({A: 4})

    assert consumer.commits == [{A: 1}, {A: 4, B: 7}]


async def test_all_that_is_finished_is_committed_at_once_when_it_must_be() -> None:
    consumer = Consumer()
    offsets = OffsetCommitter(consumer)

    await offsets.mark_processed({A: 1})
    await offsets.mark_processed({A: 2})
    await offsets.commit()
    await offsets.commit()

    assert consumer.commits == [{A: 1}, {A: 2}]


async def test_a_partition_that_went_to_another_worker_is_left_to_that_one() -> None:
    consumer = Consumer()
    offsets = OffsetCommitter(consumer)
    await offsets.mark_processed({A: 1})
    await offsets.mark_processed({A: 2, B: 3})

    consumer.assigned = {B}
    await offsets.commit()
    consumer.assigned = {A, B}
    await offsets.commit()

    assert consumer.commits == [{A: 1}, {B: 3}]


async def test_a_refused_commit_is_no_fault_for_the_records_come_again() -> None:
    consumer = Consumer()
    offsets = OffsetCommitter(consumer)
    consumer.refuses = True
    await offsets.mark_processed({A: 1})

    consumer.refuses = False
    await offsets.commit()

    assert consumer.commits == []
