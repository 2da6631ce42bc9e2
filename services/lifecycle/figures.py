"""What a life-cycle worker measures, and reports of itself."""

import time
from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge

from codewell.infra.telemetry.rates import CounterRate
from codewell.lifecycle.slot import SlotStatus
from codewell.usage.reporter import Counters
from schemas.events import PROGRAM_CHANGED
from schemas.lifecycle import DATA_OF_TYPE

EVENTS: Final = Counter("codewell_lifecycle_events", "Published events about codes, by type.", ["type"])
LAG: Final = Gauge("codewell_lifecycle_lag_seconds", "Age of the last published change; 0 when all are published.")
BEHIND: Final = Gauge("codewell_lifecycle_behind_bytes", "Log of the database that the worker has not read.")
WORKING: Final = Gauge("codewell_lifecycle_working", "1 while this worker has the lock and reads the log, else 0.")
EPOCH: Final = Gauge("codewell_lifecycle_epoch", "Number of the stream's epoch; it rises when a snapshot is published.")
for _type in (*DATA_OF_TYPE, PROGRAM_CHANGED):
    EVENTS.labels(_type)


class StreamLag:
    """How far the stream is behind, also while this worker fails to go on with it."""

    def __init__(self) -> None:
        self._done_at = time.monotonic()

    def none(self) -> None:
        """All is published, or another worker sees to it."""
        self.published(0.0)

    def published(self, age_s: float) -> None:
        """The last event that was published was committed `age_s` (s) before."""
        self._done_at = time.monotonic() - age_s
        LAG.set(age_s)

    def grow(self) -> None:
        """Nothing more was published since."""
        LAG.set(time.monotonic() - self._done_at)


def count(counts: Mapping[str, int]) -> None:
    """Count published events by type."""
    for event_type, number in counts.items():
        EVENTS.labels(event_type).inc(number)


def show(status: SlotStatus | None) -> None:
    """Show the slot's state."""
    BEHIND.set(0 if status is None else max(0, status.behind_bytes))


class LifecycleFigures:
    """Reads the metrics of this process. Call it with the time since the last call (s)."""

    def __init__(self) -> None:
        self._events = CounterRate(EVENTS)

    def __call__(self, elapsed_s: float) -> Counters:
        """The figures by name."""
        return {
            "events_per_s": self._events.per_s(elapsed_s),
            "lag_s": LAG._value.get(),
            "behind_bytes": BEHIND._value.get(),
            "working": WORKING._value.get() == 1,
        }
