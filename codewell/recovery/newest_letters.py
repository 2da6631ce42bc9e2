"""Pages of dead letters, newest first, read backwards from the ends of all partitions.

Only summaries stay in memory, so a page costs as much as the letters that it examines, however many there are.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from aiokafka import TopicPartition

from codewell.infra.kafka.reading import OffsetRange
from codewell.infra.postgres.connection import Connection
from codewell.recovery.dead_letters import DeadLetters, LetterFilter
from codewell.recovery.letter_facts import LetterSummary, summary_of
from codewell.recovery.step_limit import StepLimit

# Letters of a partition that are read at a time.
_WINDOW_LETTERS: Final = 100
_TEXT_MAX: Final = 1_000


class LetterPage(NamedTuple):
    """Some letters, and where the next page starts: an offset of each partition; None after the oldest letter.

    A page that is not the last may be short or empty.
    """

    letters: list[LetterSummary]
    next: tuple[int, ...] | None


class _Partition:
    """The unread letters of one partition, from its end backwards."""

    def __init__(self, tp: TopicPartition, start: int, before: int) -> None:
        self.tp = tp
        self.start = start
        self.before = before
        """Letters from this offset on are taken, or in `found`."""
        self.found: deque[tuple[int, LetterSummary]] = deque()
        """Offsets and summaries of matching letters, newest first."""
        self.is_begun = False

    @property
    def is_unread(self) -> bool:
        return not self.found and self.before > self.start

    @property
    def cursor(self) -> int:
        """The offset before which the next page continues."""
        return self.found[0][0] + 1 if self.found else self.before


async def page(
    letters: DeadLetters,
    connection: Connection,
    wanted: LetterFilter,
    limit: int,
    step: StepLimit,
    before: Sequence[int] | None = None,
) -> LetterPage:
    """Up to `limit` matching letters that are not purged, newest first, before the offsets of the previous page.

    Raises StackUnavailable, and ValueError for offsets of another number of partitions.
    """
    partitions = [
        _Partition(tp, span.start, span.end if offset is None else max(span.start, min(span.end, offset)))
        for (tp, span), offset in zip(
            letters.offset_ranges.items(),
            [None] * len(letters.offset_ranges) if before is None else before,
            strict=True,
        )
    ]
    found: list[LetterSummary] = []
    examined = 0
    while len(found) < limit:
        unread = min((one for one in partitions if one.is_unread), key=lambda one: one.is_begun, default=None)
        if unread is not None:
            # One window of each partition is always read, or a page could end where it began.
            if unread.is_begun and step.is_reached(examined):
                break
            examined += await _read(letters, connection, wanted, unread)
            continue
        newest = max((one for one in partitions if one.found), key=lambda one: one.found[0][1].written_at, default=None)
        if newest is None:
            return LetterPage(found, None)
        found.append(newest.found.popleft()[1])
    is_end = all(one.cursor == one.start for one in partitions)
    return LetterPage(found, None if is_end else tuple(one.cursor for one in partitions))


async def _read(letters: DeadLetters, connection: Connection, wanted: LetterFilter, partition: _Partition) -> int:
    """Read the partition's next window; returns its number of offsets."""
    first = max(partition.start, partition.before - _WINDOW_LETTERS)
    span = OffsetRange(first, partition.before)
    matching: list[tuple[int, LetterSummary]] = []
    async for batch in letters.batches(connection, partition.tp, span):
        matching += [(one.letter.record.offset, _cut(summary_of(one))) for one in wanted.among(batch)]
    partition.found.extend(reversed(matching))
    partition.before, partition.is_begun = first, True
    return span.end - span.start


def _cut(summary: LetterSummary) -> LetterSummary:
    """The summary with bounded texts: senders choose keys and ids of any size."""
    return summary._replace(
        key=summary.key and summary.key[:_TEXT_MAX],
        event_id=summary.event_id and summary.event_id[:_TEXT_MAX],
        detail=summary.detail[:_TEXT_MAX],
    )
