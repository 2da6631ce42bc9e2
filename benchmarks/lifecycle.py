"""Measures the stream of codes: what it costs issuers, how far it is behind them, and how fast it reads a backlog."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from benchmarks import contestants
from benchmarks.contenders import PRODUCT
from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.race import CODES_A_REQUEST, WARM_UP_SHARE, Heat, Outcome, run
from benchmarks.report import Goal, Progress, Report
from benchmarks.usage import cpu_seconds, peak_memory_mb
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import connection
from services.lifecycle.main import drop_slot
from services.standalone.child import Child
from services.standalone.servers import Servers

COST_GOAL: Final = 0.1
LAG_GOAL_S: Final = 5.0
MEMORY_GOAL_MB: Final = 200
_PREFIX: Final = "stream."
_POLL_S: Final = 0.02
_TIMEOUT_S: Final = 900.0
_KINDS: Final = ("postgres", "issuer")


async def bench_lifecycle(requests: int, repetitions: int, progress: Progress) -> Report:
    """Answer `requests` requests beside the stream, and as many while it is stopped. Raises CodewellError."""
    report = Report("lifecycle", facts())
    seen: dict[str, list[float]] = {}
    off: list[Outcome] = []
    on: list[Outcome] = []
    async with fresh_servers(progress) as servers:
        await contestants.make_topics(servers, PRODUCT, _PREFIX)
        for repetition in range(1, repetitions + 1):
            async with _stream(servers) as child:
                before = cpu_seconds([child.pid])
                on.append(await run(_heat("on", repetition, requests), servers))
                lag_s = await _caught_up(servers, child)
                spent_us = 1e6 * (cpu_seconds([child.pid]) - before) / requests
            progress(f"beside it, {repetition} of {repetitions}: {on[-1].rate:,.0f} requests/s, {lag_s:.2f} s behind")
            # The worker is stopped, and these requests are its backlog.
            off.append(await run(_heat("off", repetition, requests), servers))
            progress(f"without, {repetition} of {repetitions}: {off[-1].rate:,.0f} requests/s")
            began = time.perf_counter()
            async with _stream(servers) as child:
                await _caught_up(servers, child)
                rate = requests / (time.perf_counter() - began)
                memory_mb = peak_memory_mb(child.pid)
            progress(f"a backlog, {repetition} of {repetitions}: {rate:,.0f} events/s")
            await drop_slot(servers.postgres.url)
            for name, value in (("lag", lag_s), ("cpu", spent_us), ("rate", rate), ("memory", memory_mb)):
                seen.setdefault(name, []).append(value)
    report.add("without the stream", "requests/s", [one.rate for one in off])
    report.add("beside the stream", "requests/s", [one.rate for one in on])
    for name, runs in (("without the stream", off), ("beside the stream", on)):
        for kind in _KINDS:
            report.add(f"{name}: CPU of {kind}", "us/request", [one.cpu_us(kind) for one in runs])
    shares = [after.cpu_us(*_KINDS) / before.cpu_us(*_KINDS) - 1 for before, after in zip(off, on, strict=True)]
    cost = report.add("more CPU of postgres and issuer", "share", shares)
    report.add("CPU of the worker", "us/request", seen["cpu"])
    lag = report.add("behind at the end", "s", seen["lag"])
    report.add("a backlog", "events/s", seen["rate"])
    memory = report.add("worker's peak memory", "MB", seen["memory"])
    report.goals.append(Goal("share more of postgres' and the issuer's CPU", cost.rate, COST_GOAL, at_least=False))
    report.goals.append(Goal("seconds behind at the end", lag.rate, LAG_GOAL_S, at_least=False))
    report.goals.append(Goal("MB of the worker's peak memory", memory.rate, MEMORY_GOAL_MB, at_least=False))
    return report


def _heat(name: str, repetition: int, requests: int) -> Heat:
    warm_up = max(1, requests // WARM_UP_SHARE)
    return Heat(PRODUCT, 1, requests, warm_up, requests * CODES_A_REQUEST, f"{name}_{repetition}")


@asynccontextmanager
async def _stream(servers: Servers) -> AsyncIterator[Child]:
    """Run the worker during the block, from the moment that it has published what there was."""
    env = {
        **os.environ,
        "CODEWELL_POSTGRES_URL": servers.postgres.url,
        "CODEWELL_KAFKA_BOOTSTRAP": servers.kafka.bootstrap,
        "CODEWELL_TOPIC_PREFIX": _PREFIX,
        "CODEWELL_HEALTH_PORT": "-1",
    }
    log_path = servers.home.logs / "lifecycle.log"
    child = await Child.start("lifecycle", [sys.executable, "-m", "services", "lifecycle"], log_path=log_path, env=env)
    try:
        await _until(servers, child, "SELECT bool_or(is_ready) FROM lifecycle_progress")
        yield child
    finally:
        await child.stop(timeout_s=contestants.STOP_TIMEOUT_S)


async def _caught_up(servers: Servers, child: Child) -> float:
    """Wait until all that was attached is published; how long that took (s)."""
    began = time.perf_counter()
    async with connection(servers.postgres.url, "codewell-bench") as opened:
        last = await opened.fetchval("SELECT pg_current_wal_flush_lsn()::text")
        # The worker notes how far it is when there was an event.
        await opened.execute("UPDATE program SET description = $1", last)
    await _until(servers, child, f"SELECT done > '{last}' FROM lifecycle_progress")  # noqa: S608  a place in the log
    return time.perf_counter() - began


async def _until(servers: Servers, child: Child, condition: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    async with connection(servers.postgres.url, "codewell-bench") as opened:
        while not await opened.fetchval(condition):
            contestants.check_alive([child])
            if time.monotonic() > deadline:
                raise CodewellError(f"The stream is not ready after {_TIMEOUT_S:.0f} s: {child.last_words()}")
            await asyncio.sleep(_POLL_S)
