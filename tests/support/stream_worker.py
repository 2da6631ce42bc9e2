"""Runs workers of the stream, and reads what they published."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from codewell.infra.kafka.clients import reader
from codewell.issuing.claim import Claims
from codewell.lifecycle import slot
from codewell.lifecycle.records import StreamPlace, event_id
from schemas import topics
from services.lifecycle.main import run_lifecycle
from services.lifecycle.settings import LifecycleSettings
from tests.support.factories import message
from tests.support.running import running, until
from tests.support.site import Site
from tests.support.stream_fold import Code, Told, comparable, folded, told, truth

# Processes that are killed start again meanwhile, each of which takes seconds.
_LIMIT_S = 60.0


def worker(site: Site, **given: object) -> AbstractAsyncContextManager[asyncio.Event]:
    return running(run_lifecycle, LifecycleSettings(**{**settings(site), **given}))


def settings(site: Site) -> dict[str, Any]:
    # The role lacks REPLICATION, which belongs to a user: the tests' superuser has it.
    return site.settings("lifecycle") | {"postgres_url": site.postgres_url}


async def records(site: Site) -> list[list[ConsumerRecord]]:
    """All records of each partition of the stream."""
    consumer = reader(site.bootstrap, from_start=True)
    await consumer.start()
    try:
        topic = site.prefix + topics.CODE_LIFECYCLE
        parts = [TopicPartition(topic, n) for n in sorted(await site.producer.partitions_for(topic))]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        found: dict[TopicPartition, list[ConsumerRecord]] = {part: [] for part in parts}
        while any(len(found[part]) < ends[part] for part in parts):
            for part, some in (await consumer.getmany(timeout_ms=1000)).items():
                found[part] += some
        return [found[part] for part in parts]
    finally:
        await consumer.stop()


def header(record: ConsumerRecord, name: str) -> str:
    return bytes(dict(record.headers)[name]).decode()


def sequences(partition: list[ConsumerRecord]) -> list[str]:
    return [header(one, "ce_sequence") for one in partition]


def events_of(partitions: list[list[ConsumerRecord]]) -> list[Told]:
    """The events of the last epoch in the order of their sequences, each once."""
    every = {header(one, "ce_sequence"): one for partition in partitions for one in partition}
    last = max(StreamPlace.parse(text).epoch for text in every)
    return [
        told(header(every[text], "ce_type"), every[text].value.decode())
        for text in sorted(every)
        if StreamPlace.parse(text).epoch == last
    ]


async def agree(site: Site, partitions: list[list[ConsumerRecord]]) -> None:
    """The folded stream is what the tables say; each profile has one pseudonym, and each pseudonym one profile."""
    found, wanted = comparable(folded(events_of(partitions))), comparable(await truth(site.database))
    names = {found[at].profile: one.profile for at, one in wanted.items()}
    assert len(set(names.values())) == len(names)
    assert {at: _named(one, names) for at, one in found.items()} == wanted
    for partition in partitions:
        assert sequences(partition) == sorted(set(sequences(partition)))
        assert [header(one, "ce_id") for one in partition] == [event_id(text) for text in sequences(partition)]


def _named(code: Code, names: dict[str | None, str | None]) -> Code:
    return code._replace(profile=names[code.profile])


async def caught_up(site: Site) -> None:
    """Wait until all that was committed before is published."""
    end = await site.database.fetchval("SELECT pg_current_wal_flush_lsn()")

    async def is_there() -> bool:
        await site.database.execute("SELECT pg_logical_emit_message(true, 'test', '')")
        row = await site.database.fetchrow("SELECT is_ready, done FROM lifecycle_progress")
        status = await slot.status(site.database, await slot.slot_name(site.database))
        return row is not None and row["is_ready"] and status is not None and status.done >= end

    await until(is_there, "everything published", _LIMIT_S)


async def attach(claims: Claims, count: int, name: str = "SPRING", first: int = 0) -> None:
    requests = [message(name, profile_id=f"p-{first + n}") for n in range(count)]
    rows = (await claims.attach(requests)).rows
    assert all(row.code for some in rows.values() for row in some)


async def until_ready(site: Site) -> None:
    async def is_ready() -> bool:
        return bool(await site.database.fetchval("SELECT bool_and(is_ready) FROM lifecycle_progress"))

    await until(is_ready, "snapshot", _LIMIT_S)
