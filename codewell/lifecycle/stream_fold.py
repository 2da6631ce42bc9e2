"""Reads the topic `code-lifecycle` into a fold: each partition in its order, without the copies that a crash left."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from pydantic_core import from_json

from codewell.infra.kafka.reading import OffsetRange, TopicReader
from codewell.lifecycle.fold import Fold
from schemas import lifecycle

# Of `ce_sequence`: the epoch, the place in the database's log, the number within the commit.
_LSN: Final = slice(9, 25)
_HEXADECIMAL: Final = 16


@dataclass
class _PartitionFold:
    offset: int
    is_fresh: bool = True
    """Nothing of it has been read."""
    is_whole: bool = True
    """It begins with an epoch."""
    sequence: str = ""


class StreamFold:
    """How far each partition of the topic has been folded."""

    def __init__(self, reader: TopicReader, partitions: dict[TopicPartition, OffsetRange], fold: Fold) -> None:
        self.copies = 0
        self.fold = fold
        self._reader = reader
        self._at = {tp: _PartitionFold(span.start) for tp, span in partitions.items()}

    @property
    def headless(self) -> list[int]:
        """Partitions that begin in the middle of an epoch: the topic's retention removed its beginning."""
        return sorted(tp.partition for tp, at in self._at.items() if not at.is_whole)

    async def advance(self, until_lsn: int, progress: Callable[[int], object]) -> None:
        """Take what there is now of commits before this place of the log (bytes). Raises StackUnavailable."""
        for tp, end in (await self._reader.end_offsets(self._at)).items():
            at = self._at[tp]
            async with aclosing(self._reader.records(tp, OffsetRange(at.offset, end))) as records:
                async for record in records:
                    if not self._take(record, at, until_lsn):
                        break
                    at.offset = record.offset + 1
            progress(self.fold.events)

    def _take(self, record: ConsumerRecord, at: _PartitionFold, until_lsn: int) -> bool:
        """Take a record; False for one of a later commit."""
        headers = dict(record.headers)
        sequence, type_ = headers["ce_sequence"].decode(), headers["ce_type"].decode()
        if int(sequence[_LSN], _HEXADECIMAL) >= until_lsn:
            return False
        if sequence <= at.sequence:
            self.copies += 1
            return True
        at.sequence = sequence
        if type_ == lifecycle.EPOCH_STARTED:
            at.is_whole = True
        elif at.is_fresh:
            at.is_whole = False
        at.is_fresh = False
        self.fold.take(headers["ce_id"].decode(), type_, from_json(record.value), record.partition)
        return True
