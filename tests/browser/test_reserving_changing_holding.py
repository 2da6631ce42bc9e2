"""Codes set aside for a campaign, changed by a filter and held for an order, in a browser."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import House
from tests.support.browser import Browser, accessible_everywhere
from tests.support.sender_records import messages

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def press(page: Page, words: str) -> None:
    await page.get_by_role("button", name=words, exact=True).first.click()


async def test_codes_are_reserved_and_released(house: House, visitor: Browser) -> None:
    await house.site.program("RESERVED", 100)
    page = await visitor.open("/programs/RESERVED/reservations")
    await expect(page.get_by_text("Nothing is reserved")).to_be_visible()

    async def fill(count: str) -> None:
        await page.get_by_label("Campaign or scenario").fill("black-friday")
        await page.get_by_label("Number of codes").fill(count)
        await page.get_by_label("Until", exact=True).fill("2099-12-31")

    await fill("60")
    await press(page, "Check")
    await expect(page.get_by_text("60 of 60 codes can be reserved")).to_be_visible()
    assert (await house.site.stock("RESERVED")).pooled == 100
    await accessible_everywhere(page)
    await fill("60")
    await press(page, "Reserve")
    await expect(page.get_by_role("status")).to_contain_text("The codes are reserved.")
    row = page.get_by_role("row").filter(has_text="black-friday")
    await expect(row).to_contain_text("0 of 60 used")
    await accessible_everywhere(page)
    await row.get_by_role("button", name="Release").click()
    await expect(page.get_by_role("status")).to_contain_text("The reservation has ended.")
    await expect(page.get_by_role("button", name="Release")).to_have_count(0)


async def test_all_codes_of_a_filter_are_deleted_and_come_back(house: House, visitor: Browser) -> None:
    await house.site.program("CHANGED", 100)
    page = await visitor.open("/programs/CHANGED/change-all")
    await accessible_everywhere(page)
    confirm = page.get_by_label("Type CHANGED to confirm")
    await confirm.fill("changed")
    await press(page, "Delete all")
    await expect(page.get_by_text("This is not the short name: type CHANGED.").first).to_be_visible()
    await confirm.fill("CHANGED")
    await press(page, "Delete all")
    # The console goes on by itself, and the page follows it.
    await expect(page.get_by_text("100 codes were changed.")).to_be_visible(timeout=30_000)
    assert (await house.site.stock("CHANGED")).deleted == 100
    await accessible_everywhere(page)
    await press(page, "Undo")
    await expect(page.get_by_text("The change is undone")).to_be_visible(timeout=30_000)
    assert (await house.site.stock("CHANGED")).pooled == 100
    await page.goto("/programs/CHANGED/changes")
    await expect(page.get_by_role("row").filter(has_text="Deleted")).to_contain_text("100")
    await accessible_everywhere(page)
    reader = await visitor.open("/programs/CHANGED/changes", scopes=["read"])
    await reader.get_by_role("link", name="Deleted").click()
    await expect(reader.get_by_role("button", name="Undo")).to_have_count(0)


async def test_a_code_is_held_for_one_order_and_released(house: House, visitor: Browser) -> None:
    await house.site.program("HELD", 10)
    async with house.site.issuer():
        await house.site.publish(messages(1, "HELD"))
        await house.site.came("message-render.reply", 1)
    page = await visitor.open("/programs/HELD/codes?state=attached")
    await page.locator("tbody a").first.click()

    async def hold(order: str) -> None:
        await page.get_by_label("Order that holds it").fill(order)
        await press(page, "Hold")

    await hold("o-1")
    await expect(page.get_by_role("status")).to_contain_text("The order holds the code")
    held = page.get_by_role("row").filter(has_text="o-1")
    await expect(held).to_contain_text("held")
    await accessible_everywhere(page)
    await hold("o-2")
    await expect(page.get_by_role("alert")).to_contain_text("is held by another order")
    await held.get_by_role("button", name="Release").click()
    await expect(page.get_by_role("status")).to_contain_text("The hold has ended.")
    await hold("o-2")
    await expect(page.get_by_role("row").filter(has_text="o-2")).to_contain_text("held")
