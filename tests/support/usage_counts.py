"""What a tally has counted, whatever the seconds in which it was counted."""

from collections import Counter

from codewell.usage.tally import UsageTally
from codewell.usage.usage_key import UsageKey


def taken(tally: UsageTally) -> dict[UsageKey, int]:
    """Take the counts, summed over the tally's slots of time: a test may have begun in one and ended in another."""
    counted: Counter[UsageKey] = Counter()
    for row in tally.take():
        counted[UsageKey(row.program_id, row.source, row.outcome)] += row.number
    return counted
