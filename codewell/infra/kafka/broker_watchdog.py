"""Detects a consumer whose brokers no longer answer: aiokafka reports no error and retries for ever."""

import time
from typing import Final

from aiokafka import AIOKafkaConsumer

# A broker answers a fetch within half a second, even without new records.
SILENT_AFTER_S: Final = 10.0
# The timeout of one exchange.
SILENT_MAX_S: Final = 30.0
# A dead member's session timeout plus a slow member's last batch can delay a rebalance; a few seconds of margin.
REBALANCE_MAX_S: Final = 60.0


class BrokerWatchdog:
    """Watches one consumer. Its owner records each fetch, and the start and end of each rebalance."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._answers: list[int | None] = []
        self._since: float | None = None
        self._rebalances_since: float | None = None

    def record_fetch(self, *, records: bool) -> None:
        """Record a fetch. While fetches return buffered records, aiokafka sends the brokers no new one."""
        if records:
            self._since = None
            return
        assigned = self._consumer.assignment()
        # A local clock time: only whether it changed matters.
        answers = [self._consumer.last_poll_timestamp(tp) for tp in assigned]
        if not assigned or answers != self._answers:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        self._answers = answers

    def rebalance_started(self) -> None:
        """Record that a rebalance has started."""
        self._since, self._rebalances_since = None, time.monotonic()

    def rebalance_ended(self) -> None:
        """Record that the rebalance has ended."""
        self._rebalances_since = None

    @property
    def silence_s(self) -> float:
        """The time since a broker last answered (s)."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    @property
    def is_silent(self) -> bool:
        """Whether the silence is long enough to be reported."""
        return self.silence_s > SILENT_AFTER_S

    def check(self) -> None:
        """Raise TimeoutError if the silence or a rebalance lasts too long; the owner then creates a new consumer."""
        if self.silence_s > SILENT_MAX_S:
            raise TimeoutError("no broker answered")
        if self._rebalances_since is not None and time.monotonic() - self._rebalances_since > REBALANCE_MAX_S:
            raise TimeoutError("a rebalance of the group did not end")
