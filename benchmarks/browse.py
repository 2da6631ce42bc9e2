"""Latency of the first page of a very large program, by each filter, over the HTTP API.

The peer, the usual build, has as many rows as codes are attached here, and returns the number of pages.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from benchmarks import usual_console
from benchmarks.fresh import fresh_postgres
from benchmarks.http_load import request
from benchmarks.machine import facts
from benchmarks.report import Goal, Progress, Report
from benchmarks.serving import Site, console, usual
from codewell.access import tokens
from codewell.codes import lifecycle
from codewell.codes.lifecycle import CodeChange
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.issuing.model import ManualRequest, Request
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ProgramSettings, TemplateSource

PAGE_GOAL_MS: Final = 20
NAME: Final = "BENCH"
PEER: Final = "usual build: first page, attached"
CEILING: Final = "nothing but SELECT 1"
EXACT: Final = "one code of a folding program, as it is"
FOLDED: Final = "one code of a folding program, as people type it"
_FOLDING: Final = "FOLDING"
_PATH: Final = f"/api/v1/programs/{NAME}"
_TEMPLATE: Final = "{string 4}-{number 4}-{upstring 4}"
_BATCH: Final = 4_000
# Of the attached codes.
_ACTIVATED_SHARE: Final = 10
_CHANGED: Final = 200
_MINUTES_S: Final = 300
# Of each page; a request takes milliseconds.
_REQUESTS_A_REPETITION: Final = 3
_FILTERS: Final = ("", "state=pooled", "state=attached", "state=activated", "state=expired", "state=deleted")

_ACTIVATE: Final = """
    INSERT INTO code_state (block_id, position, activated_at)
    SELECT block_id, position, now() FROM answer WHERE position % $1 = 0
    """


async def bench_browse(codes: int, attached: int, repetitions: int, progress: Progress) -> Report:
    """Create a program with `codes` codes, `attached` of them attached, and request pages. Raises CodewellError."""
    report = Report("browse", facts())
    async with (
        fresh_postgres(progress) as (home, postgres),
        pool(postgres.url, "codewell-bench", 4) as connections,
    ):
        async for said in fill_program(connections, codes, attached):
            progress(said)
        async with connections.acquire() as opened:
            token = await tokens.replace(opened, "bench", ["admin"])
            code = await opened.fetchval("SELECT code FROM answer LIMIT 1 OFFSET $1", attached // 2)
        paths = {f"first page, {one or 'all'}": f"codes?{one}" for one in _FILTERS}
        paths |= {"codes of a profile": "codes?profile_id=p-77", "one code": f"codes/{quote(code)}"}
        async with connections.acquire() as opened:
            folded = await _fold_program(opened, codes)
        progress(f"making {attached:,} codes of the usual build")
        async with connections.acquire() as opened:
            await usual_console.stock(opened, NAME, attached)
            await usual_console.give_all(opened, NAME)
        async with console(home, postgres) as site, usual(home, postgres) as peer:
            asked = {what: (site, request("GET", f"{_PATH}/{path}", token)) for what, path in paths.items()}
            for what, text in ((EXACT, folded), (FOLDED, folded.replace("-", "").lower())):
                asked[what] = (site, request("GET", f"/api/v1/programs/{_FOLDING}/codes/{text}", token))
            asked[PEER] = (peer, request("GET", f"{_PATH}/codes", ""))
            asked[CEILING] = (peer, request("POST", usual_console.CEILING_PATH, "", {"profile_id": "p-1"}))
            times = await _timed(asked, repetitions * _REQUESTS_A_REPETITION, progress)
    for what, values in times.items():
        median = report.add(what, "ms", values)
        if what in paths:
            report.goals.append(Goal(f"ms, {what}", median.rate, PAGE_GOAL_MS, at_least=False))
    report.add(f"{FOLDED} / {EXACT}", "times", _ratios(times[FOLDED], times[EXACT]))
    first = times["first page, state=attached"]
    report.add(f"{PEER} / first page, state=attached", "times", _ratios(times[PEER], first))
    report.add(f"first page, state=attached / {CEILING}", "times", _ratios(first, times[CEILING]))
    return report


async def _timed(asked: Mapping[str, tuple[Site, str]], requests: int, progress: Progress) -> dict[str, list[float]]:
    """Latencies of sequential requests that alternate between the filters (ms); the first of each is a warm-up."""
    times: dict[str, list[float]] = {what: [] for what in asked}
    for number in range(requests + 1):
        for what, (site, one) in asked.items():
            seen = await site.load([one], connections=1)
            if set(map(int, seen.statuses)) != {200}:
                raise CodewellError(f"{what} was not answered well: {seen.statuses}.")
            if number:
                times[what] += seen.times_ms
        if number:
            progress(f"{number} of {requests}: " + ", ".join(f"{one[-1]:.3g}" for one in times.values()) + " ms")
    return times


def _ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ones, others, strict=True)]


async def fill_program(connections: Pool, codes: int, attached: int) -> AsyncIterator[str]:
    """Create the program with some codes attached, activated, deleted and expired; yields what is done."""
    minters = Minters(None)
    settings = ProgramSettings(
        name=NAME, source=TemplateSource(kind="template", template=_TEMPLATE), codes_max=codes, pool_max=1,
        # With this many codes, codes of the template could be guessed, which is not measured here.
        allow_guessable=True,
    )  # fmt: skip
    async with connections.acquire() as opened:
        program = await programs.create(opened, minters, settings, guesses_per_s=10)
        await fill.generate(opened, minters, program.id, codes, None)
        yield f"{codes:,} codes are made"
    claims = Claims(connections, minters)
    for start in range(0, attached, _BATCH):
        await claims.attach(_requests(start, min(attached, start + _BATCH)))
    yield f"{attached:,} are attached"
    async with connections.acquire() as opened:
        await opened.execute(_ACTIVATE, _ACTIVATED_SHARE, timeout=_MINUTES_S)
        await _change_some(opened, minters, program.id)
        await opened.execute("VACUUM ANALYZE", timeout=_MINUTES_S)


async def _fold_program(opened: Connection, codes: int) -> str:
    """Create a program of as many codes that folds, and return one of them."""
    minters = Minters(None)
    source = TemplateSource(kind="template", template="{safe 5}-{safe 5}-{safe 5}")
    settings = ProgramSettings(name=_FOLDING, source=source, codes_max=codes, pool_max=1, match="fold")
    program = await programs.create(opened, minters, settings, guesses_per_s=10)
    await fill.generate(opened, minters, program.id, codes, None)
    return (await minters.get(opened, program.id, 1)).mint(codes // 2, 1)[0]


def _requests(start: int, stop: int) -> Iterator[Request]:
    for number in range(start, stop):
        yield Request(uuid7(), ManualRequest(f"p-{number}", NAME), (NAME,))


async def _change_some(opened: Connection, minters: Minters, program_id: int) -> None:
    """Delete and expire some codes: the last attached ones, so that a scan finds them late."""
    rows = await opened.fetch(
        "SELECT code FROM answer WHERE position % $1 <> 0 ORDER BY block_id DESC, position DESC LIMIT $2",
        _ACTIVATED_SHARE,
        2 * _CHANGED,
    )

    def expired(now: CodeFacts) -> CodeChange:
        return CodeChange(now.attached_at, now.fields)

    for number, row in enumerate(rows):
        if number % 2:
            await lifecycle.delete(ProgramCodes(opened, minters, program_id), row["code"])
        else:
            await lifecycle.change(ProgramCodes(opened, minters, program_id), row["code"], expired)
