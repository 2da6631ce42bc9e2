"""Counts in memory what programs gave, until the worker's next report."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from codewell.usage.usage_key import Outcome, UsageKey

# More entries wait only after a long outage of the tables of usage. Their times are then joined: no count is dropped.
ENTRIES_MAX: Final = 50_000
_SLOT_S: Final = 5.0


class UsageRow(NamedTuple):
    """A count to write, and when it was added, by the tally's clock (s)."""

    at: float
    program_id: int
    source: str
    outcome: str
    number: int


class UsageTally:
    """The counts of one process that are not taken yet, by the few seconds in which they were added.

    The clock is monotonic, and the database computes the minutes: so no worker's wrong clock moves any figure.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._counts: dict[tuple[float, UsageKey], int] = {}
        self.is_urgent: Final = asyncio.Event()
        """Set while refusals or fallbacks wait to be reported."""

    def add(self, counts: Mapping[UsageKey, int]) -> None:
        """Add what was just decided and committed."""
        at = self.clock() // _SLOT_S * _SLOT_S
        for key, number in counts.items():
            self._counts[at, key] = self._counts.get((at, key), 0) + number
        if not self.is_urgent.is_set() and any(key.is_urgent for key in counts):
            self.is_urgent.set()
        if len(self._counts) > ENTRIES_MAX:
            self._join_slots(at)

    def count(self, program_id: int, outcome: Outcome, source: str = "person", number: int = 1) -> None:
        """Count what was just done and committed for one program."""
        self.add({UsageKey(program_id, source, outcome): number})

    def take(self) -> list[UsageRow]:
        """Remove and return all counts."""
        taken, self._counts = self._counts, {}
        self.is_urgent.clear()
        return [UsageRow(at, *key, number) for (at, key), number in taken.items()]

    def _join_slots(self, at: float) -> None:
        joined: Counter[UsageKey] = Counter()
        for (_, key), number in self._counts.items():
            joined[key] += number
        self._counts = {(at, key): number for key, number in joined.items()}
