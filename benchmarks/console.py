"""What the console's pages cost: each page of a very large program, and the API's rate while people watch pages."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median, quantiles
from typing import Final

import httpx

from benchmarks.browse import NAME, fill_program
from benchmarks.console_pages import addresses
from benchmarks.fresh import fresh_postgres
from benchmarks.http_load import Seen, request
from benchmarks.machine import facts
from benchmarks.report import Goal, Progress, Report
from benchmarks.serving import FEW_CONNECTIONS, Site, console
from codewell.access import tokens
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Pool, pool
from codewell.infra.uuid7 import uuid7

PAGE_GOAL_MS: Final = 300
WATCHED: Final = 20
WATCHED_GOAL: Final = 0.95
# The first of each page are not measured.
_WARM_UPS: Final = 2
_FILE: Final = "Voucher,Customer\n" + "".join(f"VIP-{number:04},p-{number}\n" for number in range(400))
_FREE: Final = """
    SELECT a.code FROM answer a LEFT JOIN code_state s USING (block_id, position)
    WHERE s.block_id IS NULL ORDER BY a.block_id, a.position LIMIT $1
    """
_STREAM: Final = re.compile(r'(?:hx-sse:|sse-)connect="([^"]+)"')


async def bench_console(
    codes: int, attached: int, pages: int, requests: int, repetitions: int, progress: Progress
) -> Report:
    """Request each page `pages` times, and load the API with and without watched pages. Raises CodewellError."""
    report = Report("console", facts())
    async with (
        fresh_postgres(progress) as (home, postgres),
        pool(postgres.url, "codewell-bench", 4) as connections,
    ):
        async for said in fill_program(connections, codes, attached):
            progress(said)
        async with connections.acquire() as opened:
            token = await tokens.replace(opened, "bench", ["admin"])
        async with console(home, postgres) as site, _signed_in(site, token) as browser:
            shown = await _timed(browser, await _values(browser, token), pages, progress)
            rates = await _watched(site, browser, connections, token, (requests, repetitions), progress)
    for page, times in shown.items():
        report.add(f"{page}, 95th percentile", "ms", [_p95(times)])
    slowest = max(map(_p95, shown.values()))
    report.goals.append(Goal("ms at the 95th percentile, slowest page", slowest, PAGE_GOAL_MS, at_least=False))
    for what, (alone, beside) in rates.items():
        report.add(f"{what}, no page watched", "requests/s", alone)
        report.add(f"{what}, {WATCHED} pages watched", "requests/s", beside)
        share = report.add(f"{what}, watched / not", "times", [b / a for a, b in zip(alone, beside, strict=True)])
        report.goals.append(Goal(f"share of {what} a second, {WATCHED} pages watched", share.rate, WATCHED_GOAL))
    return report


@asynccontextmanager
async def _signed_in(site: Site, token: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Sec-Fetch-Site": "same-origin", "Accept-Encoding": "gzip"}
    async with httpx.AsyncClient(base_url=site.url, headers=headers, timeout=30.0, trust_env=False) as browser:
        answer = await browser.post("/sign-in", data={"token": token, "to": "/programs"})
        if not browser.cookies:
            raise CodewellError(f"The console did not let the benchmark sign in: {answer.status_code}.")
        yield browser


async def _values(browser: httpx.AsyncClient, token: str) -> dict[str, str]:
    """Values of the parameters of pages: a code, its place, a customer, an import, and an upload."""
    bearer = {"Authorization": f"Bearer {token}"}
    file = {"file": ("vip.csv", _FILE)}
    data = {"column": "Voucher", "profile_column": "Customer", "header": "true"}
    taken = await browser.post(f"/api/v1/programs/{NAME}/imports", files=file, data=data, headers=bearer)
    sent = await browser.post(f"/programs/{NAME}/import", files=file)
    if taken.status_code != httpx.codes.ACCEPTED or "location" not in sent.headers:
        raise CodewellError(f"A file was not taken: {taken.text}")
    page = await browser.get(f"/api/v1/programs/{NAME}/codes", params={"state": "attached"}, headers=bearer)
    code = page.json()["items"][0]
    return {
        "name": NAME, "code": code["code"], "place": code["place"], "profile_id": code["profile_id"], "made": "20",
        "import_id": taken.json()["id"], "upload_id": sent.headers["location"].rpartition("/")[2],
    }  # fmt: skip


async def _timed(
    browser: httpx.AsyncClient, values: Mapping[str, str], repetitions: int, progress: Progress
) -> dict[str, list[float]]:
    """Latencies of each page by its route (ms), by requests one after the other that alternate between the pages."""
    shown = {route: url for route, url in addresses(values) if await _is_page(browser, url)}
    times: dict[str, list[float]] = {route: [] for route in shown}
    for repetition in range(_WARM_UPS + repetitions):
        for route, url in shown.items():
            began = time.perf_counter()
            answer = await browser.get(url)
            spent_ms = 1_000 * (time.perf_counter() - began)
            if answer.status_code != httpx.codes.OK:
                raise CodewellError(f"{url} was not shown: {answer.status_code}.")
            if repetition >= _WARM_UPS:
                times[route].append(spent_ms)
    progress(", ".join(f"{route} {median(some):.3g}" for route, some in times.items()) + " ms")
    return times


async def _is_page(browser: httpx.AsyncClient, url: str) -> bool:
    """Whether an address shows a page: others are downloads, streams, and pages of other kinds of programs."""
    async with browser.stream("GET", url) as answer:
        # A page of another kind of program, or of Kafka, which is not needed here.
        if answer.status_code in {httpx.codes.CONFLICT, httpx.codes.SERVICE_UNAVAILABLE}:
            return False
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise CodewellError(f"{url} was not shown: {answer.status_code}.")
        return answer.status_code == httpx.codes.OK and answer.headers["content-type"].startswith("text/html")


async def _watched(
    site: Site, browser: httpx.AsyncClient, connections: Pool, token: str, sizes: tuple[int, int], progress: Progress
) -> dict[str, tuple[list[float], list[float]]]:
    """Attachments and activations a second in pairs, without and with watched pages."""
    requests, repetitions = sizes
    rates: dict[str, tuple[list[float], list[float]]] = {"attach": ([], []), "activate": ([], [])}
    await site.load(_attachments(token, requests // 2))
    for repetition in range(repetitions):
        for is_watched in (False, True) if repetition % 2 else (True, False):
            activations = await _activations(connections, token, requests // 2)
            async with AsyncExitStack() as stack:
                if is_watched:
                    await stack.enter_async_context(_watching(browser))
                for what, planned in (("attach", _attachments(token, requests)), ("activate", activations)):
                    rates[what][is_watched].append(_rate(await site.load(planned, connections=FEW_CONNECTIONS)))
        progress(f"{repetition + 1} of {repetitions}: {_said(rates, lambda some: some[-1])} requests/s")
    return rates


def _said(rates: Mapping[str, tuple[list[float], list[float]]], one: Callable[[list[float]], float]) -> str:
    return ", ".join(f"{what} {one(alone):,.0f} and {one(beside):,.0f}" for what, (alone, beside) in rates.items())


@asynccontextmanager
async def _watching(browser: httpx.AsyncClient) -> AsyncIterator[None]:
    """Hold the streams of the program's page open, as browsers do that show it."""
    found = _STREAM.search((await browser.get(f"/programs/{NAME}")).text)
    if found is None:
        raise CodewellError("The program's page has no stream of live figures.")
    url = found[1].replace("&amp;", "&")
    began = asyncio.Semaphore(0)
    watchers = [asyncio.create_task(_watch(browser, url, began)) for _ in range(WATCHED)]
    try:
        for _ in watchers:
            await began.acquire()
        yield
        if ended := [one for one in watchers if one.done()]:
            raise CodewellError(f"{len(ended)} of {WATCHED} watched pages lost their figures.")
    finally:
        for one in watchers:
            one.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


async def _watch(browser: httpx.AsyncClient, url: str, began: asyncio.Semaphore) -> None:
    async with browser.stream("GET", url, timeout=60.0) as answer:
        if not answer.headers["content-type"].startswith("text/event-stream"):
            raise CodewellError(f"{url} is no stream: {answer.status_code}.")
        is_first = True
        async for _ in answer.aiter_raw():
            if is_first:
                began.release()
            is_first = False


def _attachments(token: str, count: int) -> list[str]:
    path = f"/api/v1/programs/{NAME}/codes:attach"
    ids = [uuid7() for _ in range(count)]
    return [request("POST", path, token, {"profile_id": f"h-{one}"}, str(one)) for one in ids]


async def _activations(connections: Pool, token: str, count: int) -> list[str]:
    async with connections.acquire() as opened:
        codes = [row["code"] for row in await opened.fetch(_FREE, count)]
    random.shuffle(codes)
    path = f"/api/v1/programs/{NAME}/codes:activate"
    return [request("POST", path, token, {"code": code}, str(uuid7())) for code in codes]


def _rate(seen: Seen) -> float:
    """Answers a second. Raises CodewellError when one was refused."""
    if set(map(int, seen.statuses)) != {200}:
        raise CodewellError(f"Not every answer was 200: {seen.statuses}.")
    return sum(seen.statuses.values()) / seen.seconds


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1]
