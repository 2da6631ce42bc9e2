"""Dead letters as they stand in their topics, with what was done about each."""

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

# How often its event was published again, and from which letter the last time. Beside the issuer's headers.
REPLAYS: Final = "codewell_replays"
REPLAY_OF: Final = "codewell_replay_of"

_BATCH_LETTERS: Final = 500
_DIGITS_MAX: Final = 9


class DeadLetter(NamedTuple):
    """An event that could not be read or decided, and why."""

    request_topic: str
    """Where the event belongs, without the deployment's prefix."""
    reason: str
    detail: str
    event_id: str | None
    written_at: datetime
    replays: int
    """How often its event had been published again when it became a dead letter."""
    record: ConsumerRecord

    @property
    def at(self) -> str:
        """Its name for a person: request topic, partition and offset of the letter."""
        return f"{self.request_topic}:{self.record.partition}:{self.record.offset}"

    @property
    def place(self) -> RecordPlace:
        """Its name in the database."""
        return RecordPlace(self.record.topic, self.record.partition, self.record.offset, self.written_at)

    @property
    def has_event(self) -> bool:
        """Whether there is an event to publish again: of a record that Kafka's client can't read there is none."""
        return bool(self.record.value)

    @property
    def key(self) -> str | None:
        """The record's key, as text."""
        return None if self.record.key is None else self.record.key.decode("utf-8", "replace")

    @property
    def profile_id(self) -> str | None:
        """The profile that the event names, where so much of it can be read."""
        try:
            data = json.loads(self.record.value or b"")
            named = data.get("profile_id", None) or data["data"]["profile_id"]
        except (ValueError, RecursionError, AttributeError, LookupError, TypeError):
            return None
        return named if isinstance(named, str) else None


class LetterFilter(NamedTuple):
    """Which letters a command is about. What is None or empty is not asked for."""

    topic: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    profile: str | None = None
    """The key of the record, or the profile that the event names."""
    at: tuple[str, ...] = ()

    def has(self, letter: DeadLetter) -> bool:
        """Whether it is one of these."""
        return (
            self.topic in {None, letter.request_topic}
            and self.reason in {None, letter.reason}
            and (self.since is None or letter.written_at >= self.since)
            and (self.until is None or letter.written_at < self.until)
            and (self.profile is None or self.profile in {letter.key, letter.profile_id})
            and (not self.at or letter.at in self.at)
        )


class HandledLetter(NamedTuple):
    """A letter and what was done about it."""

    letter: DeadLetter
    handling: LetterHandling


class DeadLetters:
    """The letters that were there when this was opened, however many come meanwhile."""

    def __init__(self, reader: TopicReader, prefix: str, offset_ranges: Mapping[TopicPartition, OffsetRange]) -> None:
        self._reader = reader
        self.offset_ranges = offset_ranges
        self._topics = {prefix + topics.dead_letters_of(name): name for name in topics.REQUESTS}

    async def known(self, connection: Connection, tp: TopicPartition) -> AsyncIterator[list[HandledLetter]]:
        """The letters of a partition in their order, some hundreds at a time. Raises StackUnavailable."""
        batch: list[DeadLetter] = []
        async for record in self._reader.records(tp, self.offset_ranges[tp]):
            batch.append(_letter(self._topics[tp.topic], record))
            if len(batch) == _BATCH_LETTERS:
                yield await _with_handling(connection, batch)
                batch = []
        if batch:
            yield await _with_handling(connection, batch)

    async def wanted(self, connection: Connection, wanted: LetterFilter) -> AsyncIterator[list[HandledLetter]]:
        """Those of all partitions that are wanted and not purged, some hundreds at a time at most.

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
    """The dead letters of a deployment. Raises StackUnavailable when Kafka or its topics are not there."""
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
