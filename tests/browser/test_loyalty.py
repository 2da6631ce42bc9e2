"""The list of programs: found by text, state and group, and in words."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.support.browser import Browser, accessible_everywhere, axe

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def fill(browser: Browser) -> None:
    """Programs in all states."""
    now = datetime.now(UTC)
    site = browser.site
    await site.program(
        "SPRING", 800, title="Spring sale", groups=["shop"], valid_until=now + timedelta(days=3, hours=1)
    )
    await site.program("AUTUMN", title="Autumn & <b>more</b>", active=False)
    await site.program("PAST", valid_until=now - timedelta(days=1))
    await site.program("LATER", valid_from=now + timedelta(days=9, hours=1), groups=["mail"])
    await site.program("PARTNER", source={"kind": "remote", "url": "https://codes.example.com/orders"})


async def test_programs_are_listed_in_words(browser: Browser) -> None:
    await fill(browser)
    page = await browser.open("/programs")

    spring = page.get_by_role("row").filter(has_text="SPRING")
    await expect(spring).to_contain_text("ends in 3 days")
    await expect(spring).to_contain_text("800 of 1,000 ready")
    await expect(page.get_by_role("row").filter(has_text="AUTUMN")).to_contain_text("off")
    await expect(page.get_by_role("row").filter(has_text="LATER")).to_contain_text("starts in 9 days")
    await expect(page.get_by_role("row").filter(has_text="PARTNER")).to_contain_text("answers")
    await expect(page.get_by_role("link", name="Autumn & <b>more</b>")).to_be_visible()


async def test_filters_work_while_typing_and_stand_in_the_address(browser: Browser) -> None:
    await fill(browser)
    page = await browser.open("/programs")

    await page.get_by_label("Search", exact=True).fill("spr")
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page).to_have_url(f"{browser.url}/programs?search=spr&state=&group=")
    await page.reload()
    await expect(page.get_by_label("Search", exact=True)).to_have_value("spr")
    await page.get_by_label("State", exact=True).select_option("ended")
    await expect(page.get_by_text("No program matches")).to_be_visible()
    await page.get_by_role("link", name="Show all programs").click()
    await expect(page.get_by_role("row")).to_have_count(6)


async def test_filters_work_without_javascript(browser: Browser) -> None:
    await fill(browser)
    page = await browser.open("/programs", javascript=False)

    await page.get_by_label("State", exact=True).select_option("off")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_label("Access group").fill("not a group")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_text("These filters can't be used")).to_be_visible()


async def test_a_person_of_a_group_sees_its_programs_alone(browser: Browser) -> None:
    await fill(browser)
    page = await browser.open("/programs", scopes=["read"], groups=["shop"])

    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("link", name="Create")).to_have_count(0)
    await page.goto("/programs/AUTUMN")
    await expect(page.get_by_role("heading", name="Not found")).to_be_visible()


async def test_the_box_jumps_to_a_program_or_searches(browser: Browser) -> None:
    await fill(browser)
    page = await browser.open("/programs")
    box = page.get_by_role("searchbox", name="Jump to a program or code")
    # The page's script has run.
    await expect(page.locator("html[data-js]")).to_have_count(1)

    await page.keyboard.press("/")
    await expect(box).to_be_focused()
    await box.fill("SPRING")
    await box.press("Enter")
    await expect(page.get_by_role("heading", name="Spring sale", level=1)).to_be_visible()
    await box.fill("smFg-2497-DMPB")
    await box.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("no code has this text")
    assert "DMPB" not in page.url


async def test_an_empty_list_says_what_a_program_is(browser: Browser) -> None:
    page = await browser.open("/programs")

    await expect(page.get_by_text("No programs yet")).to_be_visible()
    await expect(page.get_by_role("link", name="Create a program")).to_be_visible()
    assert await axe(page) == []


async def test_the_list_is_accessible_and_fits_a_telephone(browser: Browser) -> None:
    await fill(browser)
    await accessible_everywhere(await browser.open("/programs"))


async def test_a_theme_is_kept_and_comes_back_to_the_page(browser: Browser) -> None:
    page = await browser.open("/programs?state=off", javascript=False)

    await page.get_by_role("button", name="Account of").click()
    await page.get_by_role("button", name="Dark").click()

    await expect(page).to_have_url(f"{browser.url}/programs?state=off")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
