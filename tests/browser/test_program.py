"""A program's page: its stock, what can be done with it, and what cannot be undone."""

import pytest
from playwright.async_api import expect

from tests.support.browser import Browser, accessible_everywhere, axe
from tests.support.sender_records import messages

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_equation_of_stock_holds_what_was_given(browser: Browser) -> None:
    site = browser.site
    await site.program("SPRING", 100, title="Spring sale")
    async with site.issuer():
        await site.publish(messages(3, "SPRING"))
        await site.came("message-render.reply", 3)
    page = await browser.open("/programs/SPRING")

    equation = page.get_by_role("group", name="Equation of stock")
    await expect(equation).to_contain_text("made100 + imported0 = pooled97 + attached3 + expired0 + deleted0")
    await expect(page.get_by_text("{loyalty.SPRING.promocode}")).to_be_visible()


async def test_the_variable_is_copied(browser: Browser) -> None:
    await browser.site.program("SPRING")
    page = await browser.open("/programs/SPRING")

    await page.get_by_role("button", name="Copy the variable").click()
    await expect(page.get_by_text("Copied")).to_be_visible()

    assert await page.evaluate("navigator.clipboard.readText()") == "{loyalty.SPRING.promocode}"


async def test_a_program_is_switched_off_and_on_at_once(browser: Browser) -> None:
    await browser.site.program("SPRING")
    page = await browser.open("/programs/SPRING", javascript=False)

    await page.get_by_role("button", name="Deactivate").click()
    await expect(page.get_by_role("status")).to_contain_text("The program is off.")
    await page.get_by_role("button", name="Activate").click()
    await expect(page.get_by_role("status")).to_contain_text("The program is active.")


async def test_removing_asks_for_the_name(browser: Browser) -> None:
    await browser.site.program("SPRING")
    page = await browser.open("/programs/SPRING", javascript=False)

    await page.get_by_label("Type SPRING to confirm").fill("spring")
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("This is not the short name: type SPRING.")).to_be_visible()
    await page.get_by_label("Type SPRING to confirm").fill("SPRING")
    await page.get_by_role("button", name="Remove").click()
    await page.wait_for_url("**/programs?*")
    await page.goto("/programs/SPRING")
    await expect(page.get_by_text("This program is removed")).to_be_visible()
    await expect(page.get_by_role("link", name="Generate")).to_have_count(0)


async def test_the_secrets_of_a_remote_service_are_shown_to_administrators(browser: Browser) -> None:
    await browser.site.program("PARTNER", source={"kind": "remote", "url": "https://codes.example.com/orders"})
    page = await browser.open("/programs/PARTNER")

    await page.get_by_role("button", name="Make a new secret").click()
    await expect(page.get_by_role("row")).to_have_count(3)
    assert await axe(page) == []
    reader = await browser.open("/programs/PARTNER", scopes=["read"])
    await expect(reader.get_by_text("Remote service").first).to_be_visible()
    await expect(reader.get_by_role("button", name="Make a new secret")).to_have_count(0)


async def test_the_forecast_is_told_and_drawn(browser: Browser) -> None:
    """The chart goes on from the stock now, and its table has the numbers."""
    site = browser.site
    await site.program("SPRING", 1_000, campaign_can_create=False, scenario_can_create=False)
    id_ = await site.database.fetchval("SELECT id FROM program WHERE name = 'SPRING'")
    await site.database.execute(
        "INSERT INTO usage_hour SELECT $1, date_trunc('hour', now()) - make_interval(hours => n), 'campaign', "
        "'attached', 10 FROM generate_series(0, 671) n",
        id_,
    )
    await site.database.execute("INSERT INTO pool_level SELECT $1, now() - interval '2 hours', 1020", id_)
    page = await browser.open("/programs/SPRING")

    card = page.get_by_role("region", name="Forecast")
    await expect(card).to_contain_text("Runs out")
    await expect(card).to_contain_text("No more codes are made by themselves")
    await card.get_by_text("What it assumes").click()
    await expect(card).to_contain_text("Each week is as the last four weeks")
    chart = page.locator("#levels")
    await expect(chart.locator("canvas")).to_be_visible()
    await expect(chart.locator("[data-note]")).to_contain_text("ready 1,000")
    await chart.get_by_text("Show the numbers").click()
    await expect(chart.get_by_role("columnheader")).to_have_text(["Time", "ready", "expected", "at high demand"])
    # Two levels, and the next 24 hours.
    await expect(chart.get_by_role("row")).to_have_count(1 + 2 + 24)
    assert await axe(page) == []

    page = await browser.open("/programs")
    await expect(page.get_by_role("row", name="SPRING")).to_contain_text("runs out of codes")


async def test_the_page_is_accessible_and_fits_a_telephone(browser: Browser) -> None:
    await browser.site.program("SPRING", 100, title="S" * 200, description="<script>alert(1)</script> \u202eabc")
    await accessible_everywhere(await browser.open("/programs/SPRING"))
