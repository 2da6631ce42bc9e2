"""Reads dead letters from their topics, with their handling: replayed, purged or neither."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition

from codewell.infra.kafka import reading
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.reading import OffsetRange, TopicReader
from codewell.infra.postgres.connection import Connection
from codewell.recovery import dead_letter_log as store
from codewell.recovery.dead_letter_log import LetterHandling, RecordPlace
from schemas import topics

# Headers of a replay, in addition to the issuer's: the number of replays, and the letter of the last one.
REPLAYS: Final = "codewell_replays"
REPLAY_OF: Final = "codewell_replay_of"

_BATCH_LETTERS: Final = 500
_DIGITS_MAX: Final = 9


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
        """Whether the letter contains an event to replay; a record that Kafka's client can't parse leaves none."""
        return bool(self.record.value)

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


class HandledLetter(NamedTuple):
    """A letter and its handling."""

    letter: DeadLetter
    handling: LetterHandling


class DeadLetters:
    """The letters that existed when this was opened; later ones are ignored."""

    def __init__(self, reader: TopicReader, prefix: str, offset_ranges: Mapping[TopicPartition, OffsetRange]) -> None:
        self._reader = reader
        self.offset_ranges = offset_ranges
        self._topics = {prefix + topics.dead_letters_of(name): name for name in topics.REQUESTS}

    async def known(self, connection: Connection, tp: TopicPartition) -> AsyncIterator[list[HandledLetter]]:
        """Yield the letters of a partition in order, some hundreds at a time. Raises StackUnavailable."""
        batch: list[DeadLetter] = []
        async for record in self._reader.records(tp, self.offset_ranges[tp]):
            batch.append(_letter(self._topics[tp.topic], record))
            if len(batch) == _BATCH_LETTERS:
                yield await _with_handling(connection, batch)
                batch = []
        if batch:
            yield await _with_handling(connection, batch)

    async def wanted(self, connection: Connection, wanted: LetterFilter) -> AsyncIterator[list[HandledLetter]]:
        """Yield the matching letters of all partitions that are not purged, at most some hundreds at a time.

        Raises StackUnavailable.
        """
        for tp in self.offset_ranges:
            async for batch in self.known(connection, tp):
                yield [one for one in batch if one.handling.purged_at is None and wanted.has(one.letter)]

    async def find(self, connection: Connection, at: str) -> HandledLetter | None:
        """The letter of this name, purged or not. Raises StackUnavailable."""
        name, partition, offset = at.split(":")
        found = [tp for tp in self.offset_ranges if self._topics[tp.topic] == name and tp.partition == int(partition)]
        for tp in found:
            start = int(offset)
            if self.offset_ranges[tp].start <= start < self.offset_ranges[tp].end:
                async for record in self._reader.records(tp, OffsetRange(start, start + 1)):
                    [one] = await _with_handling(connection, [_letter(name, record)])
                    return one
        return None


@asynccontextmanager
async def open_dead_letters(kafka_config: KafkaConfig | str, prefix: str) -> AsyncIterator[DeadLetters]:
    """Open a deployment's dead letters. Raises StackUnavailable if Kafka is unavailable or a topic is missing."""
    names = [prefix + topics.dead_letters_of(name) for name in topics.REQUESTS]
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

    replays = headers.get(REPLAYS) or b""
    return DeadLetter(
        request_topic,
        text("codewell_reason") or "?",
        text("codewell_detail") or "?",
        text("ce_id"),
        datetime.fromtimestamp(record.timestamp / 1000, UTC),
        int(replays) if replays.isdigit() and len(replays) <= _DIGITS_MAX else 0,
        record,
    )
