"""Measures attach and activate over the API, beside the usual build and a server that does almost nothing."""

import random
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from statistics import quantiles
from typing import Final

from benchmarks import usual_console
from benchmarks.fresh import fresh_postgres
from benchmarks.http_load import Seen, request
from benchmarks.machine import facts
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from benchmarks.serving import FEW_CONNECTIONS, console, usual
from codewell.access import tokens
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, connection
from codewell.infra.uuid7 import uuid7
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ProgramSettings, TemplateSource
from schemas.uses import Uses
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer

RATE_GOAL: Final = 4_000
BOGUS_RATE_GOAL: Final = 3_000
P99_GOAL_MS: Final = 25
# A statement costs several times as much; Postgres' background work during the measurement costs less.
BOGUS_GOAL_MS: Final = 0.02
# Warm-up requests are not measured.
WARM_UP_SHARE: Final = 10
_TEMPLATE: Final = "{string 4}-{number 4}-{upstring 4}"


async def bench_http(requests: int, repetitions: int, progress: Progress) -> Report:
    """Measure each in turn, `repetitions` times. Raises CodewellError when one fails or refuses a valid request."""
    report = Report("http", facts())
    seen: dict[str, list[float]] = {}
    async with fresh_postgres(progress) as (home, postgres):
        for repetition in range(1, repetitions + 1):
            name = f"BENCH_{repetition}"
            async for measured, value in _product(home, postgres, name, requests):
                seen.setdefault(measured, []).append(value)
                progress(f"{measured}, {repetition} of {repetitions}: {value:,.4g}")
            async for measured, value in _peers(home, postgres, name, requests):
                seen.setdefault(measured, []).append(value)
                progress(f"{measured}, {repetition} of {repetitions}: {value:,.4g}")
    for measured, values in seen.items():
        report.add(measured, _unit(measured), values)
    for both in ("attach", "activate"):
        ratios = [ours / theirs for ours, theirs in zip(seen[both], seen[f"usual build: {both}"], strict=True)]
        report.add(f"{both} / usual build", "times", ratios)
        ratios = [ours / theirs for ours, theirs in zip(seen[both], seen["nothing but SELECT 1"], strict=True)]
        report.add(f"{both} / nothing but SELECT 1", OF_CEILING, ratios)
    medians = {one.name: one.rate for one in report.results}
    report.goals += [
        Goal("attachments a second", medians["attach"], RATE_GOAL),
        Goal("activations a second", medians["activate"], RATE_GOAL),
        # Refused from memory: it costs the server what a request costs, and the database nothing.
        Goal("bogus codes refused a second", medians[_BOGUS], BOGUS_RATE_GOAL),
        Goal(
            "ms at the 99th percentile, at half of that rate", medians[f"{_PACED}{_P99}"], P99_GOAL_MS, at_least=False
        ),
        Goal("ms of Postgres for a bogus code", medians[f"{_BOGUS}: CPU of postgres"], BOGUS_GOAL_MS, at_least=False),
    ]
    return report


_PACED: Final = f"both in turn, {RATE_GOAL // 2} a second"
_NOTHING_PACED: Final = f"nothing but SELECT 1, {RATE_GOAL // 2} a second"
_P50: Final = ": median"
_P99: Final = ": 99th percentile"
_BOGUS: Final = "look up a code that is not there"


def _unit(measured: str) -> str:
    if measured.endswith((_P50, _P99)):
        return "ms"
    return "ms/request" if ": CPU of " in measured else "requests/s"


async def _product(home: Home, postgres: PostgresServer, name: str, requests: int) -> AsyncIterator[tuple[str, float]]:
    """Each creating request has an idempotency key, as clients should send one."""
    async with connection(postgres.url, "codewell-bench") as opened:
        await stock(name, opened, 4 * requests)
        token = await tokens.replace(opened, "bench", ["admin"])
    path = f"/api/v1/programs/{name}/codes"

    async def activations(count: int) -> list[str]:
        codes = await attached_codes(postgres, name, count)
        return [request("POST", f"{path}:activate", token, {"code": code}, str(uuid7())) for code in codes]

    async def planned(measured: str, count: int) -> list[str]:
        return attachments(path, token, count) if measured == "attach" else await activations(count)

    async with console(home, postgres) as site:
        await site.load(attachments(path, token, requests // WARM_UP_SHARE))
        await site.load(await activations(requests // WARM_UP_SHARE))
        for measured in ("attach", "activate"):
            count = requests if measured == "attach" else requests // 2
            yield measured, rate(await site.load(await planned(measured, count)))
            for kind, spent in site.cpu_ms.items():
                yield f"{measured}: CPU of {kind}", spent
        for measured in ("attach", "activate"):
            seen = await site.load(await planned(measured, requests // 4), connections=FEW_CONNECTIONS)
            yield f"{measured}, {FEW_CONNECTIONS} connections", rate(seen)
        pairs = zip(attachments(path, token, requests // 4), await activations(requests // 4), strict=True)
        both = [one for pair in pairs for one in pair]
        for measured, value in _paced(_PACED, await site.load(both, RATE_GOAL / 2)):
            yield measured, value
        bogus = [request("GET", f"{path}/abCd-{number:04}-ABCD", token) for number in range(requests // 2)]
        yield _BOGUS, rate(await site.load(bogus), 404)
        yield f"{_BOGUS}: CPU of postgres", site.cpu_ms["postgres"]


async def _peers(home: Home, postgres: PostgresServer, name: str, requests: int) -> AsyncIterator[tuple[str, float]]:
    path = f"/api/v1/programs/{name}/codes"
    asked = [request("POST", f"{path}:attach", "", {"profile_id": f"p-{number}"}) for number in range(requests // 2)]
    nothing = [request("POST", usual_console.CEILING_PATH, "", {"profile_id": "p-1"})] * (requests // 2)
    async with connection(postgres.url, "codewell-bench") as opened:
        await usual_console.stock(opened, name, 4 * requests)
    async with usual(home, postgres) as site:
        await site.load(asked[: requests // WARM_UP_SHARE])
        yield "usual build: attach", rate(await site.load(asked))
        async with connection(postgres.url, "codewell-bench") as opened:
            rows = await opened.fetch("SELECT code FROM shop_code WHERE program = $1 AND profile_id IS NOT NULL", name)
        uses = [request("POST", f"{path}:activate", "", {"code": row["code"]}) for row in rows]
        yield "usual build: activate", rate(await site.load(uses))
        yield "nothing but SELECT 1", rate(await site.load(nothing))
        for measured, value in _paced(_NOTHING_PACED, await site.load(nothing, RATE_GOAL / 2)):
            yield measured, value


def _paced(name: str, seen: Seen) -> Iterator[tuple[str, float]]:
    rate(seen)
    cuts = quantiles(seen.times_ms, n=100)
    yield f"{name}{_P50}", cuts[49]
    yield f"{name}{_P99}", cuts[98]


async def stock(name: str, opened: Connection, count: int, uses: Uses | None = None) -> None:
    """Create a program whose pool has `count` codes."""
    settings = ProgramSettings(
        name=name,
        source=TemplateSource(kind="template", template=_TEMPLATE),
        codes_max=count,
        pool_max=count,
        ttl=timedelta(days=30),
        uses=Uses() if uses is None else uses,
    )
    minters = Minters(None)
    program = await programs.create(opened, minters, settings, guesses_per_s=10)
    await fill.generate(opened, minters, program.id, count, None)


def attachments(path: str, token: str, count: int) -> list[str]:
    """Requests that attach a code to a profile each."""
    return [
        request("POST", f"{path}:attach", token, {"profile_id": f"p-{number}"}, str(uuid7())) for number in range(count)
    ]


async def attached_codes(postgres: PostgresServer, name: str, count: int) -> list[str]:
    """So many attached codes of a program that have no other state yet, in no order."""
    async with connection(postgres.url, "codewell-bench") as opened:
        rows = await opened.fetch(
            "SELECT a.code FROM answer a LEFT JOIN code_state s USING (block_id, position) "
            "WHERE a.program_id = (SELECT id FROM program WHERE name = $1) AND s.block_id IS NULL LIMIT $2",
            name,
            count,
        )
    codes = [row["code"] for row in rows]
    random.shuffle(codes)
    return codes


def rate(seen: Seen, wanted: int = 200) -> float:
    """Answers a second. Raises CodewellError when an answer has an unexpected status: refusals are cheap."""
    if set(map(int, seen.statuses)) != {wanted}:
        raise CodewellError(f"Not every answer was {wanted}: {seen.statuses}.")
    return sum(seen.statuses.values()) / seen.seconds
