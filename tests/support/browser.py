"""Browsers for tests of the console's pages: Debian's Chromium, driven by Playwright.

A page that violates its policy, raises an error, logs one, gets a 5xx or asks another host fails the test.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlencode, urlsplit

from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, Response, async_playwright

from codewell.access import tokens
from schemas.token import Scope
from tests.support.chromium import FLAGS, chromium
from tests.support.site import Site

ROOT: Final = Path(__file__).parents[2]
AXE: Final = ROOT / "tools" / "node_modules" / "axe-core" / "axe.min.js"
AXE_RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
WIDE: Final = 1280
NARROW: Final = 320
TIMEOUT_MS: Final = 10_000
Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
# What stands out of the window, and is not in something that scrolls by itself.
_TOO_WIDE: Final = """
() => [...document.querySelectorAll("body *")]
  .filter((one) => !one.closest(".scroll, pre") && one.getBoundingClientRect().right > innerWidth)
  .map((one) => one.outerHTML.slice(0, 200))
"""
# What the browser logs for an answer that a test may well want, such as a refused form.
_REFUSED: Final = "Failed to load resource: the server responded with a status of 4"
# Chromium and htmx name the status in their words.
_UNAVAILABLE: Final = " 503"
_numbers = itertools.count(1)


class Browser:
    """Opens pages of one console. `faults` has what went wrong in any of them."""

    def __init__(self, site: Site, url: str, chromium: Chromium, stack: AsyncExitStack) -> None:
        self.site = site
        self.url = url
        self.faults: list[str] = []
        self.is_away = False
        """Whether the console may be on its way down or up, so that it may answer 503."""
        self._chromium = chromium
        self._stack = stack

    async def token(self, *scopes: Scope, groups: Sequence[str] = ()) -> str:
        """The secret of a new token."""
        _, secret = await tokens.create(self.site.database, f"person-{next(_numbers)}", scopes or ("admin",), groups)
        return secret

    async def open(
        self, path: str = "/programs", *, scopes: Sequence[Scope] = ("admin",), groups: Sequence[str] = (),
        token: str | None = None, theme: Theme = "light", width: int = WIDE, height: int = 900, javascript: bool = True,
    ) -> Page:  # fmt: skip
        """A page of a new browser profile, signed in with a new token of these scopes, at `path`."""
        sign_in = f"/sign-in?{urlencode({'to': path})}"
        page = await self.anonymous(sign_in, theme=theme, width=width, height=height, javascript=javascript)
        await self.sign_in(page, token or await self.token(*scopes, groups=groups))
        return page

    async def anonymous(
        self, path: str = "/sign-in", *, theme: Theme = "light", width: int = WIDE, height: int = 900,
        javascript: bool = True,
    ) -> Page:  # fmt: skip
        """A page of a new browser profile that has not signed in."""
        context = await self._chromium.new_context(
            base_url=self.url, color_scheme=theme, viewport={"width": width, "height": height},
            java_script_enabled=javascript, accept_downloads=True, locale="en-GB", timezone_id="Europe/Paris",
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        context.set_default_timeout(TIMEOUT_MS)
        self._stack.push_async_callback(context.close)
        self._watch(context)
        page = await context.new_page()
        await page.goto(path)
        return page

    async def sign_in(self, page: Page, secret: str) -> None:
        """Paste a token into the page that asks for one."""
        await page.get_by_label("API token").fill(secret)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.wait_for_url(lambda url: not urlsplit(url).path.startswith("/sign-in"))

    def _watch(self, context: BrowserContext) -> None:
        host = urlsplit(self.url).netloc

        def logged(message: ConsoleMessage) -> None:
            is_away = self.is_away and _UNAVAILABLE in message.text
            if message.type == "error" and not message.text.startswith(_REFUSED) and not is_away:
                self.faults.append(f"logged: {message.text}")

        def asked(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != host:
                self.faults.append(f"asked another host: {request.url}")

        def answered(response: Response) -> None:
            is_missing = response.status == 404 and "/static/" in response.url
            is_away = self.is_away and response.status == 503
            if (response.status >= 500 and not is_away) or is_missing:
                self.faults.append(f"answered {response.status}: {response.url}")

        context.on("console", logged)
        context.on("request", asked)
        context.on("response", answered)
        context.on("weberror", lambda error: self.faults.append(f"raised: {error.error}"))


@asynccontextmanager
async def launched() -> AsyncIterator[Chromium]:
    """Chromium during the block."""
    program = chromium()
    assert program is not None, "no Chromium"
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def visiting(site: Site, url: str, running: Chromium) -> AsyncIterator[Browser]:
    """A browser for the console at `url`, during the block. Fails at the end if a page did wrong."""
    async with AsyncExitStack() as stack:
        browser = Browser(site, url, running, stack)
        yield browser
    assert not browser.faults, "\n".join(browser.faults)


async def axe(page: Page) -> list[str]:
    """What axe-core finds wrong with the page: the rule, what it asks for, and each element with its reason."""
    if not AXE.exists():
        # One at a time: several processes of a run may need it.
        command = ("flock", "tools/package.json", "make", "tools/node_modules/.installed")
        make = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        assert await make.wait() == 0, "npm has not installed axe-core"
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    found: dict[str, Any] = await page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})",
        list(AXE_RULES),
    )
    return [
        f"{rule['id']}: {rule['help']}: {node['html']}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


async def accessible_everywhere(page: Page) -> None:
    """Fail unless axe-core finds nothing on a wide and a narrow screen, each in another theme, and the page fits both.

    Colours do not depend on the width.
    """
    for width, theme in zip((WIDE, NARROW), THEMES, strict=True):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme=theme)
        found = await axe(page)
        assert found == [], (theme, width, found)
        assert await overflow(page) == 0, (width, await page.evaluate(_TOO_WIDE))


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    wider: int = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider
