"""The marketers' guide, from its first sentence to its last, by what pages say: with scripts, without, by keyboard."""

import asyncio
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import FileChooser, Locator, Page, expect

from tests.browser.conftest import House
from tests.support.browser import Browser
from tests.support.keyboard import enter, press, tab_to

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TEMPLATE: Final = "{string 4}-{number 4}-{upstring 4}"
ROWS: Final = "Voucher,Discount\nVIP-1,10 %\nVIP-2,20 %\nVIP-2,20 %\n"


async def heading(page: Page, words: str) -> None:
    """Wait for the page with this head."""
    await page.get_by_role("heading", level=1, name=words).wait_for()


def button(page: Page, words: str) -> Locator:
    return page.get_by_role("button", name=words, exact=True)


def link(page: Page, words: str) -> Locator:
    return page.get_by_role("main").get_by_role("link", name=words, exact=True)


async def create(page: Page, name: str, *, scripts: bool) -> None:
    """Loyalty, Create, and the three steps."""
    await heading(page, "Loyalty")
    await link(page, "Create").click()
    await page.get_by_label("Template name").fill(f"The {name} sale")
    await page.get_by_label("Short name").fill(name)
    await page.get_by_label("Access groups").fill("marketing")
    if scripts:
        await page.get_by_text(f"{{loyalty.{name}.promocode}}", exact=True).wait_for()
    await button(page, "Next").click()
    await page.get_by_role("radio", name="Template").check()
    await page.get_by_label("Template", exact=True).fill(TEMPLATE)
    if not scripts:
        await button(page, "Show sample codes").click()
    await expect(page.get_by_role("list", name="Sample codes").get_by_role("listitem")).to_have_count(5)
    await button(page, "Next").click()
    await page.get_by_role("switch", name="Scenario can create promo codes").check()
    await page.get_by_role("switch", name="Campaign can create promo codes").check()
    assert not await page.get_by_role("switch", name="One promo code can be attached to multiple profiles").is_checked()
    assert not await page.get_by_role("switch", name="Automatically link promo codes to profile").is_checked()
    await page.get_by_label("The maximum number of promo codes").fill("10,000")
    await page.get_by_label("Time to live").first.fill("30")
    await page.get_by_label("Name of field 1").fill("discount")
    await button(page, "Create").click()
    await heading(page, f"The {name} sale")


async def generate(page: Page) -> None:
    await link(page, "Generate").click()
    await page.get_by_text("10,000 are left to the maximum.").wait_for()
    await page.get_by_label("Number of codes").fill("50")
    await page.get_by_label("discount").fill("10 %")
    await button(page, "Generate").click()
    await page.get_by_text("50 codes are made").wait_for()
    await expect(page.get_by_role("table", name="The first codes").get_by_role("row")).to_have_count(21)
    await link(page, "Browse these").click()
    await heading(page, "Browse")


async def import_file(page: Page, path: Path) -> None:
    await link(page, "Import from file").click()
    await page.get_by_label("File of codes").set_input_files(path)
    await button(page, "Upload").click()
    await page.get_by_role("radio", name="Voucher").check()
    await page.get_by_label("Head").select_option(label="The first row names the columns")
    await page.get_by_label("Custom field discount").select_option(label="2 · Discount")
    await button(page, "Check again").click()
    await button(page, "Import").click()
    await page.get_by_text("The import is done").wait_for()
    await page.get_by_role("table", name="Bad rows by reason").wait_for()
    async with page.expect_download() as coming:
        await link(page, "Download bad rows").click()
    assert "VIP-2" in Path(await (await coming.value).path()).read_text()


async def browse(page: Page, name: str) -> None:
    await page.get_by_role("combobox", name="State").select_option(value="attached")
    await button(page, "Filter").click()
    await page.get_by_text("No code fits these filters").wait_for()
    await link(page, "Reset").click()
    await page.get_by_role("textbox", name="Jump to a code", exact=True).fill("VIP-1")
    await button(page, "Jump").click()
    await heading(page, "Code")
    await link(page, name).click()
    await heading(page, f"The {name} sale")


async def export(page: Page) -> None:
    await link(page, "Export to file").click()
    await heading(page, "Export to file")
    async with page.expect_download() as coming:
        await button(page, "Download").click()
    assert len(Path(await (await coming.value).path()).read_text().splitlines()) == 53


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
async def test_the_guide_from_its_first_sentence_to_its_last(
    visitor: Browser, tmp_path: Path, *, scripts: bool
) -> None:
    name = "SUMMER" if scripts else "WINTER"
    file = tmp_path / "vip.csv"
    file.write_text(ROWS)
    page = await visitor.open(javascript=scripts)

    await create(page, name, scripts=scripts)
    await generate(page)
    await link(page, f"The {name} sale").click()
    await import_file(page, file)
    await link(page, f"The {name} sale").click()
    await link(page, "Browse").click()
    await browse(page, name)
    await export(page)


async def test_create_and_import_by_keyboard_alone(visitor: Browser, tmp_path: Path) -> None:
    file = tmp_path / "vip.csv"
    file.write_text(ROWS)
    page = await visitor.open()
    # Asked for before the first key: asked for right before its own key, the browser may see the key first.
    choosers: asyncio.Queue[FileChooser] = asyncio.Queue()
    page.on("filechooser", choosers.put_nowait)

    await press(page, "Create")
    await tab_to(page, "Template name")
    await page.keyboard.type("By keyboard")
    await tab_to(page, "Short name")
    await page.keyboard.type("KEYS")
    await enter(page)
    await tab_to(page, "Template", exact=True)
    await page.keyboard.press("Control+A")
    await page.keyboard.type(TEMPLATE)
    await enter(page)
    await tab_to(page, "Campaign can create promo codes")
    await page.keyboard.press("Space")
    await tab_to(page, "The maximum number of promo codes")
    await page.keyboard.type("5000")
    await enter(page)
    await heading(page, "By keyboard")

    await press(page, "Import from file")
    await tab_to(page, "File of codes")
    await page.keyboard.press("Space")
    chooser = await asyncio.wait_for(choosers.get(), 10)
    await chooser.set_files(file)
    await press(page, "Upload")
    await tab_to(page, "Head", exact=True)
    await page.keyboard.press("ArrowDown")
    await tab_to(page, "1 · Voucher")
    await page.keyboard.press("Space")
    await press(page, "Import")
    await page.get_by_text("The import is done").wait_for()


async def test_nothing_is_made_twice_by_going_back(house: House, visitor: Browser) -> None:
    await house.site.program("BACK", fields=[])
    page = await visitor.open("/programs/BACK/generate")
    await page.get_by_label("Number of codes").fill("7")
    await button(page, "Generate").dblclick()
    await page.get_by_text("7 codes are made").wait_for()
    await page.go_back()
    await page.get_by_label("Number of codes").wait_for()
    await page.go_forward()
    await page.get_by_text("7 codes are made").wait_for()
    await page.reload()
    await page.get_by_text("7 codes are made").wait_for()
    assert (await house.site.stock("BACK")).made == 7
