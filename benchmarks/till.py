"""Measures uses and holds of codes over the API, beside the usual build and a server that does almost nothing."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from benchmarks import usual_console
from benchmarks.fresh import fresh_postgres
from benchmarks.http import WARM_UP_SHARE, attached_codes, attachments, rate, stock
from benchmarks.http_load import request
from benchmarks.machine import facts
from benchmarks.report import OF_CEILING, Progress, Report
from benchmarks.serving import Site, console, usual
from codewell.access import tokens
from codewell.infra.postgres.connection import connection
from codewell.infra.uuid7 import uuid7
from schemas.uses import Uses
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer

USE_GOAL: Final = 2_500
PAIR_GOAL: Final = 1_200
_USE: Final = "activate with an order"
_PAIR: Final = "hold, then activate"
_PEER_USE: Final = "usual build: activate"
_PEER_PAIR: Final = f"usual build: {_PAIR}"
_CEILING: Final = "nothing but SELECT 1"
# Limits that make each use count those before it, in all and of its profile.
_USES: Final = Uses(per_code=3, per_profile=2)


async def bench_till(requests: int, repetitions: int, progress: Progress) -> Report:
    """Measure each in turn, `repetitions` times. Raises CodewellError when one fails or refuses a valid request."""
    report = Report("till", facts())
    seen: dict[str, list[float]] = {}
    async with fresh_postgres(progress) as (home, postgres):
        for repetition in range(1, repetitions + 1):
            name = f"BENCH_{repetition}"
            for measure in (_product, _peers):
                async for measured, value in measure(home, postgres, name, requests):
                    seen.setdefault(measured, []).append(value)
                    progress(f"{measured}, {repetition} of {repetitions}: {value:,.4g}")
    for measured, values in seen.items():
        report.add(measured, _unit(measured), values)
    for ours, theirs in ((_USE, _PEER_USE), (_PAIR, _PEER_PAIR)):
        ratios = [one / other for one, other in zip(seen[ours], seen[theirs], strict=True)]
        report.add(f"{ours} / usual build", "times", ratios)
    for ours, answers in ((_USE, 1), (_PAIR, 2)):
        ratios = [answers * one / other for one, other in zip(seen[ours], seen[_CEILING], strict=True)]
        report.add(f"{ours} / {_CEILING}", OF_CEILING, ratios)
    medians = {one.name: one.rate for one in report.results}
    report.add_goal_and_double("activations with an order a second", medians[_USE], USE_GOAL)
    report.add_goal_and_double("pairs of hold and activation a second", medians[_PAIR], PAIR_GOAL)
    return report


def _unit(measured: str) -> str:
    if measured in {_PAIR, _PEER_PAIR}:
        return "pairs/s"
    return "ms/request" if ": CPU of " in measured else "requests/s"


async def _product(home: Home, postgres: PostgresServer, name: str, requests: int) -> AsyncIterator[tuple[str, float]]:
    warm_up = requests // WARM_UP_SHARE
    async with connection(postgres.url, "codewell-bench") as opened:
        await stock(name, opened, 2 * (requests + warm_up), _USES)
        token = await tokens.replace(opened, "bench", ["admin"])
    path = f"/api/v1/programs/{name}/codes"

    def steps(step: str, codes: Sequence[str]) -> list[str]:
        return [
            request("POST", f"{path}:{step}", token, _of_order(number, code), str(uuid7()))
            for number, code in enumerate(codes)
        ]

    async with console(home, postgres) as site:
        rate(await site.load(attachments(path, token, requests + requests // 2 + warm_up)))
        codes = await attached_codes(postgres, name, requests + requests // 2 + warm_up)
        await site.load(steps("activate", codes[:warm_up]))
        used, held = codes[warm_up : warm_up + requests], codes[warm_up + requests :]
        yield _USE, rate(await site.load(steps("activate", used)))
        for kind, spent in site.cpu_ms.items():
            yield f"{_USE}: CPU of {kind}", spent
        yield _PAIR, await _pairs(site, steps("hold", held), steps("activate", held))


async def _peers(home: Home, postgres: PostgresServer, name: str, requests: int) -> AsyncIterator[tuple[str, float]]:
    path = f"/api/v1/programs/{name}/codes"
    nothing = [request("POST", usual_console.CEILING_PATH, "", {"profile_id": "p-1"})] * requests
    async with connection(postgres.url, "codewell-bench") as opened:
        await usual_console.stock(opened, name, requests)
        await usual_console.give_all(opened, name)
        rows = await opened.fetch("SELECT code FROM shop_code WHERE program = $1 ORDER BY id", name)
    codes = [row["code"] for row in rows]
    half = len(codes) // 2
    used, held = codes[:half], codes[half:]
    holds = [request("POST", f"{path}:hold", "", _of_order(number, code)) for number, code in enumerate(held)]

    def activations(codes: Sequence[str]) -> list[str]:
        return [request("POST", f"{path}:activate", "", {"code": code}) for code in codes]

    async with usual(home, postgres) as site:
        await site.load(nothing[: requests // WARM_UP_SHARE])
        yield _PEER_USE, rate(await site.load(activations(used)))
        yield _PEER_PAIR, await _pairs(site, holds, activations(held))
        yield _CEILING, rate(await site.load(nothing))


def _of_order(number: int, code: str) -> dict[str, str]:
    return {"code": code, "order_id": f"o-{number}", "profile_id": f"p-{number}"}


async def _pairs(site: Site, holds: Sequence[str], activations: Sequence[str]) -> float:
    """Pairs a second: all holds, then the activation of each, as a hold must come first."""
    return 1 / (1 / rate(await site.load(holds)) + 1 / rate(await site.load(activations)))
