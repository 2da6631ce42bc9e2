"""Creating and changing a program in a browser: by the keyboard alone, with hints while one types."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.support.browser import NARROW, Browser, axe, overflow
from tests.support.keyboard import tab_to

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_program_is_created_by_the_keyboard_alone(browser: Browser) -> None:
    page = await browser.open("/programs/new")
    await tab_to(page, "Template name")
    await page.keyboard.type("Spring sale")
    await tab_to(page, "Short name")
    await page.keyboard.type("SPRING")
    await expect(page.get_by_text("This short name is free.")).to_be_visible()
    await expect(page.locator("#name-check code")).to_have_text("{loyalty.SPRING.promocode}")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", name="Where codes come from")).to_be_visible()
    await tab_to(page, "Template")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", name="Promo code settings")).to_be_visible()
    await tab_to(page, "The maximum number of promo codes")
    await page.keyboard.type("1000")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(r"/programs/SPRING\?"))
    await expect(page.get_by_role("status").filter(has_text="The program is made.")).to_be_visible()


async def test_samples_and_strength_follow_the_template(browser: Browser) -> None:
    page = await browser.open("/programs/new")
    await page.get_by_label("Short name").fill("SPRING")
    await page.get_by_role("button", name="Next").click()
    template = page.get_by_role("textbox", name="Template")
    await template.fill("SALE-{numbr 4}")
    await expect(page.locator("#preview")).to_contain_text("At character 6")
    await template.fill("SALE-{number 4}")
    await expect(page.locator("#preview li").first).to_have_text(re.compile(r"SALE-\d{4}"))
    await expect(page.locator("#preview")).to_contain_text("10,000 different codes")
    await page.get_by_role("button", name="Insert a token").click()
    await page.get_by_role("button", name=re.compile(r"\{safe 4\}")).click()
    await expect(template).to_have_value("SALE-{number 4}{safe 4}")
    await expect(page.locator("#preview li").first).to_have_text(re.compile(r"SALE-\d{4}\w{4}"))
    await page.get_by_role("button", name="Insert a token").click()
    await page.get_by_label("Own alphabet").fill("AB]")
    await page.get_by_label("How many").press("Enter")
    await expect(template).to_have_value("SALE-{number 4}{safe 4}{[AB\\]] 4}")
    await page.get_by_label("Files only").check()
    await expect(template).to_be_hidden()


async def test_what_was_typed_is_there_after_leaving(browser: Browser) -> None:
    page = await browser.open("/programs/new")
    await page.get_by_label("Template name").fill("Spring sale")
    await expect(page.locator("#saved")).to_have_text("The draft is saved.")
    await page.goto("/programs")
    await page.goto("/programs/new")
    await page.get_by_role("link", name="Continue").click()
    await expect(page.get_by_label("Template name")).to_have_value("Spring sale")


async def test_a_session_that_ends_in_the_middle_loses_nothing(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.console.pages.sign_ins.CACHE_TTL_S", 0.0)
    token = await browser.token("admin")
    page = await browser.open("/programs/new", token=token)
    await page.get_by_label("Template name").fill("Spring sale")
    await page.get_by_label("Short name").fill("SPRING")
    await expect(page.locator("#saved")).to_have_text("The draft is saved.")
    await browser.site.database.execute("UPDATE session SET ends_at = now()")
    await page.get_by_label("Template name").fill("Spring sale of all")
    await expect(page.locator("#saved")).to_contain_text("not saved")
    page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.dismiss()))
    async with page.expect_event("dialog"):
        await page.evaluate("setTimeout(() => location.assign('/programs'), 50)")
    await page.get_by_role("button", name="Next").click()
    await page.get_by_label("API token").fill(token)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("button").filter(has_text=re.compile("Send|Continue")).first.click()
    await expect(page.get_by_role("heading", name="Where codes come from")).to_be_visible()
    await page.get_by_role("button", name="Back").click()
    await expect(page.get_by_label("Template name")).to_have_value("Spring sale of all")


async def test_the_pages_are_accessible_and_narrow(browser: Browser) -> None:
    await browser.site.program("SPRING", title="Spring sale")
    for theme in ("light", "dark"):
        page = await browser.open("/programs/new", theme=theme, width=NARROW)
        assert await axe(page) == []
        assert await overflow(page) <= 0
        await page.get_by_label("Short name").fill("OTHER")
        for heading in ("Where codes come from", "Promo code settings"):
            await page.get_by_role("button", name="Next").click()
            await expect(page.get_by_role("heading", name=heading)).to_be_visible()
            assert await axe(page) == []
            assert await overflow(page) <= 0
        await page.goto("/programs/SPRING/edit")
        assert await axe(page) == []
        assert await overflow(page) <= 0
