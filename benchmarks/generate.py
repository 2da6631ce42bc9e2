"""Measures code generation, and whether the size of a program slows the issuer."""

import secrets
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.mint import TEMPLATE
from benchmarks.proof import check_audit, check_given
from benchmarks.report import Goal, Progress, Report
from codewell.infra.postgres.connection import Connection, connection, pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, Request
from codewell.minting.minter import MINTER_KEY_BYTES, Minter
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.events import MessageRender
from schemas.program import ProgramSettings, TemplateSource

SECONDS_GOAL: Final = 0.1
# Ten times the codes in twice the time is growth; a smaller rise is noise of some milliseconds.
FLAT_GOAL: Final = 2.0
ISSUING_GOAL: Final = 0.9
# The largest count, a tenth of it, and a thousandth.
_SHARES: Final = (1_000, 10, 1)
# An issuer's batch size.
_BATCH: Final = 4_000
_COPY_TIMEOUT_S: Final = 600

_PLAIN: Final = "CREATE TABLE stored_code (program_id bigint NOT NULL, code text NOT NULL)"
_UNIQUE: Final = "CREATE TABLE stored_code (program_id bigint NOT NULL, code text NOT NULL, UNIQUE (program_id, code))"


async def bench_generate(codes: int, stored: int, requests: int, repetitions: int, progress: Progress) -> Report:
    """Generate `codes` and fewer, each in one program; copy `stored` texts; attach `requests`. Raises CodewellError."""
    report = Report("generate", facts())
    counts = sorted({max(1, codes // share) for share in _SHARES})
    async with fresh_servers(progress) as servers:
        async with connection(servers.postgres.url, "codewell-bench") as opened:
            seconds = await _generated(report, opened, counts, repetitions, progress)
            await _copied(report, opened, stored, repetitions, progress)
        share = await _issued(report, servers.postgres.url, codes, requests, repetitions, progress)
        async with connection(servers.postgres.url, "codewell-bench") as opened:
            await check_audit(opened)
    report.goals += [
        Goal(f"seconds for {count:,} codes", seconds[count], SECONDS_GOAL, at_least=False) for count in counts
    ]
    flat = seconds[counts[-1]] / seconds[max(1, codes // 10)]
    report.goals.append(Goal("times as long for ten times the codes", flat, FLAT_GOAL, at_least=False))
    report.goals.append(Goal(f"share of a small program's issuing, with {codes:,} codes", share, ISSUING_GOAL))
    return report


async def _generated(
    report: Report, opened: Connection, counts: Sequence[int], repetitions: int, progress: Progress
) -> dict[int, float]:
    """The median time by count (s)."""
    taken: dict[int, list[float]] = {count: [] for count in counts}
    await _generate(opened, "WARM_UP", counts[-1])
    for repetition in range(1, repetitions + 1):
        for count in counts:
            taken[count].append(await _generate(opened, f"PROGRAM_{repetition}_{count}", count))
            progress(f"{repetition} of {repetitions}: {count:,} codes in {1_000 * taken[count][-1]:,.1f} ms")
    medians = {count: report.add(f"generate {count:,} codes", "s", taken[count]).rate for count in counts}
    report.add(f"generate {counts[-1]:,} codes", "codes/s", [counts[-1] / one for one in taken[counts[-1]]])
    for count in counts[:-1]:
        ratios = [large / small for large, small in zip(taken[counts[-1]], taken[count], strict=True)]
        report.add(f"time for {counts[-1]:,} / for {count:,}", "times", ratios)
    return medians


async def _generate(opened: Connection, name: str, codes: int) -> float:
    """Time to generate this many codes in a program that already has one (s)."""
    minters = Minters(None)
    program_id = await program(opened, minters, name, codes + 1)
    await fill.generate(opened, minters, program_id, 1, None)
    began = time.perf_counter()
    await fill.generate(opened, minters, program_id, codes, None)
    return time.perf_counter() - began


async def program(opened: Connection, minters: Minters, name: str, codes_max: int) -> int:
    """Make a program of a template, and return its id."""
    settings = ProgramSettings(
        name=name,
        source=TemplateSource(kind="template", template=TEMPLATE.text),
        codes_max=codes_max,
        pool_max=1,
        # With this many codes, codes of the template could be guessed, which is not measured here.
        allow_guessable=True,
    )
    return (await programs.create(opened, minters, settings, guesses_per_s=10)).id


async def _copied(report: Report, opened: Connection, stored: int, repetitions: int, progress: Progress) -> None:
    texts = Minter(TEMPLATE, secrets.token_bytes(MINTER_KEY_BYTES)).mint(0, stored)
    plain, unique = [], []
    for repetition in range(1, repetitions + 1):
        plain.append(stored / await _copy(opened, _PLAIN, texts))
        unique.append(stored / await _copy(opened, _UNIQUE, texts))
        progress(f"copied, {repetition} of {repetitions}: {plain[-1]:,.0f} and {unique[-1]:,.0f} codes/s")
    report.add(f"COPY {stored:,} codes", "codes/s", plain)
    report.add(f"COPY {stored:,} codes, unique index", "codes/s", unique)


async def _copy(opened: Connection, table: str, texts: Sequence[str]) -> float:
    """Time to copy the texts into a new, empty table (s)."""
    await opened.execute("DROP TABLE IF EXISTS stored_code")
    await opened.execute(table)
    began = time.perf_counter()
    await opened.copy_records_to_table("stored_code", records=((1, text) for text in texts), timeout=_COPY_TIMEOUT_S)
    return time.perf_counter() - began


async def _issued(report: Report, url: str, codes: int, requests: int, repetitions: int, progress: Progress) -> float:
    """The large program's rate as a share of the small one's. They differ only in their number of codes."""
    needed = (repetitions + 1) * requests
    minters = Minters(None)
    sizes = {"SMALL": needed, "LARGE": max(codes, needed)}
    rates: dict[str, list[float]] = {name: [] for name in sizes}
    async with pool(url, "codewell-bench", 2) as connections:
        async with connections.acquire() as opened:
            for name, size in sizes.items():
                await fill.generate(opened, minters, await program(opened, minters, name, size), size, None)
        claims = Claims(connections, minters)
        for name in sizes:
            await attach(claims, name, requests)
        for repetition in range(1, repetitions + 1):
            for name in sizes:
                rates[name].append(await attach(claims, name, requests))
            progress(
                f"issued, {repetition} of {repetitions}: {rates['SMALL'][-1]:,.0f} and {rates['LARGE'][-1]:,.0f}/s"
            )
    for name, size in sizes.items():
        report.add(f"issue from {size:,} codes", "requests/s", rates[name])
    ratios = [large / small for large, small in zip(rates["LARGE"], rates["SMALL"], strict=True)]
    return report.add("issue from the large / from the small", "times", ratios).rate


async def attach(claims: Claims, name: str, count: int, campaign: str = "bench") -> float:
    """Requests a second, in batches of an issuer's size."""
    requests = [_request(name, f"p-{number}", campaign) for number in range(count)]
    given: dict[UUID, list[AnswerRow]] = {}
    began = time.perf_counter()
    for first in range(0, count, _BATCH):
        given |= (await claims.attach(requests[first : first + _BATCH])).rows
    rate = count / (time.perf_counter() - began)
    check_given(given.values(), count)
    return rate


def _request(program: str, profile_id: str, campaign: str) -> Request:
    event = MessageRender(profile_id=profile_id, campaign_id=campaign, programs=(program,))
    return Request(uuid7(), event, event.program_names)
