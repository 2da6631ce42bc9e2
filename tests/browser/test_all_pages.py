"""Every page of the console, by its routes: a new one is tested here without a line of its own."""

import re
from collections.abc import AsyncIterator
from typing import Final, NamedTuple
from urllib.parse import unquote_plus
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page

from benchmarks.console_pages import address
from codewell.access import tokens
from services.console.pages import app
from tests.browser.conftest import House
from tests.support.browser import Browser, accessible_everywhere, visiting
from tests.support.furnished import HOSTILE, LONG, OURS, Furnished, furnish, signed_in

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

ROUTES: Final = {f"{method} {one.path}": one for one in app.routes() for method in sorted(one.methods or ())}
SHOWN: Final = tuple(name for name in ROUTES if name.startswith("GET "))
OF_PROGRAMS: Final = tuple(name for name in ROUTES if "{name}" in name)
FIRST_LOAD_BYTES_MAX: Final = 60_000
# The elements in which the override of the direction would change what stands beside it.
_UNISOLATED: Final = """
() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.data.includes("\\u202e")) continue;
    const isolates = (one) => /isolate|plaintext/.test(getComputedStyle(one).unicodeBidi);
    let element = node.parentElement;
    while (getComputedStyle(element).display === "inline" && !isolates(element)) element = element.parentElement;
    const before = element.textContent.trim();
    if (!isolates(element) && before !== node.data.trim()) found.push(element.outerHTML.slice(0, 400));
  }
  return found;
}
"""


class Shared(NamedTuple):
    """One site, furnished with hostile texts, and one page that is signed in."""

    house: House
    furnished: Furnished
    browser: Browser
    page: Page
    client: httpx.AsyncClient
    """Signed in as the same person."""
    member: httpx.AsyncClient
    """Signed in as somebody of one access group."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(house: House) -> AsyncIterator[Shared]:
    furnished = await furnish(house.site, house.url, HOSTILE + LONG)
    async with (
        visiting(*house) as browser,
        signed_in(house.url, furnished.secret) as client,
        signed_in(house.url, await browser.token(groups=[OURS])) as member,
    ):
        page = await browser.open(token=furnished.secret)
        yield Shared(house, furnished, browser, page, client, member)


def ours(shared: Shared, route: str) -> str:
    """The address of a route for what the person may see."""
    return address(ROUTES[route], shared.furnished.values(ROUTES[route].path))


async def status_of(client: httpx.AsyncClient, route: str, url: str) -> tuple[int, str, str]:
    """The status, type and place to go of an answer; a stream is not read to its end."""
    method, _, _ = route.partition(" ")
    data = {"key": str(uuid4())} if method == "POST" else None
    async with client.stream(method, url, data=data) as answer:
        kind, _, _ = answer.headers.get("content-type", "").partition(";")
        return answer.status_code, kind, answer.headers.get("location", "")


async def show(shared: Shared, route: str) -> bool:
    """Open the page of a route; False for downloads, streams, and ways to another page."""
    url = ours(shared, route)
    status, kind, _ = await status_of(shared.client, route, url)
    if (status, kind) != (200, "text/html"):
        assert status < 400, f"{url} answered {status}"
        return False
    await shared.page.goto(url)
    return True


@pytest.mark.parametrize("route", SHOWN)
async def test_a_page_shows_hostile_texts_as_texts_is_accessible_in_both_themes_and_fits_a_narrow_screen(
    shared: Shared, route: str
) -> None:
    if not await show(shared, route):
        return
    page = shared.page
    assert await page.evaluate("window.hurt") is None
    assert await page.locator("img[onerror]").count() == 0
    assert await page.evaluate(_UNISOLATED) == []
    await accessible_everywhere(page)
    assert await page.locator("h1").count() == 1
    assert shared.browser.faults == []


@pytest.mark.parametrize("route", ROUTES)
async def test_without_a_session_it_leads_to_the_sign_in_and_back(shared: Shared, route: str) -> None:
    url = ours(shared, route)
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=shared.house.url, headers=headers, trust_env=False) as client:
        status, _, location = await status_of(client, route, url)
    assert status == 303
    assert location.startswith("/sign-in?to=")
    if route in SHOWN:
        assert httpx.URL(location).params["to"] == unquote_plus(url)


@pytest.mark.parametrize("route", OF_PROGRAMS)
async def test_a_program_of_another_group_is_as_one_that_is_not_there(shared: Shared, route: str) -> None:
    others = shared.furnished.others
    answers = [
        await status_of(shared.member, route, address(ROUTES[route], values))
        for values in (others, others | {"name": "NOWHERE"})
    ]
    places = [location.replace("NOWHERE", "OTHER") for _, _, location in answers]
    assert answers[0][:2] == answers[1][:2]
    assert places[0] == places[1]
    if route in SHOWN:
        assert answers[0][:2] == (404, "text/html")
        # What only its maker sees is not the member's.
        if not {"draft", "upload_id"} & set(re.findall(r"\w+", address(ROUTES[route], others) + route)):
            status, _, _ = await status_of(shared.member, route, ours(shared, route))
            assert status < 400


async def test_a_revoked_token_ends_its_session_at_its_next_page(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.console.pages.sign_ins.CACHE_TTL_S", 0.0)
    database = shared.house.site.database
    made, secret = await tokens.create(database, "revoked", ["admin"])
    page = await shared.browser.open(token=secret)
    await tokens.revoke(database, made.name)
    await page.reload()
    await page.get_by_label("API token").wait_for()
    assert httpx.URL(page.url).path == "/sign-in"


@pytest.mark.parametrize("path", ["/sign-in", "/programs"])
async def test_the_first_load_is_small(shared: Shared, path: str) -> None:
    """All bytes of answers, heads included, with an empty cache."""
    page = await (shared.browser.anonymous() if path == "/sign-in" else shared.browser.open())
    session = await page.context.new_cdp_session(page)
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await session.send("Network.enable")
    await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    await page.goto(path)
    await page.wait_for_load_state("networkidle" if path == "/sign-in" else "load")
    assert len(sizes) > 3
    assert sum(sizes) < FIRST_LOAD_BYTES_MAX, sizes
