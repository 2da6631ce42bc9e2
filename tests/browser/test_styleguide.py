"""The parts of which all pages are made: legible in both themes, usable on a narrow screen, and within their policy."""

import pytest

from tests.support.browser import NARROW, Browser, accessible_everywhere

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_every_part_is_accessible(browser: Browser) -> None:
    page = await browser.open("/styleguide")
    # It is not the page of what is not there.
    await page.get_by_role("button", name="Open a dialog").wait_for()
    await accessible_everywhere(page)


async def test_every_part_is_there_without_javascript(browser: Browser) -> None:
    page = await browser.open("/styleguide", javascript=False, width=NARROW)
    await page.get_by_role("button", name="Menu").click()
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Audit log").wait_for()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Open a dialog").click()
    dialog = page.get_by_role("dialog", name="A dialog")
    await dialog.get_by_role("button", name="Close").click()

    assert not await dialog.is_visible()
    assert not await page.get_by_role("button", name="Copy the variable").is_visible()
