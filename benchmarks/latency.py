"""Latency of answers at a given rate of requests: from the time the request was due until its answer was read.

The product and a Kafka echo, which reads and answers without a database, get the same load in turn from a process of
their own. Before that, a long load on both lets the broker's JVM optimize its hot code; the first second of each load
is a warm-up too.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import Final, NamedTuple

from benchmarks import contestants
from benchmarks.contenders import CEILING, PRODUCT, Contender
from benchmarks.fresh import fresh_servers
from benchmarks.loader import loaded
from benchmarks.machine import facts
from benchmarks.paced_load import Plan, Seen
from benchmarks.race import Heat, check_given
from benchmarks.report import Goal, Progress, Report
from codewell.infra.postgres.connection import connection
from services.standalone.servers import Servers

NAME: Final = "LATENCY"
WARM_UP_S: Final = 1
# How many times as long as the echo an answer may take, by rate.
P50_GOAL: Final = {1_000: 2.0}
P99_GOAL: Final = {1_000: 2.0, 10_000: 1.7}
ECHO: Final = "Kafka echo"


class Times(NamedTuple):
    """The latencies of one load (ms)."""

    p50: float
    p99: float
    late_p99: float


async def bench_latency(
    rates: Sequence[int], seconds: int, warm_up_s: int, repetitions: int, progress: Progress
) -> Report:
    """Load both at each rate (1/s) in turn, `repetitions` times for `seconds` each (s), after one warm-up load each.

    Raises CodewellError.
    """
    report = Report("latency", facts())
    found: dict[tuple[str, int], list[Times]] = {}
    first = max(rates) * (warm_up_s + WARM_UP_S)
    codes = first + sum(rates) * (seconds + WARM_UP_S) * repetitions
    async with fresh_servers(progress) as servers, AsyncExitStack() as running:
        for contender in (PRODUCT, CEILING):
            prefix = f"{contender.group}."
            await contestants.make_topics(servers, contender, prefix)
            async with connection(servers.postgres.url, "codewell-bench") as opened:
                await contender.stock(opened, NAME, codes)
            await running.enter_async_context(contestants.processes(servers, contender, prefix, 1))
        async with asyncio.TaskGroup() as group:
            for contender in (PRODUCT, CEILING):
                group.create_task(_load(servers, contender, max(rates), warm_up_s))
        for repetition in range(1, repetitions + 1):
            for rate in rates:
                for label, contender in ((PRODUCT.name, PRODUCT), (ECHO, CEILING)):
                    times = await _load(servers, contender, rate, seconds)
                    found.setdefault((label, rate), []).append(times)
                    progress(
                        f"{label} at {rate:,}/s, {repetition} of {repetitions}: p50 {times.p50:.1f} ms, "
                        f"p99 {times.p99:.1f} ms; requests were {times.late_p99:.1f} ms late (p99)"
                    )
        await check_given(Heat(PRODUCT, 1, codes, 0, codes, NAME), servers)
    _report(report, found)
    return report


async def _load(servers: Servers, contender: Contender, rate: int, seconds: int) -> Times:
    plan = Plan(servers.kafka.bootstrap, f"{contender.group}.", NAME, rate * (seconds + WARM_UP_S), rate)
    seen = Seen(*await loaded("benchmarks.paced_load", plan))
    times, late = (values[rate * WARM_UP_S :] for values in seen)
    return Times(median(times), percentile(times, 99), percentile(late, 99))


def percentile(values: Sequence[float], percent: int) -> float:
    """The percentile: the least value that `percent` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _report(report: Report, found: dict[tuple[str, int], list[Times]]) -> None:
    for (label, rate), loads in found.items():
        name = f"{label} at {rate:,}/s"
        report.add(f"{name}, p50", "ms", [times.p50 for times in loads])
        report.add(f"{name}, p99", "ms", [times.p99 for times in loads])
        report.add(f"{name}, requests late, p99", "ms of delay", [times.late_p99 for times in loads])
    for rate in dict.fromkeys(rate for _, rate in found):
        pairs = list(zip(found[PRODUCT.name, rate], found[ECHO, rate], strict=True))
        p50 = report.add(f"at {rate:,}/s, p50 / {ECHO}", "times", [mine.p50 / echo.p50 for mine, echo in pairs])
        p99 = report.add(f"at {rate:,}/s, p99 / {ECHO}", "times", [mine.p99 / echo.p99 for mine, echo in pairs])
        for word, times, goals in (("p50", p50, P50_GOAL), ("p99", p99, P99_GOAL)):
            if rate in goals:
                name = f"times the {ECHO} at {rate:,}/s, {word}"
                report.goals.append(Goal(name, times.rate, goals[rate], at_least=False))
