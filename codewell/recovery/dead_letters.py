"""Reads dead letters from their topics, with their handling: replayed, purged or neither."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition

from codewell.infra.digits import whole_number
from codewell.infra.kafka import reading
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.reading import OffsetRange, TopicReader
from codewell.infra.kafka.record_time import record_time
from codewell.infra.postgres.connection import Connection
from codewell.recovery import dead_letter_log as store
from codewell.recovery.dead_letter_log import LetterHandling, RecordPlace
from schemas import topics

# Headers of a replay, in addition to the issuer's: the number of replays, and the letter of the last one.
REPLAYS: Final = "codewell_replays"
REPLAY_OF: Final = "codewell_replay_of"

_BATCH_LETTERS: Final = 500
# Bounds the memory of a batch; one letter may be larger.
_BATCH_BYTES: Final = 4 * 1024 * 1024
_DIGITS_MAX: Final = 9
# Headers that Codewell added to the event; the sender's own headers stay.
_OWN_HEADERS: Final = frozenset(
    f"codewell_{name}"
    for name in (
        "reason", "detail", "topic", "partition", "offset", "time", "attempt", "first_at", "give_up_at",
        "waits_since", "replays", "replay_of",
    )
)  # fmt: skip


def sender_headers(record: ConsumerRecord) -> list[tuple[str, bytes]]:
    """The headers of a letter that its sender wrote."""
    return [(name, value) for name, value in record.headers if name not in _OWN_HEADERS]


class DeadLetter(NamedTuple):
    """An event that could not be read or decided, with the reason."""

    request_topic: str
    """Request topic of the event, without the deployment's prefix."""
    reason: str
    detail: str
    event_id: str | None
    written_at: datetime
    replays: int
    """How often its event had been replayed before it became this dead letter."""
    record: ConsumerRecord

    @property
    def at(self) -> str:
        """The letter's name for users: request topic, partition and offset of the letter."""
        return f"{self.request_topic}:{self.record.partition}:{self.record.offset}"

    @property
    def place(self) -> RecordPlace:
        """The letter's key in the database."""
        return RecordPlace(self.record.topic, self.record.partition, self.record.offset, self.written_at)

    @property
    def has_event(self) -> bool:
        """Whether the letter contains an event to replay; a record that cannot be read leaves nothing of itself.

        An event without a value has its key or headers.
        """
        record = self.record
        return record.value is not None or record.key is not None or any(sender_headers(record))

    @property
    def key(self) -> str | None:
        """The record's key, as text."""
        return None if self.record.key is None else self.record.key.decode("utf-8", "replace")

    @property
    def profile_id(self) -> str | None:
        """The profile of the event, if that much of it can be parsed."""
        try:
            data = json.loads(self.record.value or b"")
            named = data.get("profile_id", None) or data["data"]["profile_id"]
        except (ValueError, RecursionError, AttributeError, LookupError, TypeError):
            return None
        return named if isinstance(named, str) else None


class HandledLetter(NamedTuple):
    """A letter and its handling."""

    letter: DeadLetter
    handling: LetterHandling


class LetterFilter(NamedTuple):
    """Selects letters. A field that is None or empty does not restrict."""

    topic: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    profile: str | None = None
    """The record's key, or the event's profile."""
    at: tuple[str, ...] = ()

    def has(self, letter: DeadLetter) -> bool:
        """Whether the letter matches."""
        return (
            self.topic in {None, letter.request_topic}
            and self.reason in {None, letter.reason}
            and (self.since is None or letter.written_at >= self.since)
            and (self.until is None or letter.written_at < self.until)
            and (self.profile is None or self.profile in {letter.key, letter.profile_id})
            and (not self.at or letter.at in self.at)
        )

    def among(self, letters: Iterable[HandledLetter]) -> list[HandledLetter]:
        """Those that match and are not purged."""
        return [one for one in letters if one.handling.purged_at is None and self.has(one.letter)]


def _parsed_place(at: str) -> tuple[str, int, int]:
    """Request topic, partition and offset of a letter's name, which matches `patterns.LETTER_PLACE`."""
    topic, partition, offset = at.split(":")
    return topic, int(partition), int(offset)


class LetterPosition(NamedTuple):
    """Where a walk through all letters continues: a partition, in the order of `offset_ranges`, and an offset."""

    partition: int
    offset: int


FIRST: Final = LetterPosition(0, 0)


class LetterBatch(NamedTuple):
    """Some hundred letters of a partition, in order. The last batch of each partition is empty."""

    tp: TopicPartition
    letters: list[HandledLetter]
    next: LetterPosition
    is_last: bool


class DeadLetters:
    """The letters that existed when this was opened; later ones are ignored."""

    def __init__(self, reader: TopicReader, prefix: str, offset_ranges: Mapping[TopicPartition, OffsetRange]) -> None:
        self._reader = reader
        self.offset_ranges = offset_ranges
        self._topics = {prefix + topics.dead_letters_of(name): name for name in topics.DECIDED}

    async def walk(
        self, connection: Connection, start: LetterPosition = FIRST, at: Sequence[str] = ()
    ) -> AsyncIterator[LetterBatch]:
        """Yield all letters from `start` on, partition by partition, in batches of a bounded number and size.

        With `at`, it passes over partitions and offsets that these places do not name. Raises StackUnavailable.
        """
        for number, (tp, span) in enumerate(self.offset_ranges.items()):
            if number < start.partition:
                continue
            first = max(span.start, start.offset) if number == start.partition else span.start
            offsets = [offset for name, partition, offset in map(_parsed_place, at)
                       if (name, partition) == (self._topics[tp.topic], tp.partition)]  # fmt: skip
            if at:
                first, end = max(first, min(offsets, default=first)), min(span.end, max(offsets, default=-1) + 1)
            else:
                end = span.end
            if first < end:
                async for letters in self.batches(connection, tp, OffsetRange(first, end)):
                    yield LetterBatch(tp, letters, LetterPosition(number, letters[-1].letter.record.offset + 1), False)
            yield LetterBatch(tp, [], LetterPosition(number + 1, 0), True)

    async def batches(
        self, connection: Connection, tp: TopicPartition, span: OffsetRange
    ) -> AsyncIterator[list[HandledLetter]]:
        """Yield the letters of a span of a partition in order, in batches as of `walk`. Raises StackUnavailable."""
        batch: list[DeadLetter] = []
        size = 0
        async for record in self._reader.records(tp, span):
            batch.append(_letter(self._topics[tp.topic], record))
            size += len(record.value or b"")
            if len(batch) == _BATCH_LETTERS or size >= _BATCH_BYTES:
                yield await _with_handling(connection, batch)
                batch, size = [], 0
        if batch:
            yield await _with_handling(connection, batch)

    async def wanted(self, connection: Connection, wanted: LetterFilter) -> AsyncIterator[list[HandledLetter]]:
        """Yield the matching letters of all partitions that are not purged, at most some hundreds at a time.

        Raises StackUnavailable.
        """
        async for batch in self.walk(connection, at=wanted.at):
            yield wanted.among(batch.letters)

    async def find(self, connection: Connection, at: str) -> HandledLetter | None:
        """The letter of this name, purged or not. Raises StackUnavailable."""
        async for batch in self.walk(connection, at=(at,)):
            for one in batch.letters:
                return one
        return None


@asynccontextmanager
async def open_dead_letters(kafka_config: KafkaConfig | str, prefix: str) -> AsyncIterator[DeadLetters]:
    """Open a deployment's dead letters. Raises StackUnavailable if Kafka is unavailable or a topic is missing."""
    names = [prefix + topics.dead_letters_of(name) for name in topics.DECIDED]
    partitions = await reading.partitions(kafka_config, names)
    async with reading.open_reader(kafka_config) as reader:
        yield DeadLetters(reader, prefix, await reader.offset_ranges(partitions))


async def _with_handling(connection: Connection, letters: list[DeadLetter]) -> list[HandledLetter]:
    done = await store.get_handling(connection, [letter.place for letter in letters])
    return [HandledLetter(letter, done.get(letter.place, LetterHandling())) for letter in letters]


def _letter(request_topic: str, record: ConsumerRecord) -> DeadLetter:
    headers = dict(record.headers)

    def text(name: str) -> str | None:
        value = headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")

    return DeadLetter(
        request_topic,
        text("codewell_reason") or "?",
        text("codewell_detail") or "?",
        text("ce_id"),
        record_time(record),
        whole_number(headers.get(REPLAYS), _DIGITS_MAX) or 0,
        record,
    )
