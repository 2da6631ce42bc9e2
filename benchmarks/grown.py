"""Rate of answers in a database with very many stored answers.

The grown database is one of its own on the same server, so that it and a new, empty one are measured in turn.
Request ids are of version 7; a database with ids of version 4 is measured beside them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Final, NamedTuple
from uuid import uuid4

from benchmarks.contenders import PRODUCT
from benchmarks.fresh import POSTGRES, fresh_servers
from benchmarks.grown_answers import IdVersion, grow, indexes_afterwards
from benchmarks.grown_assignments import assign, bench_assignments
from benchmarks.huge_pages import allowed_huge_pages
from benchmarks.machine import facts
from benchmarks.race import CODES_A_REQUEST, WARM_UP_SHARE, Heat, run
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.audit.promises import audit
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, connection
from codewell.infra.postgres.migrations import migrate
from codewell.infra.uuid7 import uuid7
from services.standalone.servers import Servers

RATIO_GOAL: Final = 0.9
_HUGE_PAGES: Final = "SHOW huge_pages_status"


class Place(NamedTuple):
    """A database, its stored attachments, and the UUID version of its request ids."""

    database: str
    attached: int
    version: IdVersion

    @property
    def label(self) -> str:
        """Label in the report."""
        return f"{self.attached:,} attached{', ids of version 4' if self.version == 4 else ''}"


async def bench_grown(
    requests: int, attached: Sequence[int], random: int, reuse: bool, repetitions: int, checked: bool,
    progress: Progress,
) -> Report:  # fmt: skip
    """Answer the same backlog in empty databases, in one of each size of `attached`, and beside `random` random ids.

    Sizes are ascending and grown one after the other in the same database; `random` of 0 omits random ids. Then, for
    `reuse`, each code of the first size is assigned to its profile, and the policies of reuse are measured. `checked`
    audits each database at the end. Raises CodewellError.
    """
    report = Report("grown", facts())
    rates: dict[str, list[float]] = {}
    databases: set[str] = set()
    ratios: dict[Place, list[float]] = {}
    beside = [Place("random", random, 4)] if random else []
    async with _servers(report, progress) as servers:
        there = 0
        for size in attached:
            grown = [Place("grown", size, 7), *beside]
            # Each is one connection's work, and so one core's.
            await asyncio.gather(
                _grow(grown[0], there, servers, progress), *(_grow(place, 0, servers, progress) for place in beside)
            )
            for repetition in range(1, repetitions + 1):
                number = f"{size}_{repetition}"
                empty = Place(f"empty_{number}", 0, 7)
                await _grow(empty, 0, servers, progress)
                seen = {place: await _rate(place, requests, number, servers) for place in (empty, *grown)}
                for place, rate in seen.items():
                    progress(f"{place.label}, {repetition} of {repetitions}: {rate:,.0f} requests/s")
                    rates.setdefault(place.label, []).append(rate)
                for place in grown:
                    ratios.setdefault(place, []).append(seen[place] / seen[empty])
                databases |= {place.database for place in seen}
            there, beside = size, []
        _report(report, rates, ratios)
        if reuse:
            url, program = _url("grown", servers), _program(attached[0])
            await assign(url, program, progress)
            await bench_assignments(url, servers, report, requests, program, repetitions, progress)
        if checked:
            for database in sorted(databases):
                await check_audit(_url(database, servers))
    return report


@asynccontextmanager
async def _servers(report: Report, progress: Progress) -> AsyncIterator[Servers]:
    """Shared buffers of a quarter of the memory, as we advise, and no checkpoint by time during a run.

    They have huge pages where root runs it and the kernel has enough of them; the report says whether.
    """
    quarter_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 2**20
    settings = replace(POSTGRES, shared_buffers=f"{quarter_mb}MB", more={"checkpoint_timeout": "1h"})
    with allowed_huge_pages(quarter_mb):
        async with fresh_servers(progress, settings) as servers:
            async with connection(servers.postgres.url, "codewell-bench") as opened:
                report.machine["huge_pages"] = await opened.fetchval(_HUGE_PAGES)
            yield servers


def _report(report: Report, rates: dict[str, list[float]], ratios: dict[Place, list[float]]) -> None:
    for label, seen in rates.items():
        report.add(label, "requests/s", seen)
    for place, shares in ratios.items():
        ratio = report.add(f"{place.label} / empty", OF_CEILING, shares)
        if place.version == 7:
            report.goals.append(Goal(f"share of an empty database, {place.label}", ratio.rate, RATIO_GOAL))


def _url(database: str, servers: Servers) -> str:
    return f"{servers.postgres.url.rpartition('/')[0]}/{database}"


async def _grow(place: Place, there: int, servers: Servers, progress: Progress) -> None:
    """Grow the database from `there` attachments to its size; creates it at the first call."""
    url = _url(place.database, servers) if there else await _create(place.database, servers)
    if place.attached > there:
        async with connection(url, "codewell-bench") as opened, _indexed(place, opened, progress):
            name, count = _program(place.attached), place.attached - there
            await grow(opened, name, count, there, place.version, progress, scatter=True)


def _program(attached: int) -> str:
    """The program with which a database grows to so many attachments."""
    return f"OLD_{attached}"


def _indexed(place: Place, opened: Connection, progress: Progress) -> AbstractAsyncContextManager[None]:
    """An index of ascending ids is the same whether it grows or is built; that of random ones grows as in life."""
    return indexes_afterwards(opened, progress) if place.version == 7 else nullcontext()


async def _create(database: str, servers: Servers) -> str:
    """Create a database with the schema, and return its URL."""
    url = _url(database, servers)
    async with connection(servers.postgres.url, "codewell-bench") as opened:
        await opened.execute(f'CREATE DATABASE "{database}"')
    async with connection(url, "codewell-bench") as opened:
        await migrate(opened)
    return url


async def _rate(place: Place, requests: int, name: str, servers: Servers) -> float:
    """Requests a second."""
    warm_up = max(1, requests // WARM_UP_SHARE)
    new_id = uuid7 if place.version == 7 else uuid4
    name = f"{place.database}_at_{name}"
    codes = requests * CODES_A_REQUEST
    heat = Heat(PRODUCT, 1, requests, warm_up, codes, name, _url(place.database, servers), new_id)
    return (await run(heat, servers)).rate


async def check_audit(url: str) -> None:
    """Raise CodewellError when an invariant is violated in this database."""
    async with connection(url, "codewell-bench") as opened:
        for finding in await audit(opened):
            raise CodewellError(f"The grown database breaks {finding.rule.promise}: {finding.rule.says}.")
