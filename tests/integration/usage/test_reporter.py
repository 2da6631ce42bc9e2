"""What a worker reports of itself, and the usage that it writes, whatever happens to its connection."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.infra.telemetry.health import Health
from codewell.usage import reporter as reporter_module
from codewell.usage.reporter import Reporter, reporting
from codewell.usage.tally import UsageTally
from codewell.usage.usage_key import UsageKey
from tests.support.running import LIMIT_S, until
from tests.support.servers import as_role

COUNTS = {UsageKey(7, "campaign", "attached"): 5, UsageKey(7, "campaign", "pool_empty"): 2}


def figures(elapsed_s: float) -> dict[str, object]:
    assert elapsed_s > 0
    return {"answer_p99_ms": 12.5, "lag": {"message-render": 3.0}}


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[Pool]:
    """The reporter's pool, with an issuer's rights only."""
    async with pool(as_role(database_url, "issuer"), "codewell-reporter", 1) as opened:
        yield opened


def reporter_of(own: Pool, tally: UsageTally, health: Health | None = None) -> Reporter:
    return Reporter("issuer", own, health or Health(), tally, figures)


async def numbers(connection: Connection, table: str = "usage_minute") -> dict[str, int]:
    rows = await connection.fetch(f"SELECT outcome, sum(number)::int AS number FROM {table} GROUP BY 1")
    return {row["outcome"]: row["number"] for row in rows}


async def test_a_report_is_a_row_of_the_worker_and_its_usage(connection: Connection, own: Pool) -> None:
    tally, health = UsageTally(), Health("kafka (issue)")
    reporter = reporter_of(own, tally, health)
    tally.add(COUNTS)
    await reporter.report("running")

    row = await connection.fetchrow("SELECT * FROM worker")
    assert (row["service"], row["state"], row["report"]) == ("issuer", "running", 1)
    assert json.loads(row["waiting_for"]) == {"kafka (issue)": "not yet there"}
    counters = json.loads(row["counters"])
    assert counters.items() >= figures(1).items()
    assert counters["attached_per_s"].keys() == counters["refused_per_s"].keys() == {"campaign"}
    assert abs(row["seen_at"] - datetime.now(UTC)) < timedelta(seconds=30)

    tally.add(COUNTS)
    health.set_ready("kafka (issue)")
    await reporter.report("stopped")
    row = await connection.fetchrow("SELECT * FROM worker")
    assert (row["state"], json.loads(row["waiting_for"]), row["report"]) == ("stopped", {}, 2)
    for table in ("usage_minute", "usage_hour"):
        assert await numbers(connection, table) == {"attached": 10, "pool_empty": 4}


async def test_counts_belong_to_the_minute_in_which_they_were_added(connection: Connection, own: Pool) -> None:
    times = [1_000.0]
    tally = UsageTally(lambda: times[0])
    tally.add({UsageKey(7, "campaign", "attached"): 5})
    times[0] += 7_200
    tally.add({UsageKey(7, "campaign", "attached"): 1})
    await reporter_of(own, tally).report("running")

    for table, column in (("usage_minute", "minute"), ("usage_hour", "hour")):
        old, new = await connection.fetch(f"SELECT {column} AS at, number FROM {table} ORDER BY 1")
        assert (old["number"], new["number"]) == (5, 1)
        assert timedelta(hours=2) <= new["at"] - old["at"] <= timedelta(hours=2, minutes=1)


async def test_what_could_not_be_written_is_written_with_the_next_report(connection: Connection, own: Pool) -> None:
    tally = UsageTally()
    reporter = reporter_of(own, tally)
    tally.add(COUNTS)
    await connection.execute("ALTER TABLE usage_hour RENAME TO away")
    await reporter.report("running")
    tally.add(COUNTS)
    await reporter.report("running")
    assert await numbers(connection) == {}

    await connection.execute("ALTER TABLE away RENAME TO usage_hour")
    await reporter.report("running")
    assert await numbers(connection) == await numbers(connection, "usage_hour") == {"attached": 10, "pool_empty": 4}


async def test_a_report_whose_answer_was_lost_counts_once(
    connection: Connection, own: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = UsageTally()
    reporter = reporter_of(own, tally)
    write = Reporter._write

    async def write_and_lose(*arguments: Any) -> None:
        await write(*arguments)
        raise ConnectionResetError

    tally.add(COUNTS)
    monkeypatch.setattr(Reporter, "_write", write_and_lose)
    await reporter.report("running")
    assert await numbers(connection) == {"attached": 5, "pool_empty": 2}

    monkeypatch.setattr(Reporter, "_write", write)
    tally.add(COUNTS)
    await reporter.report("running")
    assert await numbers(connection) == {"attached": 10, "pool_empty": 4}


async def test_a_report_that_hangs_ends_and_is_made_up_for(connection: Connection, own: Pool) -> None:
    tally = UsageTally()
    reporter = reporter_of(own, tally)
    tally.add(COUNTS)
    async with connection.transaction():
        await connection.execute("LOCK TABLE usage_minute")
        async with asyncio.timeout(3):
            await reporter.report("running", 0.3)
    await reporter.report("running")

    assert await numbers(connection) == {"attached": 5, "pool_empty": 2}


async def test_workers_that_share_rows_never_lock_each_other_for_ever(
    connection: Connection, database_url: str
) -> None:
    keys = [UsageKey(number, source, "attached") for number in range(20) for source in ("campaign", "scenario")]

    async def report_often(backwards: bool) -> None:
        tally = UsageTally()
        async with pool(as_role(database_url, "issuer"), "codewell-reporter", 1) as own:
            reporter = reporter_of(own, tally)
            for _ in range(10):
                tally.add(dict.fromkeys(keys[:: -1 if backwards else 1], 1))
                await reporter.report("running")
            assert not reporter._is_failing

    await asyncio.gather(*(report_often(bool(number % 2)) for number in range(4)))

    assert await numbers(connection) == {"attached": 4 * 10 * len(keys)}


async def test_a_worker_reports_while_it_runs_and_a_last_time_at_its_end(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter_module, "INTERVAL_S", 0.05)
    tally, stop = UsageTally(), asyncio.Event()

    async def has_state(state: str) -> bool:
        return bool(await connection.fetchval("SELECT true FROM worker WHERE state = $1 AND report > 1", state))

    async with reporting("issuer", as_role(database_url, "issuer"), Health(), tally, figures, stop):
        await until(lambda: has_state("running"), "report")
        stop.set()
        await until(lambda: has_state("stopping"), "report of the stop")
        tally.add(COUNTS)
    assert await has_state("stopped")
    assert await numbers(connection) == {"attached": 5, "pool_empty": 2}


async def test_a_refusal_is_reported_long_before_the_interval_ends(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter_module, "INTERVAL_S", 600.0)
    monkeypatch.setattr(reporter_module, "URGENT_INTERVAL_S", 0.05)
    tally = UsageTally()

    async def is_reported() -> bool:
        return await numbers(connection) == {"attached": 5, "pool_empty": 2}

    async with reporting("issuer", as_role(database_url, "issuer"), Health(), tally, figures, asyncio.Event()):
        await until(lambda: connection.fetchval("SELECT count(*) = 1 FROM worker"), "first report")
        tally.add(COUNTS)
        await until(is_reported, "report of a refusal")


async def test_a_stop_does_not_wait_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "_LAST_REPORT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://codewell@127.0.0.1:{silent.getsockname()[1]}/codewell"
        async with asyncio.timeout(5), reporting("issuer", url, Health(), UsageTally(), figures, asyncio.Event()):
            await asyncio.sleep(0)


async def test_a_figure_that_can_not_be_read_loses_no_count(
    connection: Connection, own: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = UsageTally()
    broken = True

    def read(elapsed_s: float) -> dict[str, object]:
        if broken:
            raise KeyError("le")
        return figures(elapsed_s)

    reporter = Reporter("issuer", own, Health(), tally, read)
    tally.add(COUNTS)
    await reporter.report("running")
    broken = False
    await reporter.report("running")
    assert await numbers(connection) == {"attached": 5, "pool_empty": 2}


async def test_an_end_of_waiting_is_reported_before_the_interval(
    connection: Connection, own: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter_module, "INTERVAL_S", 10 * LIMIT_S)
    monkeypatch.setattr(reporter_module, "URGENT_INTERVAL_S", 0.1)
    health = Health("kafka (issue)")

    async def has_reported(waiting_for: dict[str, str]) -> bool:
        reported = await connection.fetchval("SELECT waiting_for FROM worker")
        return reported is not None and json.loads(reported) == waiting_for

    task = asyncio.create_task(reporter_of(own, UsageTally(), health).run(asyncio.Event()))
    try:
        await until(lambda: has_reported({"kafka (issue)": "not yet there"}), "first report")
        health.set_ready("kafka (issue)")
        await until(lambda: has_reported({}), "report of the end")
        health.set_waiting("postgres", "gone")
        await until(lambda: has_reported({"postgres": "gone"}), "report of a new wait")
    finally:
        task.cancel()
        await asyncio.wait((task,))
