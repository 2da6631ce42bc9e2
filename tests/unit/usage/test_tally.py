"""What is counted in memory until a report takes it."""

import pytest

from codewell.usage import tally as tally_module
from codewell.usage.tally import UsageRow, UsageTally
from codewell.usage.usage_key import UsageKey

ATTACHED = UsageKey(1, "campaign", "attached")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_counts_of_some_seconds_are_joined_and_keep_their_time() -> None:
    clock = Clock()
    tally = UsageTally(clock)
    tally.add({ATTACHED: 2})
    clock.now_s = 104.9
    tally.add({ATTACHED: 3, UsageKey(1, "campaign", "pool_empty"): 1})
    clock.now_s = 161
    tally.count(1, "activated")

    assert sorted(tally.take()) == [
        UsageRow(100.0, 1, "campaign", "attached", 5),
        UsageRow(100.0, 1, "campaign", "pool_empty", 1),
        UsageRow(160.0, 1, "person", "activated", 1),
    ]
    assert tally.take() == []


def test_a_long_outage_joins_times_and_loses_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "ENTRIES_MAX", 3)
    clock = Clock()
    tally = UsageTally(clock)
    for second in range(100, 200, 5):
        clock.now_s = second
        tally.add({ATTACHED: 1})

    taken = tally.take()

    assert len(taken) <= 3
    assert sum(row.number for row in taken) == 20


def test_refusals_and_fallbacks_are_urgent_until_they_are_taken() -> None:
    tally = UsageTally()
    tally.add({ATTACHED: 2})
    tally.count(1, "activated")
    assert not tally.is_urgent.is_set()
    for outcome in ("pool_empty", "fallback_first"):
        tally.add({ATTACHED: 2, UsageKey(1, "campaign", outcome): 1})
        assert tally.is_urgent.is_set()
        tally.take()
        assert not tally.is_urgent.is_set()
