"""Measures reservations: made and released in a template program, split off a list, and claims that take from one."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks import generate
from benchmarks.fresh import fresh_postgres
from benchmarks.machine import facts
from benchmarks.mint import TEMPLATE
from benchmarks.proof import check_audit
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, connection, pool
from codewell.issuing.claim import Claims
from codewell.minting.minter import MINTER_KEY_BYTES, Minter
from codewell.pool import copy_codes, fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.reservations import reservations
from schemas.program import ImportSource, ProgramSettings
from schemas.reservations import ReservationAnswer, ReservationRequest

SECONDS_GOAL: Final = 0.1
CLAIMS_GOAL: Final = 0.9
_CAMPAIGN: Final = "bench"


async def bench_reservations(codes: int, stored: int, requests: int, repetitions: int, progress: Progress) -> Report:
    """Reserve and release `codes`, reserve half of a list of `stored`, and attach `requests`. Raises CodewellError."""
    report = Report("reservations", facts())
    async with fresh_postgres(progress) as (_, server):
        async with connection(server.url, "codewell-bench") as opened:
            reserve_s, release_s = await _reserved(report, opened, codes, repetitions, progress)
            await _split(report, opened, stored, repetitions, progress)
        share = await _claimed(report, server.url, requests, repetitions, progress)
        async with connection(server.url, "codewell-bench") as opened:
            await check_audit(opened)
    report.goals += [
        Goal(f"seconds to reserve {codes:,} codes", reserve_s, SECONDS_GOAL, at_least=False),
        Goal(f"seconds to release {codes:,} codes", release_s, SECONDS_GOAL, at_least=False),
        Goal("share of claims without a reservation", share, CLAIMS_GOAL),
    ]
    return report


async def _reserved(
    report: Report, opened: Connection, codes: int, repetitions: int, progress: Progress
) -> tuple[float, float]:
    """The median times of one program (s), whose first reservation warms up the connection and is not measured."""
    minters = Minters(None)
    program_id = await generate.program(opened, minters, "RESERVED", codes * (repetitions + 1))
    reserve_s, release_s = [], []
    for repetition in range(repetitions + 1):
        began = time.perf_counter()
        made = await _reserve(opened, minters, program_id, codes)
        done = time.perf_counter()
        await reservations.release(opened, program_id, made.id)
        if repetition:
            reserve_s.append(done - began)
            release_s.append(time.perf_counter() - done)
            progress(f"{repetition} of {repetitions}: {codes:,} codes in {1_000 * reserve_s[-1]:,.1f} ms, "
                     f"released in {1_000 * release_s[-1]:,.1f} ms")  # fmt: skip
    reserving = report.add(f"reserve {codes:,} codes", "s", reserve_s)
    return reserving.rate, report.add(f"release {codes:,} codes", "s", release_s).rate


async def _reserve(opened: Connection, minters: Minters, program_id: int, count: int) -> ReservationAnswer:
    until = datetime.now(UTC) + timedelta(days=1)
    wanted = ReservationRequest(campaign_id=_CAMPAIGN, count=count, until=until)
    return await reservations.reserve(opened, minters, program_id, wanted)


async def _split(report: Report, opened: Connection, stored: int, repetitions: int, progress: Progress) -> None:
    """Reserve half of the codes of one block of stored texts, which are rows that move to a block of their own."""
    texts = Minter(TEMPLATE, bytes(MINTER_KEY_BYTES)).mint(0, stored)
    half, seconds = stored // 2, []
    for repetition in range(1, repetitions + 1):
        program_id = await _list_program(opened, f"LIST_{repetition}", texts)
        began = time.perf_counter()
        await _reserve(opened, Minters(None), program_id, half)
        seconds.append(time.perf_counter() - began)
        progress(f"split, {repetition} of {repetitions}: {half:,} of {stored:,} codes in {1_000 * seconds[-1]:,.1f} ms")
    report.add(f"reserve {half:,} of {stored:,} stored codes", "s", seconds)


async def _list_program(opened: Connection, name: str, texts: list[str]) -> int:
    settings = ProgramSettings(name=name, source=ImportSource(kind="import"), codes_max=len(texts), pool_max=1)
    program_id = (await programs.create(opened, Minters(None), settings, guesses_per_s=10)).id
    async with opened.transaction():
        block_id = await opened.fetchval(
            "WITH counted AS (UPDATE program SET imported = $2 WHERE id = $1) "
            "INSERT INTO block (program_id, kind, size, origin) VALUES ($1, 'list', $2, 'import') RETURNING id",
            program_id,
            len(texts),
        )
        source = memoryview(copy_codes.encode(program_id, [(block_id, 0, texts)]))
        await opened.copy_to_table("code", source=source, columns=copy_codes.COLUMNS, format="binary")
    await opened.execute("ANALYZE block, code")
    return program_id


async def _claimed(report: Report, url: str, requests: int, repetitions: int, progress: Progress) -> float:
    """Claims with a reservation as a share of claims without. The two programs differ in nothing else."""
    needed = (repetitions + 1) * requests
    minters = Minters(None)
    rates: dict[str, list[float]] = {"WITHOUT": [], "WITH": []}
    async with pool(url, "codewell-bench", 2) as connections:
        async with connections.acquire() as opened:
            ids = {name: await generate.program(opened, minters, name, needed) for name in rates}
            await fill.generate(opened, minters, ids["WITHOUT"], needed, None)
            made = await _reserve(opened, minters, ids["WITH"], needed)
        # One each, as a claim goes by what the batch before it had.
        claims = {name: Claims(connections, minters) for name in rates}
        for name in rates:
            await generate.attach(claims[name], name, requests, _CAMPAIGN)
        for repetition in range(1, repetitions + 1):
            # Each is first as often as the other.
            for name in sorted(rates, reverse=repetition % 2 == 0):
                rates[name].append(await generate.attach(claims[name], name, requests, _CAMPAIGN))
            progress(f"claims, {repetition} of {repetitions}: {rates['WITHOUT'][-1]:,.0f} without and "
                     f"{rates['WITH'][-1]:,.0f} requests/s with a reservation")  # fmt: skip
        async with connections.acquire() as opened:
            used = (await reservations.get(opened, ids["WITH"], made.id)).used
    if used != needed:
        raise CodewellError(f"The reservation gave {used:,} codes for {needed:,} requests.")
    report.add("claims without a reservation", "requests/s", rates["WITHOUT"])
    report.add("claims with a reservation", "requests/s", rates["WITH"])
    ratios = [ours / free for ours, free in zip(rates["WITH"], rates["WITHOUT"], strict=True)]
    return report.add("claims with / without a reservation", OF_CEILING, ratios).rate
