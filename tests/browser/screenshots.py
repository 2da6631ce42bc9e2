"""Pictures of every screen, light and dark, wide and narrow, for docs/console: `make screenshots`."""

import base64
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.support.believable import fill_console
from tests.support.browser import NARROW, THEMES, WIDE, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(__file__).parents[2] / "docs" / "console"
HEIGHT = 900
HEIGHT_MAX = 3_000
QUALITY = 60
# The screens by the names of their pictures.
SCREENS = {
    "loyalty": "/programs",
    "create": "/programs/new",
    "program": "/programs/SPRING",
    "remote-service": "/programs/PARTNER",
    "generate": "/programs/SPRING/generate",
    "import": "/programs/SPRING/import",
    "browse": "/programs/SPRING/codes",
    "change-all": "/programs/SPRING/change-all",
    "export": "/programs/SPRING/export",
    "reservations": "/programs/SPRING/reservations",
    "look-up": "/programs/SPRING/code",
    "profile": "/profiles",
    "try-it": "/try",
    "alerts": "/alerts",
    "webhooks": "/webhooks",
    "operations": "/operations",
    "dead-letters": "/operations/dead-letters",
    "promises": "/operations/promises",
    "audit-log": "/audit-log",
    "tokens": "/tokens",
}


async def test_pictures_of_every_screen(browser: Browser) -> None:
    FOLDER.mkdir(exist_ok=True)
    await fill_console(browser.site)
    secret = await browser.token("admin")
    missing = set()
    for theme in THEMES:
        for width in (WIDE, NARROW):
            page = await browser.anonymous(theme=theme, width=width, height=HEIGHT)
            await picture(page, f"sign-in-{theme}-{width}")
            await browser.sign_in(page, secret)
            for name, path in SCREENS.items():
                answer = await page.goto(path)
                if answer is None or answer.status != 200:
                    missing.add(name)
                    continue
                await picture(page, f"{name}-{theme}-{width}")
            await page.goto(SCREENS["browse"])
            await page.locator("tbody a").first.click()
            await page.wait_for_load_state()
            await picture(page, f"code-{theme}-{width}")
            await page.goto(SCREENS["webhooks"])
            await page.get_by_role("rowheader").get_by_role("link").first.click()
            await page.wait_for_load_state()
            await picture(page, f"webhook-{theme}-{width}")
    assert not missing, f"there is no screen {', '.join(sorted(missing))}"


async def picture(page: Page, name: str) -> None:
    """Write the page as WebP, as high as it is."""
    await page.wait_for_function("document.fonts.status === 'loaded'")
    height = await page.evaluate("document.documentElement.scrollHeight")
    width = (page.viewport_size or {"width": WIDE})["width"]
    # The frame is as high as the window, so the window becomes as high as the page.
    await page.set_viewport_size({"width": width, "height": min(max(height, HEIGHT), HEIGHT_MAX)})
    await page.wait_for_timeout(100)
    session = await page.context.new_cdp_session(page)
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    (FOLDER / f"{name}.webp").write_bytes(base64.b64decode(taken["data"]))
    await session.detach()
    await page.set_viewport_size({"width": width, "height": HEIGHT})
