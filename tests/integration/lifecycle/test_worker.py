"""The worker: what it publishes, in which order, and when it begins anew."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import SettingsInvalid, StackUnavailable
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.lifecycle import progress, stream
from codewell.profiles.forgetting import forget
from services.lifecycle import figures
from services.lifecycle.main import drop_slot, run_lifecycle
from services.lifecycle.settings import LifecycleSettings
from tests.support.running import until
from tests.support.site import Site
from tests.support.stream_fold import told
from tests.support.stream_worker import agree, attach, caught_up, events_of, header, records, until_ready, worker

PERSON = Actor("token", "marketing")


async def test_i11_what_there_was_and_what_happens_is_published_in_order(
    site: Site, claims_of: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "EVENTS_MAX", 7)
    monkeypatch.setattr(stream, "IDLE_S", 0.0)
    await site.program("SPRING", 60)
    await site.program("OTHER", 10)
    await attach(claims_of, 5)
    async with worker(site):
        await until_ready(site)
        await attach(claims_of, 30, first=3)
        await attach(claims_of, 4, "OTHER")
        await caught_up(site)
        partitions = await records(site)
        await agree(site, partitions)
        every = events_of(partitions)
        assert [one.kind for one in every[:1]] == ["codes-epoch-started"]
        assert every[0].data == {"epoch": 1, "reason": "switched_on"}
        # A program's events are in one partition, also those about it.
        homes = {(one.data.get("program_id"), number) for number, some in enumerate(partitions)
                 for one in (told(header(r, "ce_type"), r.value.decode()) for r in some)}  # fmt: skip
        assert len([home for home in homes if home[0] is not None]) == 2

        # A forgotten profile's old events name it no more, and its new ones have another name.
        before = next(one.data["profile"] for one in every if one.kind == "code-attached")
        await forget(site.database, "p-3", PERSON)
        await attach(claims_of, 1, first=3)
        await caught_up(site)
        again = [one.data["profile"] for one in events_of(await records(site)) if one.kind == "code-attached"][-1]
        assert again != before
        keys = await site.database.fetch("SELECT key, forgotten_at FROM lifecycle_profile WHERE profile_id = 'p-3'")
        assert [one["forgotten_at"] for one in keys] == [None]


async def test_a_lost_slot_begins_an_epoch_and_two_workers_are_one(site: Site, claims_of: Claims) -> None:
    await site.program("SPRING", 60)
    async with worker(site), worker(site):
        await until_ready(site)
        await attach(claims_of, 5)
        await caught_up(site)
        with pytest.raises(StackUnavailable, match="stop all codewell lifecycle first"):
            await drop_slot(site.postgres_url)
    await site.database.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                                "WHERE database = current_database()")  # fmt: skip
    # Nothing in the log tells of these.
    await attach(claims_of, 5, first=10)
    async with worker(site):

        async def is_second() -> bool:
            return bool(await site.database.fetchval("SELECT epoch = 2 AND is_ready FROM lifecycle_progress"))

        await until(is_second, "second epoch")
        await attach(claims_of, 5, first=20)
        await caught_up(site)
    partitions = await records(site)
    await agree(site, partitions)
    assert events_of(partitions)[0].data == {"epoch": 2, "reason": "slot_lost"}
    assert await drop_slot(site.postgres_url)
    assert not await drop_slot(site.postgres_url)
    assert [one.verb for one in await audit_log.page(site.database, 10)] == ["lifecycle.drop_slot"]
    assert await progress.read(site.database) is None
    async with worker(site):
        await until_ready(site)
    assert events_of(await records(site))[0].data == {"epoch": 3, "reason": "switched_on"}


async def test_a_user_without_the_attribute_is_told_what_to_do(site: Site) -> None:
    with pytest.raises(SettingsInvalid, match="ALTER ROLE codewell_lifecycle REPLICATION"):
        await run_lifecycle(LifecycleSettings(**site.settings("lifecycle")), asyncio.Event())


async def test_its_lag_grows_while_kafka_is_away_and_a_spare_has_none(
    site: Site, bystander: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.lifecycle.worker.LOCK_POLL_S", 0.02)
    monkeypatch.setattr("services.lifecycle.worker._STABLE_AFTER_S", 0.2)
    await site.program("SPRING", 60)
    figures.LAG.set(0)

    async def is_behind() -> bool:
        return bool(figures.LAG._value.get() > 1)

    async def is_even() -> bool:
        return bool(figures.LAG._value.get() == 0)

    with monkeypatch.context() as away:
        away.setattr("services.lifecycle.worker.publisher", _Away)
        async with worker(site):
            await until(is_behind, "lag")
            await bystander.execute("SELECT pg_advisory_lock($1, $2)", *stream.WORK_LOCK)
            await until(is_even, "spare without a lag")
            await bystander.execute("SELECT pg_advisory_unlock($1, $2)", *stream.WORK_LOCK)
            await until(is_behind, "lag")
    async with worker(site):
        await until_ready(site)
        await until(is_even, "all published")


class _Away:
    def __init__(self, *_: object) -> None:
        raise KafkaConnectionError
