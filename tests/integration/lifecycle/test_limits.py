"""How long the stream waits for Postgres: longer than for a statement, as it reads much at once."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from codewell.infra.postgres.connection import Connection
from codewell.infra.telemetry import health
from codewell.infra.telemetry.health import Health
from codewell.lifecycle import slot, snapshot
from codewell.lifecycle.facts import KnownFacts
from services.lifecycle.settings import LifecycleSettings
from services.lifecycle.worker import LifecycleWorker
from tests.support.running import until
from tests.support.site import Site
from tests.support.stream_worker import settings, until_ready

COMMAND_TIMEOUT_S = 0.5


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database_url, command_timeout=COMMAND_TIMEOUT_S)
    yield opened
    await opened.close()


async def test_decoding_may_take_longer_than_a_statement(reading: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "_PEEK", "SELECT convert_to($1 || $2::integer, 'UTF8') FROM pg_sleep(1.2)")
    async with reading.transaction():
        assert [page async for page in slot.peek(reading, "s-", 7)] == [[b"s-7"]]


async def test_a_snapshot_may_be_sorted_for_longer_than_a_statement(
    reading: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_PROGRAMS", "SELECT 1::bigint AS id, 'SPRING' AS name FROM pg_sleep(1.2)")
    async with reading.transaction():
        [[program]] = [page async for page in snapshot.drafts(reading, KnownFacts())]
    assert program.program_id == 1


async def test_a_slot_waits_for_transactions_that_are_open_longer_than_for_a_lock(
    connection: Connection, bystander: Connection
) -> None:
    name = await slot.slot_name(connection)
    await connection.execute("SET lock_timeout = 200")
    async with bystander.transaction():
        await bystander.execute("SELECT pg_current_xact_id()")
        making = asyncio.create_task(slot.create(connection, name))
        await asyncio.sleep(1)
        assert not making.done()
    assert await making > 0
    await connection.execute("SET lock_timeout = 200")
    await slot.drop(connection, name)


async def test_a_worker_that_waits_for_postgres_is_not_stuck(
    site: Site, bystander: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "STUCK_AFTER_S", 0.2)
    found, stop = Health("postgres", "kafka", "stream"), asyncio.Event()

    async def waits() -> bool:
        waiting: int = await site.database.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND state = 'active' AND query ~ 'pg_create_logical_replication_slot'"
        )
        return waiting > 0

    async with bystander.transaction():
        await bystander.execute("SELECT pg_current_xact_id()")
        working = asyncio.create_task(LifecycleWorker(LifecycleSettings(**settings(site)), found).run(stop))
        await until(waits, "slot that waits for the transaction")
        await asyncio.sleep(2 * health.STUCK_AFTER_S)
        assert found.stuck == []
    await until_ready(site)
    stop.set()
    await working
