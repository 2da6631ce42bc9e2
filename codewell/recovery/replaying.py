"""Replays the events of dead letters, each exactly once, even after a crash or a repeated command.

Before publishing, the log records the replay's start and the end offset of the target partition; after it, the replay's
end. Without a recorded end, the event is searched in the partition from that offset: a header names its letter.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.digits import whole_number
from codewell.infra.kafka import clients, reading
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.reading import OffsetRange, TopicReader
from codewell.infra.kafka.record_batches import RecordBatches
from codewell.infra.kafka.record_encoding import encode_headers
from codewell.infra.postgres.connection import Connection
from codewell.recovery import dead_letter_log as store
from codewell.recovery.dead_letter_log import RecordPlace
from codewell.recovery.dead_letters import (
    FIRST,
    REPLAY_OF,
    REPLAYS,
    DeadLetter,
    DeadLetters,
    HandledLetter,
    LetterFilter,
    LetterPosition,
    sender_headers,
)
from codewell.recovery.step_limit import UNLIMITED, StepLimit
from schemas import topics

# A replay of all letters skips events that became dead letters again this often; else a command that runs every minute
# would replay them for ever.
REPLAYS_MAX: Final = 10
# Upper bound of what a replay adds to a record.
_HEADERS_BYTES_MAX: Final = 1_024
_RECORD_BYTES_MAX: Final = topics.REQUEST_BYTES_MAX - _HEADERS_BYTES_MAX


class ReplayCounts(NamedTuple):
    """The number of letters by outcome."""

    replayed: int = 0
    replayed_before: int = 0
    too_often: int = 0
    """Skipped, as their events came back REPLAYS_MAX times."""
    without_event: int = 0
    too_large: int = 0
    """Skipped, as the record with a replay's headers is too large for the request topic."""

    def plus(self, other: "ReplayCounts") -> "ReplayCounts":
        """Return the sums of both."""
        return ReplayCounts(*(one + another for one, another in zip(self, other, strict=True)))


class ReplayOptions(NamedTuple):
    """Options of a replay."""

    again: bool = False
    """Also replay events that were replayed before, or that came back too often."""
    dry_run: bool = False
    """Only count."""
    limit: int | None = None


class ReplayStep(NamedTuple):
    """What a step did, and where the next one starts; None after the last letter."""

    counts: ReplayCounts
    next: LetterPosition | None


async def replay(
    connection: Connection,
    kafka_config: KafkaConfig | str,
    prefix: str,
    letters: DeadLetters,
    wanted: LetterFilter,
    options: ReplayOptions,
    progress: Callable[[ReplayCounts], None],
) -> ReplayCounts:
    """Publish the events of these letters again, unchanged, to their original partitions.

    Calls `progress` with the counts after each batch. The caller holds `exclusive_lock`. Raises StackUnavailable if
    Kafka stops accepting records; a later call continues after the accepted ones.
    """
    return (
        await replay_step(connection, kafka_config, prefix, letters, wanted, options, UNLIMITED, progress=progress)
    ).counts


async def replay_step(
    connection: Connection,
    kafka_config: KafkaConfig | str,
    prefix: str,
    letters: DeadLetters,
    wanted: LetterFilter,
    options: ReplayOptions,
    limit: StepLimit,
    start: LetterPosition = FIRST,
    progress: Callable[[ReplayCounts], None] = lambda _: None,
) -> ReplayStep:
    """Do what `replay` does from `start` on, until the limit is reached; each batch of letters is done whole."""
    counts = ReplayCounts()
    examined = 0
    # A second reader, as the search for events runs while letters are being read.
    async with clients.started_producer(kafka_config) as producer, reading.open_reader(kafka_config) as reader:
        requests = await reading.partitions(kafka_config, [prefix + name for name in topics.DECIDED])
        replayer = _Replayer(connection, reader, producer, prefix, requests)
        async for batch in letters.walk(connection, start, wanted.at):
            left = None if options.limit is None else options.limit - counts.replayed
            if left == 0:
                break
            try:
                counts = counts.plus(await replayer.publish(wanted.among(batch.letters), options._replace(limit=left)))
            except (KafkaError, TimeoutError) as error:
                raise StackUnavailable(
                    f"Kafka did not accept all events ({error!r}) after {counts.replayed:,} letters: run replay again; "
                    "replayed letters are not published twice."
                ) from error
            progress(counts)
            examined += len(batch.letters)
            if limit.is_reached(examined):
                return ReplayStep(counts, batch.next)
    return ReplayStep(counts, None)


class _Replayer:
    def __init__(
        self,
        connection: Connection,
        reader: TopicReader,
        producer: AIOKafkaProducer,
        prefix: str,
        requests: Sequence[TopicPartition],
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._producer = producer
        self._prefix = prefix
        self._partitions = {name: sum(tp.topic == prefix + name for tp in requests) for name in topics.DECIDED}

    async def publish(self, batch: Sequence[HandledLetter], options: ReplayOptions) -> ReplayCounts:
        if not batch:
            return ReplayCounts()
        with_event = [one for one in batch if one.letter.has_event]
        fitting = [one for one in with_event if _record_bytes(one.letter.record) <= _RECORD_BYTES_MAX]
        under_limit = [one for one in fitting if options.again or one.letter.replays < REPLAYS_MAX]
        due = [one for one in under_limit if options.again or one.handling.replayed_at is None]
        counts = ReplayCounts(
            0, len(under_limit) - len(due), len(fitting) - len(under_limit), len(batch) - len(with_event),
            len(with_event) - len(fitting),
        )  # fmt: skip
        found = await self._published([one for one in due if one.handling.is_in_doubt])
        if found and not options.dry_run:
            await store.record_replayed(self._connection, found)
        unpublished = [one.letter for one in due if one.letter.place not in found][: options.limit]
        if not options.dry_run:
            await self._send(unpublished)
        return counts._replace(replayed=len(unpublished), replayed_before=counts.replayed_before + len(found))

    async def _published(self, doubted: Iterable[HandledLetter]) -> set[RecordPlace]:
        """The letters whose events are in Kafka although the replay's end was not recorded."""
        starts: dict[TopicPartition, int] = {}
        names: dict[bytes, RecordPlace] = {}
        for letter, done in doubted:
            tp = self._target(letter)
            starts[tp] = min(starts.get(tp, done.replay_from or 0), done.replay_from or 0)
            names[_letter_name(letter)] = letter.place
        found: set[RecordPlace] = set()
        for tp, end in (await self._reader.end_offsets(starts)).items() if starts else ():
            async for record in self._reader.records(tp, OffsetRange(starts[tp], end)):
                name = dict(record.headers).get(REPLAY_OF)
                if name in names:
                    found.add(names[name])
        return found

    async def _send(self, letters: Sequence[DeadLetter]) -> None:
        if not letters:
            return
        targets = {letter.place: self._target(letter) for letter in letters}
        end_offsets = await self._reader.end_offsets(set(targets.values()))
        await store.record_replay_start(self._connection, {place: end_offsets[tp] for place, tp in targets.items()})
        batches = RecordBatches(self._producer)
        for letter in letters:
            record = letter.record
            added = [(REPLAYS, str(letter.replays + 1).encode()), (REPLAY_OF, _letter_name(letter))]
            topic, partition = targets[letter.place]
            headers = encode_headers([*sender_headers(record), *added])
            batches.add(topic, partition, record.key, record.value, headers)
        await batches.send()
        await store.record_replayed(self._connection, targets)

    def _target(self, letter: DeadLetter) -> TopicPartition:
        """The partition that the event came from, so that a profile's events stay in one partition."""
        number = whole_number(dict(letter.record.headers).get("codewell_partition"))
        original = letter.record.partition if number is None else number
        return TopicPartition(self._prefix + letter.request_topic, original % self._partitions[letter.request_topic])


def _letter_name(letter: DeadLetter) -> bytes:
    return f"{letter.record.topic}:{letter.record.partition}:{letter.record.offset}".encode()


def _record_bytes(record: ConsumerRecord) -> int:
    headers = sum(len(name) + len(value or b"") + 16 for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
