"""Reads the topic `code-lifecycle` and says what is wrong with it, with none of the product's code.

Order, copies, ids and epochs are judged by the records alone; gaps by the rows of `answer`: each code that was given is
in the stream once.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
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
    """The events without copies, by partition, and what is wrong with the records."""

    events: dict[int, list[StreamEvent]]
    copies: int
    wrong: list[str]


async def consume(bootstrap: str, topic: str) -> list[StreamEvent]:
    """All records that there are now, in the order of each partition."""
    found: list[StreamEvent] = []
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        await consumer.seek_to_beginning()
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += map(_event, records)
    return found


def judge(found: list[StreamEvent]) -> StreamRead:
    """Take the copies out, and look at the order. Each partition has a record."""
    partitions = len({event.partition for event in found})
    events: dict[int, list[StreamEvent]] = defaultdict(list)
    known: dict[tuple[int, str], StreamEvent] = {}
    copies = 0
    wrong = []
    for event in found:
        at = f"{event.partition}:{event.offset}"
        before = known.setdefault((event.partition, event.sequence), event)
        if before is not event:
            copies += 1
            if before.raw != event.raw:
                wrong.append(f"{at} has the sequence of {before.offset}, and is another event")
            continue
        so_far = events[event.partition]
        if so_far and event.sequence < so_far[-1].sequence:
            wrong.append(f"{at} comes after a later event: {so_far[-1].sequence}, then {event.sequence}")
        so_far.append(event)
        wrong += [f"{at}: {one}" for one in _wrong(event, partitions)]
    for partition, so_far in events.items():
        wrong += [f"partition {partition}: {one}" for one in _epochs(so_far)]
    return StreamRead(dict(events), copies, wrong[:_SHOWN_MAX])


async def gaps(connection: asyncpg.Connection, read: StreamRead) -> list[str]:
    """Codes that were given and are not in the last epoch of the stream, or not once, or never were."""
    stored = {(row[0], row[1], row[2]): row[3] for row in await connection.fetch(_GIVEN)}
    told: Counter[tuple[int, str, int]] = Counter()
    for events in read.events.values():
        for event in _of_last_epoch(events):
            data = event.data
            is_given = event.type == "code-attached" and not data["again"]
            if is_given or (event.type == "code-snapshot" and data["request_id"] is not None):
                told[data["program_id"], data["request_id"], data["ordinal"]] += 1
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


def _wrong(event: StreamEvent, partitions: int) -> Iterator[str]:
    if event.id != str(uuid5(_NAMESPACE, event.sequence)):
        yield f"the id {event.id} is not that of {event.sequence}"
    program_id = event.data.get("program_id")
    if program_id is not None and program_id % partitions != event.partition:
        yield f"the program {program_id} is in another partition"
    if program_id is not None and not event.key.startswith(str(program_id)):
        yield f"the key {event.key} is not of the program {program_id}"


def _epochs(events: list[StreamEvent]) -> Iterator[str]:
    """A partition is epochs one after the other; each but the last may have been given up before it was ready."""
    epoch = 0
    is_ready = False
    for event in events:
        number = int(event.sequence[:8], 16)
        if event.type == "codes-epoch-started":
            if not epoch < event.data["epoch"] == number:
                yield f"epoch {event.data['epoch']} begins after {epoch}, at {event.sequence}"
            epoch, is_ready = number, False
        elif number != epoch:
            yield f"{event.sequence} is in epoch {epoch}"
        elif event.type == "codes-epoch-ready":
            is_ready = True
        elif not (_follows(event) if is_ready else _is_in_snapshot(event)):
            yield f"{event.type} at {event.sequence}, {'after' if is_ready else 'before'} the snapshot was ready"
    if not is_ready:
        yield f"the snapshot of epoch {epoch} is not ready"


def _follows(event: StreamEvent) -> bool:
    return not event.type.endswith("-snapshot")


def _is_in_snapshot(event: StreamEvent) -> bool:
    """Further profiles of shared codes are attachments in it."""
    return event.type == "program-changed" or event.type.endswith("-snapshot") or event.data.get("again") is True


def _of_last_epoch(events: list[StreamEvent]) -> list[StreamEvent]:
    begin = max((n for n, event in enumerate(events) if event.type == "codes-epoch-started"), default=0)
    return events[begin:]
