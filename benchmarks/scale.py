"""Measures how the throughput on one program's backlog scales with the number of issuers."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final

from benchmarks.contenders import PRODUCT
from benchmarks.fresh import POSTGRES, fresh_servers
from benchmarks.machine import facts
from benchmarks.race import CODES_A_REQUEST, WARM_UP_SHARE, Heat, run
from benchmarks.report import Goal, Progress, Report
from codewell.infra.postgres.connection import connection
from services.standalone.servers import Servers

RATIO_GOAL: Final = 0.9
# Postgres logs each lock wait longer than this, and then checks for deadlocks.
LONG_WAIT: Final = {"log_lock_waits": "on", "deadlock_timeout": "1s"}
_WAITS: Final = " still waiting for "


async def bench_scale(requests: int, issuers: Sequence[int], repetitions: int, progress: Progress) -> Report:
    """Answer the backlog with each number of issuers in turn. Raises CodewellError."""
    report = Report("scale", facts())
    rates: dict[int, list[float]] = {count: [] for count in issuers}
    async with fresh_servers(progress, replace(POSTGRES, more=LONG_WAIT)) as servers:
        for repetition in range(1, repetitions + 1):
            for count in issuers:
                warm_up = max(1, requests // WARM_UP_SHARE)
                name = f"scale_{count}_{repetition}"
                heat = Heat(PRODUCT, count, requests, warm_up, requests * CODES_A_REQUEST, name)
                rates[count].append((await run(heat, servers)).rate)
                progress(f"{_label(count)}, {repetition} of {repetitions}: {rates[count][-1]:,.0f} requests/s")
        deadlocks, waits = await _deadlocks(servers), long_waits((servers.home.logs / "postgres.log").read_text())
    medians = [report.add(_label(count), "requests/s", seen).rate for count, seen in rates.items()]
    report.add("deadlocks", "in all", [deadlocks])
    report.add("waits for a lock over 1 s", "in all", [waits])
    shares = [rate / best for rate, best in zip(medians, accumulate(medians, max), strict=True)]
    report.goals.append(Goal("least share of what fewer issuers reach at best", min(shares), RATIO_GOAL))
    report.goals.append(Goal("deadlocks", deadlocks, 1, at_least=False))
    report.goals.append(Goal("waits for a lock over 1 s", waits, 1, at_least=False))
    return report


def long_waits(log: str) -> int:
    """The number of lock waits in Postgres' log."""
    return sum(_WAITS in line for line in log.splitlines())


def _label(count: int) -> str:
    return f"{count} issuer{'s' if count > 1 else ''}"


async def _deadlocks(servers: Servers) -> int:
    async with connection(servers.postgres.url, "codewell-bench") as opened:
        return int(await opened.fetchval("SELECT sum(deadlocks)::bigint FROM pg_stat_database"))
