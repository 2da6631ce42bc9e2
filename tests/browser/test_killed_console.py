"""A console that is killed while its pages are open: they follow the one that takes its place, without a reload."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser as Chromium
from playwright.async_api import Locator, Page, Route, expect

from services.standalone.ports import free_port
from tests.support.browser import Browser, visiting
from tests.support.running import until
from tests.support.site import Site
from tests.support.worker_processes import Workers, running_workers

pytestmark = pytest.mark.asyncio(loop_scope="module")

# htmx tries again after growing pauses, and a console takes some seconds to start.
RETURN_MS = 60_000
ROWS = 300_000
# What the browser logs while nothing answers.
UNREACHED = ("net::ERR_", "Failed to fetch", "TypeError: network error")


@pytest_asyncio.fixture(loop_scope="module")
async def console(site: Site, shared_chromium: Chromium, tmp_path: Path) -> AsyncIterator[tuple[Workers, Browser]]:
    """A console as a process of its own, always on one port, and a browser for it."""
    port = free_port()
    env = site.environment("console") | {"CODEWELL_API_PORT": str(port)}
    async with running_workers(tmp_path, env, "console-1") as workers:
        url = f"http://127.0.0.1:{port}"

        async def ready() -> bool:
            async with httpx.AsyncClient(trust_env=False) as client:
                try:
                    return (await client.get(f"{url}/readyz")).is_success
                except httpx.TransportError:
                    return False

        await until(ready, "console that is ready", 30)
        async with visiting(site, url, shared_chromium) as browser:
            yield workers, browser
            browser.faults[:] = [fault for fault in browser.faults if not any(words in fault for words in UNREACHED)]


def badge(page: Page, state: str) -> Locator:
    return page.locator(f'[data-live] [data-state="{state}"]')


@pytest.mark.nightly
async def test_a_live_page_says_that_it_is_cut_off_and_goes_on(console: tuple[Workers, Browser]) -> None:
    workers, browser = console
    page = await browser.open("/operations")
    await page.evaluate("window.isTheSamePage = true")
    await expect(badge(page, "live")).to_be_visible()
    browser.is_away = True
    workers.kill("console-1")
    await expect(badge(page, "lost")).to_be_visible()
    await expect(badge(page, "live")).to_be_visible(timeout=RETURN_MS)
    assert await page.evaluate("window.isTheSamePage")


async def starting(route: Route) -> None:
    """What a console answers until it has its database."""
    await route.fulfill(status=503, content_type="application/problem+json", body="{}")


async def test_an_import_goes_on_on_its_page(console: tuple[Workers, Browser], tmp_path: Path) -> None:
    workers, browser = console
    await browser.site.program("SPRING", codes_max=1_000_000)
    file = tmp_path / "codes.csv"
    file.write_text("code\n" + "".join(f"IMPORTED-{number:06}\n" for number in range(ROWS)))
    page = await browser.open("/programs/SPRING/import")
    await page.get_by_label("File of codes").set_input_files(file)
    await page.get_by_role("button", name="Upload", exact=True).click()
    await page.get_by_role("button", name="Import", exact=True).click()
    await page.wait_for_url("**/imports/*")
    await page.evaluate("window.isTheSamePage = true")

    async def is_half_way() -> bool:
        rows = await browser.site.database.fetchval("SELECT rows_read FROM import WHERE state = 'running'")
        return rows is not None and rows > 0

    await until(is_half_way, "row of a running import")
    browser.is_away = True
    await page.route("**/imports/*", starting, times=1)
    workers.kill("console-1")
    assert await browser.site.database.fetchval("SELECT state FROM import") == "running"
    await expect(page.get_by_text(f"{ROWS:,} codes stand in the program.")).to_be_visible(timeout=RETURN_MS)
    assert await page.evaluate("window.isTheSamePage")
    assert (await browser.site.stock("SPRING")).imported == ROWS
