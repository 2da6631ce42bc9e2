"""Detects a consumer whose brokers no longer answer: aiokafka reports no error and retries for ever."""

import time
from typing import Final

from aiokafka import AIOKafkaConsumer

# A broker answers a fetch within half a second, also where there is nothing to be fetched.
SILENT_AFTER_S: Final = 10.0
# As long as an exchange may take.
SILENT_MAX_S: Final = 30.0
# As long as a dead member's session and then a slow member's last batch may hold a group up, and some seconds more.
REBALANCE_MAX_S: Final = 60.0


class BrokerWatchdog:
    """Watches one consumer. Its owner records each fetch, and the start and end of each rebalance."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._answers: list[int | None] = []
        self._since: float | None = None
        self._rebalances_since: float | None = None

    def record_fetch(self, *, records: bool) -> None:
        """Note what a fetch brought. As long as there are records, nobody asks the brokers for more."""
        assigned = self._consumer.assignment()
        # By the local clock, of which it only counts whether it has moved.
        answers = [self._consumer.last_poll_timestamp(tp) for tp in assigned]
        if records or not assigned or answers != self._answers:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        self._answers = answers

    def rebalance_started(self) -> None:
        """Note that the partitions are being dealt out anew."""
        self._since, self._rebalances_since = None, time.monotonic()

    def rebalance_ended(self) -> None:
        """Note that they have been dealt out."""
        self._rebalances_since = None

    @property
    def silence_s(self) -> float:
        """How long no broker has answered (s)."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    @property
    def is_silent(self) -> bool:
        """Whether it has lasted long enough to be reported."""
        return self.silence_s > SILENT_AFTER_S

    def check(self) -> None:
        """Raise TimeoutError when the silence or a rebalance lasts too long, so that the consumer is created anew."""
        if self.silence_s > SILENT_MAX_S:
            raise TimeoutError("no broker answered")
        if self._rebalances_since is not None and time.monotonic() - self._rebalances_since > REBALANCE_MAX_S:
            raise TimeoutError("a rebalance of the group did not end")
