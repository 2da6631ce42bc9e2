"""Time for generators to fill very many pools whose demands are published at once.

A pool gets to half its mark by doubling the mark, which changes nothing else: the generators do the same work as after
codes were given out, and no code has to be given out for it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks import contestants
from benchmarks.fresh import fresh_servers
from benchmarks.generators import generators
from benchmarks.machine import facts
from benchmarks.mint import TEMPLATE
from benchmarks.proof import check_audit
from benchmarks.report import Goal, Progress, Report
from benchmarks.usage import cpu_seconds, peak_memory_mb
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres.connection import Connection, Pool, connection, pool
from codewell.pool import fill
from codewell.pool.demand import LowPool
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas import topics
from schemas.program import ProgramSettings, TemplateSource
from services.issuer.demand_publisher import DemandPublisher
from services.standalone.child import Child
from services.standalone.servers import Servers

SECONDS_GOAL: Final = 10.0
GENERATORS: Final = (1, 4)
# Mark of each pool before the first heat; each heat doubles it.
MARK: Final = 100
_WARM_UP_SHARE: Final = 20
_MAKERS: Final = 4
_POLL_S: Final = 0.02
_TIMEOUT_S: Final = 300.0

_RAISE: Final = """
    WITH raised AS (UPDATE program SET pool_max = 2 * pool_max WHERE id = ANY($1::bigint[]) RETURNING id, pool_max)
    SELECT id, pool_max FROM raised
    """
_MADE: Final = "SELECT sum(made) FROM program WHERE id = ANY($1::bigint[])"
_WRONG: Final = "SELECT count(*) FROM program WHERE made <> pool_max"


class Filled(NamedTuple):
    """The cost of one heat: time, CPU of the generators (s), and the memory of the largest of them (MB)."""

    seconds: float
    cpu_s: float
    memory_mb: float


async def bench_fill(pools: int, repetitions: int, progress: Progress) -> Report:
    """Fill `pools` pools that are at half their mark, by one generator and by four in turn. Raises CodewellError."""
    report = Report("fill", facts())
    heats: dict[int, list[Filled]] = {count: [] for count in GENERATORS}
    # The same maximum for all pools, so that the last heat fits.
    codes_max = MARK << (repetitions * len(GENERATORS) + 1)
    async with fresh_servers(progress) as servers:
        await create_topics(servers.kafka.bootstrap, "")
        progress(f"making {pools:,} programs")
        warm_up = await _make(servers.postgres.url, "WARM_UP", -(-pools // _WARM_UP_SHARE), codes_max)
        measured = await _make(servers.postgres.url, "BENCH", pools, codes_max)
        for repetition in range(1, repetitions + 1):
            for count in GENERATORS:
                heat = await _heat(servers, count, warm_up, measured)
                heats[count].append(heat)
                progress(f"{_named(count)}, {repetition} of {repetitions}: {heat.seconds:.2f} s")
        async with connection(servers.postgres.url, "codewell-bench") as opened:
            await check_audit(opened)
    for count, filled in heats.items():
        median = report.add(f"{pools:,} pools, {_named(count)}", "s", [one.seconds for one in filled])
        report.add(f"{_named(count)}", "pools/s", [pools / one.seconds for one in filled])
        report.add(f"{_named(count)}: CPU", "ms/pool", [1_000 * one.cpu_s / pools for one in filled])
        report.add(f"{_named(count)}: peak memory of one", "MB", [one.memory_mb for one in filled])
        report.goals.append(
            Goal(f"seconds for {pools:,} pools, {_named(count)}", median.rate, SECONDS_GOAL, at_least=False)
        )
    few, many = (heats[count] for count in GENERATORS)
    ratios = [one.seconds / other.seconds for one, other in zip(few, many, strict=True)]
    report.add(f"pools/s of {GENERATORS[1]} / of {GENERATORS[0]}", "times", ratios)
    return report


def _named(generators: int) -> str:
    return f"{generators} generator{'s' if generators > 1 else ''}"


async def _make(url: str, name: str, count: int, codes_max: int) -> list[int]:
    """Create `count` programs with full pools; returns their ids."""
    numbers = iter(range(count))
    made: list[int] = []

    async def make_some(connections: Pool) -> None:
        minters = Minters(None)
        async with connections.acquire() as opened:
            for number in numbers:
                settings = ProgramSettings(
                    name=f"{name}_{number}", source=TemplateSource(kind="template", template=TEMPLATE.text),
                    campaign_can_create=True, codes_max=codes_max, pool_max=MARK,
                )  # fmt: skip
                program = await programs.create(opened, minters, settings, guesses_per_s=10)
                await fill.top_up(opened, minters, program.id)
                made.append(program.id)

    async with pool(url, "codewell-bench", _MAKERS) as connections:
        await asyncio.gather(*(make_some(connections) for _ in range(_MAKERS)))
    return made


async def _heat(servers: Servers, count: int, warm_up: Sequence[int], measured: Sequence[int]) -> Filled:
    async with (
        generators(servers, count) as children,
        connection(servers.postgres.url, "codewell-bench") as opened,
        clients.started_producer(servers.kafka.bootstrap) as producer,
    ):
        # Publishes as an issuer does, with a new publisher for each heat.
        demands = DemandPublisher(producer, topics.POOL_DEMAND, 0)
        pids = [child.pid for child in children]
        await _fill(opened, demands, warm_up, children)
        before_s = cpu_seconds(pids)
        seconds = await _fill(opened, demands, measured, children)
        cpu_s = cpu_seconds(pids) - before_s
        if wrong := await opened.fetchval(_WRONG):
            raise CodewellError(f"{wrong:,} pools have other codes than up to their mark.")
        return Filled(seconds, cpu_s, max(map(peak_memory_mb, pids)))


async def _fill(opened: Connection, demands: DemandPublisher, ids: Sequence[int], children: Sequence[Child]) -> float:
    """Time from the first published demand until the last pool is full (s)."""
    raised = await opened.fetch(_RAISE, ids)
    wanted = sum(row["pool_max"] for row in raised)
    began = time.perf_counter()
    await demands.publish({row["id"]: LowPool(row["pool_max"] // 2, is_urgent=True) for row in raised})
    while (made := await opened.fetchval(_MADE, ids)) < wanted:
        contestants.check_alive(children)
        if time.perf_counter() - began > _TIMEOUT_S:
            raise CodewellError(f"The generators have made {made:,} codes of {wanted:,} in {_TIMEOUT_S:.0f} s.")
        await asyncio.sleep(_POLL_S)
    return time.perf_counter() - began
