"""When a consumer counts as one that hears nothing."""

import time

import pytest
from aiokafka import TopicPartition

from codewell.infra.kafka.broker_watchdog import REBALANCE_MAX_S, SILENT_MAX_S, BrokerWatchdog

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Consumer:
    """What of a consumer is looked at, set by hand."""

    def __init__(self) -> None:
        self.polled: dict[TopicPartition, int | None] = {A: 1, B: None}

    def assignment(self) -> set[TopicPartition]:
        return set(self.polled)

    def last_poll_timestamp(self, tp: TopicPartition) -> int | None:
        return self.polled[tp]


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_brokers_that_answer_with_nothing_are_not_silent(now_s: list[float]) -> None:
    consumer = Consumer()
    watchdog = BrokerWatchdog(consumer)
    for stamp in range(2, 10):
        # The local clock may jump; that it moves is enough.
        consumer.polled[A] = -stamp
        watchdog.record_fetch(records=False)
        now_s[0] += SILENT_MAX_S
        watchdog.check()
    assert watchdog.silence_s == 0


def test_brokers_that_answer_nothing_are_silent_from_the_first_fetch_in_vain(now_s: list[float]) -> None:
    watchdog = BrokerWatchdog(Consumer())
    watchdog.record_fetch(records=False)
    watchdog.record_fetch(records=False)
    # As long as records are there, or nobody fetches, nothing is known.
    now_s[0] += 2 * SILENT_MAX_S
    watchdog.record_fetch(records=True)
    watchdog.check()
    watchdog.record_fetch(records=False)
    now_s[0] += SILENT_MAX_S + 1
    assert watchdog.silence_s == SILENT_MAX_S + 1
    with pytest.raises(TimeoutError, match="no broker answered"):
        watchdog.check()


def test_a_member_without_partitions_is_not_silent(now_s: list[float]) -> None:
    consumer = Consumer()
    consumer.polled.clear()
    watchdog = BrokerWatchdog(consumer)
    watchdog.record_fetch(records=False)
    watchdog.record_fetch(records=False)
    now_s[0] += 2 * SILENT_MAX_S
    watchdog.check()


def test_a_rebalance_may_take_its_time_and_no_more(now_s: list[float]) -> None:
    watchdog = BrokerWatchdog(Consumer())
    watchdog.record_fetch(records=False)
    watchdog.record_fetch(records=False)
    watchdog.rebalance_started()
    now_s[0] += REBALANCE_MAX_S
    watchdog.check()
    watchdog.rebalance_ended()
    now_s[0] += REBALANCE_MAX_S
    watchdog.check()
    watchdog.rebalance_started()
    now_s[0] += REBALANCE_MAX_S + 1
    with pytest.raises(TimeoutError, match="rebalance"):
        watchdog.check()
