"""Measures how fast old answers leave, beside a bare DELETE of as many, what is left of issuing meanwhile, and disk."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks import contestants
from benchmarks.contenders import PRODUCT
from benchmarks.fresh import fresh_servers
from benchmarks.grown import check_audit
from benchmarks.grown_answers import grow, indexes_afterwards
from benchmarks.machine import facts
from benchmarks.race import CODES_A_REQUEST, WARM_UP_SHARE, Heat, run
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.archiving import filters, horizon, leaving
from codewell.archiving.archive_folder import ArchiveFolder
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, Pool, connection, pool
from codewell.infra.telemetry.health import Health
from services.generator.archiver import Archiver
from services.generator.settings import GeneratorSettings
from services.standalone.child import Child
from services.standalone.servers import Servers

RATE_GOAL: Final = 50_000
SHARE_GOAL: Final = 0.9
RETENTION_DAYS: Final = 60
_REPLAY_DAYS: Final = 35
_PREFIX: Final = "leaving."
# What leaves beside an issuer must not end before the issuer has answered.
_TIMES_BESIDE: Final = 5
_POLL_S: Final = 0.02
_TIMEOUT_S: Final = 600.0

_NEWEST: Final = "SELECT max(id) FROM block"
_DELETE: Final = "DELETE FROM answer WHERE block_id = $1 AND position >= $2 AND position < $3 AND NOT again"
# So that the audit knows, and nothing looks for them again.
_GONE: Final = "UPDATE block SET archived = attached, archived_until = size WHERE id > $1"
_LEFT: Final = "SELECT coalesce(sum(archived), 0)::bigint FROM block"
_SOME_STAY: Final = """
    SELECT EXISTS (SELECT FROM block b JOIN program p ON p.id = b.program_id
                   WHERE p.name ^@ 'BESIDE_' AND coalesce(b.archived_until, 0) < b.size)
    """
_STAYED: Final = "SELECT count(*) FROM answer WHERE block_id > $1 AND block_id IS NOT NULL AND NOT again"
_BYTES: Final = "SELECT pg_database_size(current_database())"

_Leave = Callable[[Connection, int], Awaitable[None]]
"""Lets all answers leave that are in blocks with ids after a number."""


async def bench_retention(answers: int, requests: int, there: int, repetitions: int, progress: Progress) -> Report:
    """Let `answers` old answers leave in each way, then some beside an issuer with `requests`.

    Then both again as Codewell does it, beside `there` answers that are still needed; 0 omits that. Raises
    CodewellError.
    """
    report = Report("retention", facts())
    async with fresh_servers(progress) as servers:
        url = servers.postgres.url
        folder = servers.home.path / "archive"
        async with pool(url, "codewell-bench", 2) as own, connection(url, "codewell-bench") as opened:
            ways = _ways(servers, own, folder)
            await _alone(report, opened, ways, answers, repetitions, progress)
            await check_audit(url)
            await contestants.make_topics(servers, PRODUCT, _PREFIX)
            await _beside(report, servers, answers, requests, repetitions, progress)
            if there:
                # What was not measured is not to be measured later.
                await ways["codewell without rest"](opened, 0)
                await _load(opened, there, progress)
                await _among(report, opened, ways, answers, there, repetitions, progress)
                await _beside(report, servers, answers, requests, repetitions, progress, there)
    return report


def _ways(servers: Servers, own: Pool, folder: Path) -> dict[str, _Leave]:
    settings = GeneratorSettings(
        postgres_url=servers.postgres.url, kafka_bootstrap=servers.kafka.bootstrap,
        retention_days=RETENTION_DAYS, replay_days=_REPLAY_DAYS, archive_dir=folder,
    )  # fmt: skip
    archiver = Archiver(own, settings, Health("postgres"), asyncio.Event())

    async def as_it_is(_: Connection, _after: int) -> None:
        await archiver.look(RETENTION_DAYS)

    return {
        "codewell": as_it_is,
        "codewell without rest": _without_rest(ArchiveFolder(folder)),
        "codewell without rest, without files": _without_rest(None),
        "DELETE alone": _bare,
    }


def _without_rest(folder: ArchiveFolder | None) -> _Leave:
    async def leave(opened: Connection, after: int) -> None:
        limits = await horizon.move(opened, RETENTION_DAYS, _REPLAY_DAYS)
        for found in await leaving.blocks(opened, after, limits):
            block = await leaving.begin(opened, found, limits)
            while block is not None and (block.archived_until or 0) < block.size:
                block, _ = await leaving.remove(opened, block, limits, folder)

    return leave


async def _bare(opened: Connection, after: int) -> None:
    """In the batches of the product."""
    for block in await opened.fetch("SELECT id, size FROM block WHERE id > $1 ORDER BY id", after):
        for first in range(0, block["size"], leaving.POSITIONS_MAX):
            await opened.execute(_DELETE, block["id"], first, first + leaving.POSITIONS_MAX, timeout=_TIMEOUT_S)
    await opened.execute(_GONE, after)


async def _alone(
    report: Report, opened: Connection, ways: dict[str, _Leave], answers: int, repetitions: int, progress: Progress
) -> None:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    empty = await opened.fetchval(_BYTES)
    full = 0
    for number in range(repetitions * len(ways)):
        name = list(ways)[number % len(ways)]
        after = await opened.fetchval(_NEWEST) or 0
        await _grow(opened, f"OLD_{number}", answers, number * answers, progress)
        full = full or await opened.fetchval(_BYTES) - empty
        rates[name].append(await _rate(opened, ways[name], answers, after))
        progress(f"{name}, {number // len(ways) + 1} of {repetitions}: {rates[name][-1]:,.0f} answers/s")
    await opened.execute("VACUUM answer", timeout=_TIMEOUT_S)
    gone = await opened.fetchval(_BYTES) - empty
    seen = {name: report.add(name, "answers/s", some) for name, some in rates.items()}
    for name in ("codewell without rest", "codewell without rest, without files"):
        shares = [ours / bare for ours, bare in zip(rates[name], rates["DELETE alone"], strict=True)]
        report.add(f"{name} / DELETE alone", OF_CEILING, shares)
    report.add("disk of a million answers", "MB", [full / answers])
    report.add("left behind by a million answers, at most", "MB", [gone / (answers * repetitions * len(ways))])
    report.goals.append(Goal("answers a second", seen["codewell"].rate, RATE_GOAL))


async def _rate(opened: Connection, leave: _Leave, answers: int, after: int) -> float:
    """Answers a second, of `answers` in blocks with ids after `after`."""
    began = time.perf_counter()
    await leave(opened, after)
    seconds = time.perf_counter() - began
    if stayed := await opened.fetchval(_STAYED, after):
        raise CodewellError(f"{stayed:,} answers have not left.")
    return answers / seconds


async def _load(opened: Connection, there: int, progress: Progress) -> None:
    """Answers that are needed for years, of requests before and after those whose answers leave."""
    async with indexes_afterwards(opened, progress):
        await grow(opened, "NEEDED", there, 0, 7, progress)


async def _among(
    report: Report, opened: Connection, ways: dict[str, _Leave], answers: int, there: int, repetitions: int,
    progress: Progress,
) -> None:  # fmt: skip
    rates = []
    for repetition in range(1, repetitions + 1):
        after = await opened.fetchval(_NEWEST)
        await _grow(opened, f"AMONG_{repetition}", answers, there // 2 + repetition * answers, progress)
        rates.append(await _rate(opened, ways["codewell"], answers, after))
        progress(f"among {there:,}, {repetition} of {repetitions}: {rates[-1]:,.0f} answers/s")
    seen = report.add(f"codewell{_label(there)}", "answers/s", rates)
    report.goals.append(Goal(f"answers a second{_label(there)}", seen.rate, RATE_GOAL))


def _label(there: int) -> str:
    return f", {there:,} stay" if there else ""


async def _grow(opened: Connection, name: str, count: int, first: int, progress: Progress) -> None:
    """Fill freed pages as beside a generator, which drops their filters before that and after each vacuum."""
    await _drop_filters(opened)
    await grow(opened, name, count, first, 7, progress, ended=True)
    await _drop_filters(opened)


async def _drop_filters(opened: Connection) -> None:
    """Drop the filters of freed pages, once no vacuum is at the table: a generator tries again later too."""
    while True:
        try:
            await filters.drop(opened)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(_POLL_S)
        else:
            return


async def _beside(
    report: Report, servers: Servers, answers: int, requests: int, repetitions: int, progress: Progress,
    there: int = 0,
) -> None:  # fmt: skip
    """Issuing without a retention and with it, in turn."""
    alones, shares, rates = [], [], []
    for repetition in range(1, repetitions + 1):
        async with connection(servers.postgres.url, "codewell-bench") as opened:
            await _drop_filters(opened)
        alone = (await run(_heat(f"alone_{repetition}_{there}", requests), servers)).rate
        async with connection(servers.postgres.url, "codewell-bench") as opened:
            grown = _TIMES_BESIDE * answers
            first = there // 2 or 10**9
            await _grow(opened, f"BESIDE_{repetition}_{there}", grown, first + repetition * grown, progress)
        async with _leaving(servers) as generator:
            heat = _heat(f"beside_{repetition}_{there}", requests)
            beside = (await run(replace(heat, contender=replace(PRODUCT, stock=generator.stock)), servers)).rate
            rates.append(await generator.rate())
        alones.append(alone)
        shares.append(beside / alone)
        told = f"{alone:,.0f} requests/s, {beside:,.0f} beside {rates[-1]:,.0f} answers/s that leave"
        progress(f"issuing, {repetition} of {repetitions}: {told}")
    label = _label(there)
    report.add(f"beside an issuer{label}", "answers/s", rates)
    report.add(f"issuing without it{label}", "requests/s", alones)
    share = report.add(f"issuing beside it / without{label}", "share", shares)
    report.goals.append(Goal(f"share of issuing that is left{label}", share.rate, SHARE_GOAL))


def _heat(name: str, requests: int) -> Heat:
    return Heat(PRODUCT, 1, requests, max(1, requests // WARM_UP_SHARE), requests * CODES_A_REQUEST, name)


class _Generator:
    """A generator that lets answers leave, from the moment that there are codes for the requests."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._children: list[Child] = []
        self._began = 0.0
        self._left = 0

    async def stock(self, opened: Connection, name: str, count: int) -> None:
        """As the product's; then the generator starts, and the first answers have left when this returns."""
        await PRODUCT.stock(opened, name, count)
        if name.endswith("_warm_up"):
            return
        before = await opened.fetchval(_LEFT)
        self._children.append(await self._start())
        deadline = time.monotonic() + _TIMEOUT_S
        while (left := await opened.fetchval(_LEFT)) == before:
            contestants.check_alive(self._children)
            if time.monotonic() > deadline:
                raise CodewellError(f"No answer left in {_TIMEOUT_S:.0f} s: {self._children[0].last_words()}")
            await asyncio.sleep(_POLL_S)
        self._began, self._left = time.perf_counter(), left

    async def _start(self) -> Child:
        env = {
            **os.environ,
            "CODEWELL_POSTGRES_URL": self._servers.postgres.url,
            "CODEWELL_KAFKA_BOOTSTRAP": self._servers.kafka.bootstrap,
            "CODEWELL_TOPIC_PREFIX": _PREFIX,
            "CODEWELL_HEALTH_PORT": "-1",
            "CODEWELL_RETENTION_DAYS": str(RETENTION_DAYS),
            "CODEWELL_REPLAY_DAYS": str(_REPLAY_DAYS),
            "CODEWELL_ARCHIVE_DIR": str(self._servers.home.path / "archive"),
        }
        words = [sys.executable, "-m", "services", "generator"]
        return await Child.start("generator", words, log_path=self._servers.home.logs / "leaving.log", env=env)

    async def rate(self) -> float:
        """Answers a second that left since. Raises CodewellError when none is there to leave any more."""
        async with connection(self._servers.postgres.url, "codewell-bench") as opened:
            left, seconds = await opened.fetchval(_LEFT), time.perf_counter() - self._began
            if not await opened.fetchval(_SOME_STAY):
                raise CodewellError(
                    "All old answers left before the requests were answered: measure with more answers."
                )
        return float(left - self._left) / seconds

    async def stop(self) -> None:
        """Stop the process."""
        for child in self._children:
            await child.stop(timeout_s=contestants.STOP_TIMEOUT_S)


@asynccontextmanager
async def _leaving(servers: Servers) -> AsyncIterator[_Generator]:
    generator = _Generator(servers)
    try:
        yield generator
    finally:
        await generator.stop()
