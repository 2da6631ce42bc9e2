"""Measures the cost of a whole stack: start time, memory, and CPU time for a million requests."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx
from aiokafka import AIOKafkaConsumer

from benchmarks import contestants
from benchmarks.backlog import Answers, Backlog
from benchmarks.http_load import Plan, load, request
from benchmarks.machine import facts
from benchmarks.mint import TEMPLATE
from benchmarks.proof import check_audit
from benchmarks.report import Goal, Progress, Report
from benchmarks.usage import child_commands, cpu_seconds, peak_memory_mb
from codewell.client.exchange import publish_program_changed
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from codewell.infra.postgres.connection import connection
from codewell.infra.uuid7 import uuid7
from codewell.pool.minter_cache import Minters
from codewell.programs import overview, programs
from schemas import topics
from schemas.program import ProgramSettings, TemplateSource
from services.standalone.child import Child
from services.standalone.home import Endpoints

START_GOAL_S: Final = 5.0
MEMORY_GOAL_MB: Final = 150
SERVICES: Final = ("issuer", "generator", "console")
NAME: Final = "BENCH"
_MILLION: Final = 1_000_000
_HTTP_SHARE: Final = 20
_CONNECTIONS: Final = 32
_POLL_S: Final = 0.01
_START_TIMEOUT_S: Final = 60.0
_ANSWERS_TIMEOUT_S: Final = 300.0
_STOP_TIMEOUT_S: Final = 20.0

Figures = dict[tuple[str, str], list[float]]
"""Values by name and unit, in their order in the report."""


async def bench_processes(requests: int, repetitions: int, progress: Progress) -> Report:
    """Start a stack on an empty directory, answer `requests` requests, and start it again. Raises CodewellError."""
    report = Report("processes", facts())
    figures: Figures = {}
    for repetition in range(1, repetitions + 1):
        with TemporaryDirectory(prefix="codewell-bench-") as directory:
            # When root runs this, Postgres runs as another user, which needs access.
            Path(directory).chmod(0o711)
            cold_s, warm_s = await _starts_and_works(Path(directory), requests, figures)
        progress(f"{repetition} of {repetitions}: started in {cold_s:.2f} s, and with its data in {warm_s:.2f} s")
    for (name, unit), values in figures.items():
        median = report.add(name, unit, values)
        if unit == "MB":
            report.goals.append(Goal(f"MB of {name}", median.rate, MEMORY_GOAL_MB, at_least=False))
        if name.startswith("start"):
            report.goals.append(Goal(f"seconds to {name}", median.rate, START_GOAL_S, at_least=False))
    return report


async def _starts_and_works(directory: Path, requests: int, figures: Figures) -> tuple[float, float]:
    """The duration of both starts (s)."""

    def note(name: str, unit: str, value: float) -> None:
        figures.setdefault((name, unit), []).append(value)

    async with _stack(directory) as (cold_s, child, endpoints):
        note("start, no data", "s", cold_s)
        pids = _pids(child)
        for name, spent_s in (await _issued(child, pids, endpoints, requests)).items():
            note(f"CPU of {name} for a million requests", "s", spent_s * _MILLION / requests)
        attachments = -(-requests // _HTTP_SHARE)
        for name, spent_s in (await _attached(pids, endpoints, attachments)).items():
            note(f"CPU of {name} for a million attachments by HTTP", "s", spent_s * _MILLION / attachments)
        await _check(endpoints, requests + attachments)
        for service in SERVICES:
            note(f"peak memory of the {service}", "MB", peak_memory_mb(pids[service]))
    async with _stack(directory) as (warm_s, _, _):
        note("start, with data", "s", warm_s)
    return cold_s, warm_s


@asynccontextmanager
async def _stack(directory: Path) -> AsyncIterator[tuple[float, Child, Endpoints]]:
    """Start a standalone stack as people do; the time until it prints its addresses (s)."""
    home = directory / "home"
    written = home / "endpoints.json"
    words = [sys.executable, "-m", "services", "standalone", "--home", str(home)]
    # With bytecode, as an installed package has it.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    child = await Child.start("standalone", words, log_path=directory / "standalone.log", env=env)
    try:
        while not written.exists():
            contestants.check_alive([child])
            if time.perf_counter() - began > _START_TIMEOUT_S:
                raise CodewellError(f"The stack was not ready in {_START_TIMEOUT_S:.0f} s: {child.last_words()}")
            await asyncio.sleep(_POLL_S)
        yield time.perf_counter() - began, child, Endpoints.model_validate_json(written.read_text())
    finally:
        await child.stop(timeout_s=_STOP_TIMEOUT_S)


def _pids(stack: Child) -> dict[str, int]:
    """The processes of a stack by their kind."""
    pids = {}
    for pid, words in child_commands(stack.pid).items():
        if words[-1] in SERVICES:
            pids[words[-1]] = pid
        else:
            pids["postgres" if Path(words[0]).name == "postgres" else "kafka"] = pid
    return pids


async def _issued(stack: Child, pids: dict[str, int], endpoints: Endpoints, requests: int) -> dict[str, float]:
    """Create a program, and answer `requests` requests; the CPU time of each process meanwhile (s)."""
    settings = ProgramSettings(
        name=NAME, source=TemplateSource(kind="template", template=TEMPLATE.text), campaign_can_create=True,
        codes_max=10 * requests, pool_max=requests, allow_guessable=True,
    )  # fmt: skip
    bootstrap = endpoints.kafka_bootstrap
    counting = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    async with clients.started_producer(bootstrap) as producer, counting:
        async with connection(endpoints.postgres_url, "codewell-bench") as opened:
            program = await programs.create(opened, Minters(None), settings, guesses_per_s=10)
        await publish_program_changed(producer, "", program.id, program.name)
        partitions = topics.PARTITIONS_ON_ONE_MACHINE
        backlog = Backlog(producer, "", NAME, requests, partitions=partitions)
        answers = Answers(counting, "", partitions=partitions)
        before = _cpu(pids)
        await backlog.store()
        deadline = time.monotonic() + _ANSWERS_TIMEOUT_S
        while (there := await answers.count()) < requests:
            contestants.check_alive([stack])
            if time.monotonic() > deadline:
                raise CodewellError(f"The stack has given {there:,} answers of {requests:,}: too few in its time.")
            await asyncio.sleep(_POLL_S)
        return _since(before, pids, ("issuer", "generator", "postgres", "kafka"))


async def _attached(pids: dict[str, int], endpoints: Endpoints, count: int) -> dict[str, float]:
    """Attach `count` codes over the console; the CPU time of each process meanwhile (s)."""
    url = httpx.URL(endpoints.api_url)
    path, token = f"/api/v1/programs/{NAME}/codes:attach", endpoints.admin_token or ""
    asked = [request("POST", path, token, {"profile_id": f"p-{number}"}, str(uuid7())) for number in range(count)]
    before = _cpu(pids)
    seen = await load(Plan(url.host, url.port or 80, _CONNECTIONS, asked, None))
    if set(seen.statuses) != {200}:
        raise CodewellError(f"Not every answer of the console was 200: {seen.statuses}.")
    return _since(before, pids, ("console", "postgres"))


def _cpu(pids: dict[str, int]) -> dict[str, float]:
    return {name: cpu_seconds([pid]) for name, pid in pids.items()}


def _since(before: dict[str, float], pids: dict[str, int], names: tuple[str, ...]) -> dict[str, float]:
    now = _cpu(pids)
    return {name: now[name] - before[name] for name in names}


async def _check(endpoints: Endpoints, wanted: int) -> None:
    """Check that all answers have codes: refusals are answers too, and cheap ones."""
    async with connection(endpoints.postgres_url, "codewell-bench") as opened:
        attached = (await overview.stock(opened, NAME)).attached
        if attached != wanted:
            raise CodewellError(f"The stack has given {attached:,} codes for {wanted:,} requests.")
        await check_audit(opened)
