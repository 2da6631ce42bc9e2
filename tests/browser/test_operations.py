"""The operators' page, whose figures change by themselves."""

import asyncio

import pytest
from playwright.async_api import Route

from codewell.infra.postgres.connection import Connection
from tests.support.browser import Browser, accessible_everywhere
from tests.support.processes import POLL_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

_WORKER = """
    INSERT INTO worker (id, service, host, pid, version, started_at, report, seen_at, state, waiting_for, counters)
    VALUES (gen_random_uuid(), $1, $2, 7, '0.1.0', now() - interval '1 hour', 1, now() + interval '1 hour', 'running',
            $3, $4)
    """
_COUNTERS = '{"answers_per_s": 812.4, "answer_p99_ms": 41.2, "retries_per_s": 0.4, "attached_per_s": {"campaign": 800}}'


async def report(database: Connection, service: str, host: str, waiting_for: str = "{}") -> None:
    await database.execute(_WORKER, service, host, waiting_for, _COUNTERS)


async def test_operations_is_accessible(browser: Browser) -> None:
    await report(browser.site.database, "issuer", "issuer-0", '{"kafka (issue)": "no broker answers"}')
    page = await browser.open("/operations")
    await page.get_by_role("heading", name="Operations").wait_for()

    await accessible_everywhere(page)


async def test_workers_appear_and_rates_change_by_themselves(browser: Browser) -> None:
    page = await browser.open("/operations")
    await page.get_by_text("No issuer runs").wait_for()
    await page.get_by_text("live", exact=True).wait_for()

    await report(browser.site.database, "issuer", "issuer-0")
    await page.get_by_role("row").filter(has_text="issuer-0:7").get_by_text("812 answers/s").wait_for()
    await page.get_by_text("No issuer runs").wait_for(state="detached")
    await page.get_by_role("row", name="Campaigns").get_by_text("800").wait_for()
    topics = page.get_by_role("table", name="Lag by topic")
    await topics.get_by_role("row").filter(has_text="message-render.retry").get_by_text("0", exact=True).wait_for()

    await browser.site.database.execute("UPDATE worker SET state = 'stopped' WHERE host = 'issuer-0'")
    await page.get_by_role("row").filter(has_text="issuer-0:7").get_by_text("stopped").wait_for()


async def test_a_page_is_live_whose_part_for_streams_comes_late(browser: Browser) -> None:
    page = await browser.open("/programs")

    async def late(route: Route) -> None:
        while not await page.evaluate("'htmx' in window"):
            await asyncio.sleep(POLL_S)
        # Later than what htmx itself puts off.
        await page.evaluate("new Promise((done) => setTimeout(done))")
        await route.continue_()

    await page.route("**/hx-sse.min.js", late)
    await page.goto("/operations")
    await page.get_by_text("live", exact=True).wait_for()


async def test_a_session_that_ends_loses_its_stream_and_signs_in_again(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.console.pages.live.sampler.SESSIONS_INTERVAL_S", 0.0)
    monkeypatch.setattr("services.console.pages.sign_ins.CACHE_TTL_S", 0.0)
    page = await browser.open("/operations")
    await page.get_by_text("live", exact=True).wait_for()

    await browser.site.database.execute("UPDATE session SET ended_at = now()")
    await page.wait_for_url("**/sign-in?to=**")


async def test_operations_needs_no_javascript(browser: Browser) -> None:
    await report(browser.site.database, "issuer", "issuer-0")
    page = await browser.open("/operations", javascript=False)
    await page.get_by_role("row").filter(has_text="issuer-0:7").get_by_text("ready").wait_for()


async def test_operations_is_for_admins(browser: Browser) -> None:
    page = await browser.open("/operations", scopes=["read"])
    await page.get_by_text("This page needs the scope admin.").wait_for()
