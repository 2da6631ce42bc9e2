"""Measures the export of codes, beside rows written one by one and a bare Postgres COPY."""

import asyncio
import csv
import os
import sys
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.mint import TEMPLATE
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from benchmarks.usage import peak_memory_mb
from codewell.codes.export import ExportOptions, export, of_one_moment
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, connection, pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.issuing.model import Request
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.events import MessageRender
from schemas.program import Program, ProgramSettings, TemplateSource

RATE_GOAL: Final = 150_000
# Additional memory allowed for a file ten times as long (MB).
GROWTH_MB_GOAL: Final = 10.0
MEMORY_POLL_S: Final = 0.01
_BATCH: Final = 4_000
_TIMEOUT_S: Final = 600
_CURSOR_ROWS: Final = 1_000

_ROWS: Final = """
    CREATE TABLE exported (code text, state text, profile_id text, attached_at timestamptz, activated_at timestamptz,
                           expires_at timestamptz, deleted_at timestamptz)
    """
_ALL: Final = "SELECT * FROM exported"


@dataclass
class _Row:
    """A code in the usual build: one object for each row."""

    code: str
    state: str
    profile_id: str | None
    attached_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    deleted_at: datetime | None


async def bench_export(codes: int, repetitions: int, progress: Progress) -> Report:
    """Export codes of a template, half of them attached, and the same rows with the others. Raises CodewellError."""
    with Path(os.devnull).open("wb") as nowhere:  # noqa: ASYNC230  opening does not block
        return await _bench(codes, repetitions, progress, nowhere)


async def _bench(codes: int, repetitions: int, progress: Progress, nowhere: BufferedWriter) -> Report:
    report = Report("export", facts())
    product, peer, ceiling = [], [], []
    async with fresh_servers(progress) as servers:
        url = servers.postgres.url
        progress(f"making {codes:,} codes, and attaching half of them")
        large = await _fill(url, "LARGE", codes)
        await _fill(url, "SMALL", max(1, codes // 10))
        async with connection(url, "codewell-bench") as opened:
            with TemporaryDirectory(prefix="codewell-bench-") as directory:
                await _store(opened, large, Path(directory) / "exported.csv")
            for repetition in range(1, repetitions + 1):
                product.append(codes / await _timed(_export(opened, large, nowhere)))
                peer.append(codes / await _timed(_one_by_one(opened, nowhere)))
                ceiling.append(codes / await _timed(_copy(opened, nowhere)))
                rates = ", ".join(f"{rates[-1]:,.0f}" for rates in (product, peer, ceiling))
                progress(f"{repetition} of {repetitions}: {rates} rows/s")
        memory = {name: await _peak_memory_mb(url, name) for name in ("SMALL", "LARGE")}
    _fill_in(report, codes, memory, product, peer, ceiling)
    return report


def _fill_in(
    report: Report,
    codes: int,
    memory: Mapping[str, float],
    product: list[float],
    peer: list[float],
    ceiling: list[float],
) -> None:
    rate = report.add("codewell", "rows/s", product)
    report.add("the usual build, row by row", "rows/s", peer)
    report.add("COPY of stored rows", "rows/s", ceiling)
    report.add("codewell / the usual build", "times", [a / b for a, b in zip(product, peer, strict=True)])
    report.add("codewell / COPY", OF_CEILING, [a / b for a, b in zip(product, ceiling, strict=True)])
    report.add(f"peak memory, {codes:,} codes", "MB", [memory["LARGE"]])
    report.add(f"peak memory, {codes // 10:,} codes", "MB", [memory["SMALL"]])
    report.add_goal_and_double("rows/s", rate.rate, RATE_GOAL)
    report.goals.append(
        Goal("MB more for ten times the codes", memory["LARGE"] - memory["SMALL"], GROWTH_MB_GOAL, False)
    )


async def _fill(url: str, name: str, codes: int) -> Program:
    settings = ProgramSettings(
        name=name,
        source=TemplateSource(kind="template", template=TEMPLATE.text),
        codes_max=codes,
        pool_max=codes,
        ttl=timedelta(days=30),
        # With this many codes, codes of the template could be guessed, which is not measured here.
        allow_guessable=True,
    )
    minters = Minters(None)
    async with pool(url, "codewell-bench", 1) as opened:
        async with opened.acquire() as connected:
            program = await programs.create(connected, minters, settings, guesses_per_s=10)
            await fill.generate(connected, minters, program.id, codes, None)
        claims = Claims(opened, minters)
        for first in range(0, codes // 2, _BATCH):
            count = min(_BATCH, codes // 2 - first)
            await claims.attach([_request(name, f"p-{number}") for number in range(first, first + count)])
        await opened.execute(
            "INSERT INTO code_state (block_id, position, activated_at) SELECT block_id, position, now() FROM answer "
            "WHERE program_id = $1 AND position % 20 = 0",
            program.id,
            timeout=_TIMEOUT_S,
        )
        await opened.execute("VACUUM ANALYZE", timeout=_TIMEOUT_S)
    return program


def _request(program: str, profile_id: str) -> Request:
    event = MessageRender(profile_id=profile_id, campaign_id="bench", programs=(program,))
    return Request(uuid7(), event, event.program_names)


async def _store(opened: Connection, program: Program, file: Path) -> None:
    """Store the rows of an export, so that the others write the same rows."""
    with file.open("wb") as out:
        await _export(opened, program, out)
    await opened.execute(_ROWS)
    await opened.copy_to_table("exported", source=file, format="csv", header=True, timeout=_TIMEOUT_S)
    await opened.execute("VACUUM ANALYZE exported", timeout=_TIMEOUT_S)


async def _timed(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _export(opened: Connection, program: Program, out: IO[bytes]) -> None:
    async def write(some: bytes) -> None:
        out.write(some)

    async with of_one_moment(opened) as connections:
        await export(connections, Minters(None), program, ExportOptions(), write)


async def _one_by_one(opened: Connection, out: BufferedWriter) -> None:
    """The usual build: each row becomes an object, and each object a line."""
    text = TextIOWrapper(out, encoding="utf-8", newline="")
    writer = csv.writer(text)
    async with opened.transaction(readonly=True):
        async for record in opened.cursor(_ALL, prefetch=_CURSOR_ROWS):
            row = _Row(**record)
            moments = (row.attached_at, row.activated_at, row.expires_at, row.deleted_at)
            writer.writerow([row.code, row.state, row.profile_id, *(at.isoformat() if at else "" for at in moments)])
    # The file below stays open for the next measurement.
    text.detach()


async def _copy(opened: Connection, out: IO[bytes]) -> None:
    await opened.copy_from_query(_ALL, output=out, format="csv", timeout=_TIMEOUT_S)


async def _peak_memory_mb(url: str, program: str) -> float:
    """Peak memory of the command for a program (MB)."""
    words = (sys.executable, "-m", "services", "code", "export", program, "--output", os.devnull)
    env = {**os.environ, "CODEWELL_POSTGRES_URL": url, "CODEWELL_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    process = await asyncio.create_subprocess_exec(*words, env=env, stdout=asyncio.subprocess.DEVNULL)
    ended = asyncio.ensure_future(process.wait())
    peak_mb = 0.0
    try:
        while not ended.done():
            try:
                peak_mb = max(peak_mb, peak_memory_mb(process.pid))
            except (ProcessLookupError, FileNotFoundError):
                break
            await asyncio.wait((ended,), timeout=MEMORY_POLL_S)
        if await ended:
            raise CodewellError(f"The export of {program} ended with status {process.returncode}.")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return peak_mb
