"""Reads the topic `code-lifecycle` and says what is wrong with it, with none of the product's code.

Order, copies, ids and epochs are judged by the records alone; gaps by the rows of `answer`: each code that was given is
in the stream once.
"""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord

_NAMESPACE: Final = UUID("c2a9d1f4-5b7e-4e0a-8f63-9d10b4a7e58c")
_TYPES: Final = "dev.codewell."
_SHOWN_MAX: Final = 20
_GIVEN: Final = """
    SELECT a.program_id, a.request_id::text, a.ordinal, s.returned_at IS NOT NULL AS is_over FROM answer a
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
    WHERE a.block_id IS NOT NULL AND NOT a.again
    """


class StreamEvent(NamedTuple):
    """One record of the stream."""

    partition: int
    offset: int
    key: str
    type: str
    """Without `dev.codewell.` and the version."""
    sequence: str
    id: str
    data: dict[str, Any]
    raw: tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


class StreamRead(NamedTuple):
    """What the stream tells, and what is wrong with its records."""

    given: Counter[tuple[int, str, int]]
    """How often the last epoch tells that a code was given, by program, request and ordinal."""
    copies: int
    epochs: int
    """Of partition 0."""
    wrong: list[str]


async def consume(bootstrap: str, topic: str) -> AsyncIterator[StreamEvent]:
    """All records that there are now, in the order of each partition."""
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        await consumer.seek_to_beginning()
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    yield _event(record)


async def judge(found: AsyncIterable[StreamEvent]) -> StreamRead:
    """Take the copies out, and look at the order. Each partition has a record.

    Some millions of events fit into memory, as only the digest of each is kept.
    """
    partitions: defaultdict[int, _Partition] = defaultdict(_Partition)
    async for event in found:
        partitions[event.partition].add(event)
    wrong = []
    given: Counter[tuple[int, str, int]] = Counter()
    for number, partition in sorted(partitions.items()):
        if not partition.is_ready:
            partition.wrong.append(f"the snapshot of epoch {partition.epoch} is not ready")
        elsewhere = [id_ for id_ in sorted(partition.programs) if id_ % len(partitions) != number]
        partition.wrong += [f"the program {id_} is in another partition" for id_ in elsewhere]
        wrong += [f"partition {number}: {one}" for one in partition.wrong[:_SHOWN_MAX]]
        given += partition.given
    copies = sum(partition.copies for partition in partitions.values())
    return StreamRead(given, copies, partitions[0].epochs, wrong[:_SHOWN_MAX])


class _Partition:
    """What is known of a partition's events so far."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.copies = self.epochs = self.epoch = 0
        self.is_ready = False
        self.given: Counter[tuple[int, str, int]] = Counter()
        self.programs: set[int] = set()
        self._last = ""
        # Offset and digest by sequence.
        self._known: dict[str, tuple[int, bytes]] = {}

    def add(self, event: StreamEvent) -> None:
        digest = blake2b(repr(event.raw).encode(), digest_size=16).digest()
        offset, before = self._known.setdefault(event.sequence, (event.offset, digest))
        if offset != event.offset:
            self.copies += 1
            if before != digest:
                self.wrong.append(f"{event.offset} has the sequence of {offset}, and is another event")
            return
        if event.sequence < self._last:
            self.wrong.append(f"{event.offset} comes after a later event: {self._last}, then {event.sequence}")
        self._last = event.sequence
        self.wrong += [f"{event.offset}: {one}" for one in self._wrong(event)]
        self._count(event)

    def _wrong(self, event: StreamEvent) -> Iterator[str]:
        if event.id != str(uuid5(_NAMESPACE, event.sequence)):
            yield f"the id {event.id} is not that of {event.sequence}"
        program_id = event.data.get("program_id")
        if program_id is not None:
            self.programs.add(program_id)
            if not event.key.startswith(str(program_id)):
                yield f"the key {event.key} is not of the program {program_id}"
        # Epochs come one after the other; each but the last may have been given up before it was ready.
        number = int(event.sequence[:8], 16)
        if event.type == "codes-epoch-started":
            if not self.epoch < event.data["epoch"] == number:
                yield f"epoch {event.data['epoch']} begins after {self.epoch}, at {event.sequence}"
            self.epoch, self.is_ready = number, False
        elif number != self.epoch:
            yield f"{event.sequence} is in epoch {self.epoch}"
        elif event.type == "codes-epoch-ready":
            self.is_ready = True
        elif not (_follows(event) if self.is_ready else _is_in_snapshot(event)):
            when = "after" if self.is_ready else "before"
            yield f"{event.type} at {event.sequence}, {when} the snapshot was ready"

    def _count(self, event: StreamEvent) -> None:
        if event.type == "codes-epoch-started":
            self.epochs += 1
            self.given.clear()
        data = event.data
        is_given = event.type == "code-attached" and not data["again"]
        if is_given or (event.type == "code-snapshot" and data["request_id"] is not None):
            self.given[data["program_id"], data["request_id"], data["ordinal"]] += 1


async def gaps(connection: asyncpg.Connection, read: StreamRead) -> list[str]:
    """Codes that were given and are not in the last epoch of the stream, or not once, or never were."""
    stored = {(row[0], row[1], row[2]): row[3] for row in await connection.fetch(_GIVEN)}
    told = read.given
    # A snapshot does not say who had a code that has returned.
    found = [f"{one} is not in the stream" for one, is_over in stored.items() if one not in told and not is_over]
    found += [f"{one} is in the stream only" for one in told.keys() - stored.keys()]
    found += [f"{one} is in the stream {times} times" for one, times in told.items() if times > 1]
    return [f"{len(found)} gaps", *sorted(found)[:_SHOWN_MAX]] if found else []


def _event(record: ConsumerRecord) -> StreamEvent:
    headers = {name: value.decode() for name, value in record.headers}
    kind = headers["ce_type"].removeprefix(_TYPES).removesuffix(".v1")
    return StreamEvent(
        record.partition, record.offset, record.key.decode(), kind, headers["ce_sequence"], headers["ce_id"],
        json.loads(record.value), (record.key, record.value, tuple(record.headers)),
    )  # fmt: skip


def _follows(event: StreamEvent) -> bool:
    return not event.type.endswith("-snapshot")


def _is_in_snapshot(event: StreamEvent) -> bool:
    """Further profiles of shared codes are attachments in it."""
    return event.type == "program-changed" or event.type.endswith("-snapshot") or event.data.get("again") is True
