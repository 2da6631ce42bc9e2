"""What goes wrong while marketers work: sessions that end, colleagues, wrong files, a database that is away."""

import asyncio
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from playwright.async_api import Dialog, Page, Route, expect

from codewell.access import tokens
from tests.browser.conftest import House
from tests.support.browser import Browser, visiting
from tests.support.database_proxy import door
from tests.support.serving import serving
from tests.support.site import Site

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


_IMPORTED = """
    INSERT INTO import (id, program_id, file_name, file_bytes, file_sha256, options, uploaded, state,
                        started_at, ended_at)
    SELECT $1, id, 'codes.csv', 1000, sha256('x'), '{}', false, 'done', now() - interval '3 hours', now()
    FROM program WHERE name = 'PICTURE'
    """


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.console.pages.sign_ins.CACHE_TTL_S", 0.0)


async def press(page: Page, words: str) -> None:
    await page.get_by_role("button", name=words, exact=True).click()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
async def test_nothing_typed_is_lost_when_a_session_ends_in_the_wizard(
    house: House, visitor: Browser, *, scripts: bool
) -> None:
    secret = await visitor.token()
    page = await visitor.open("/programs/new", token=secret, javascript=scripts)
    await house.site.database.execute("UPDATE session SET last_seen_at = now() - interval '9 hours'")
    await page.get_by_label("Template name").fill("Long thought about")
    await page.get_by_label("Short name").fill(f"THOUGHT_{scripts:d}")
    await press(page, "Next")
    await page.get_by_label("API token").fill(secret)
    await press(page, "Sign in")
    await press(page, "Send the form")
    await page.get_by_role("radio", name="Template").wait_for()
    await press(page, "Back")
    assert await page.get_by_label("Template name").input_value() == "Long thought about"


async def test_the_second_of_two_marketers_is_shown_what_the_first_changed(house: House, visitor: Browser) -> None:
    await house.site.program("BOTH", title="The title before")
    first, second = [await visitor.open("/programs/BOTH/edit") for _ in range(2)]
    for page, title in ((first, "By the first"), (second, "By the second")):
        await page.get_by_label("Template name").fill(title)
        await press(page, "See the changes")
        await page.get_by_role("button", name="Save the changes").wait_for()
    await press(first, "Save the changes")
    await first.get_by_role("heading", level=1, name="By the first").wait_for()
    await press(second, "Save the changes")
    await second.get_by_role("heading", level=1, name="BOTH was changed meanwhile").wait_for()
    await second.get_by_text("Theirs: By the first").wait_for()
    await second.get_by_role("radio", name="Yours: By the second").check()
    await press(second, "Take this over and see the changes")
    await press(second, "Save the changes")
    await second.get_by_role("heading", level=1, name="By the second").wait_for()


async def test_a_file_that_is_no_table_is_refused_on_the_same_page(
    house: House, visitor: Browser, tmp_path: Path
) -> None:
    await house.site.program("PICTURE")
    file = tmp_path / "<b>picture.csv"
    file.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 8)
    page = await visitor.open("/programs/PICTURE/import")
    await house.site.database.execute(_IMPORTED, UUID(int=8))
    await page.reload()
    await page.get_by_text("3 hours ago").wait_for()
    await page.get_by_label("File of codes").set_input_files(file)
    await press(page, "Upload")
    await page.get_by_role("alert").wait_for()
    await page.get_by_text("3 hours ago").wait_for()
    assert (await house.site.stock("PICTURE")).imported == 0
    await page.get_by_label("File of codes").wait_for()


async def test_what_is_typed_is_not_lost_to_another_form_of_the_page_without_a_question(
    house: House, visitor: Browser
) -> None:
    await house.site.program("TYPED")
    page = await visitor.open("/programs/TYPED/generate")
    asked: list[str] = []

    async def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", stay)
    await page.get_by_label("Profiles").fill("p-1")
    await page.get_by_role("button", name="Account of").click()
    await press(page, "Dark")
    await expect(page.get_by_label("Profiles")).to_have_value("p-1")
    assert asked == ["beforeunload"]
    # A person who stays may choose it again.
    await press(page, "Dark")
    await expect(page.get_by_label("Profiles")).to_have_value("p-1")
    assert asked == ["beforeunload"] * 2
    await page.get_by_label("Number of codes").fill("0")
    await press(page, "Generate")
    await page.get_by_role("alert").wait_for()
    await page.get_by_role("button", name="Account of").click()
    await press(page, "Dark")
    await expect(page.get_by_label("Profiles")).to_have_value("p-1")
    assert asked == ["beforeunload"] * 3
    await page.get_by_label("Number of codes").fill("1")
    await press(page, "Generate")
    await page.get_by_text("One code is made").wait_for()
    assert asked == ["beforeunload"] * 3


async def test_a_form_whose_sending_was_stopped_can_be_sent_again(house: House, visitor: Browser) -> None:
    await house.site.program("STOPPED")
    page = await visitor.open("/programs/STOPPED/edit")
    posted = asyncio.Semaphore(0)

    async def never(_route: Route) -> None:
        posted.release()

    await page.route(lambda url: url.endswith("/STOPPED/edit"), never)
    for _ in range(2):
        # A page that is being left answers no more questions, so it presses the button by itself.
        await page.evaluate("setTimeout(() => document.querySelector('form[data-draft] .primary').click(), 50)")
        await asyncio.wait_for(posted.acquire(), 10)
        stopping = await page.context.new_cdp_session(page)
        await stopping.send("Page.stopLoading")


async def test_a_program_that_is_removed_while_its_page_is_open_says_so(house: House, visitor: Browser) -> None:
    await house.site.program("GONE")
    page = await visitor.open("/programs/GONE/generate")
    secret = await visitor.token()
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as api:
        answer = await api.delete("/api/v1/programs/GONE", headers={"Authorization": f"Bearer {secret}"})
        assert answer.is_success
    await page.get_by_label("Number of codes").fill("5")
    await press(page, "Generate")
    await page.get_by_text("removed").first.wait_for()
    assert (await house.site.stock("GONE")).made == 0


async def test_a_page_says_that_the_database_is_away_and_heals(house: House) -> None:
    _, secret = await tokens.create(house.site.database, "patient", ["admin"])
    async with door(house.site.postgres_url) as proxy:
        behind = Site(
            proxy.url, house.site.bootstrap, house.site.prefix, house.site.database, house.site.producer,
            house.site._consumer, house.site.admin,
        )  # fmt: skip
        async with serving(behind) as url, visiting(behind, url, house.chromium) as browser:
            page = await browser.open(token=secret)
            await proxy.shut()
            await page.reload()
            await page.get_by_text("The database is unavailable or busy").wait_for()
            assert all("503" in fault for fault in browser.faults), browser.faults
            browser.faults.clear()
            await proxy.open()
            for _ in range(20):
                await page.reload()
                if await page.get_by_role("heading", level=1, name="Loyalty").count():
                    break
            assert await page.get_by_role("heading", level=1, name="Loyalty").count() == 1
            browser.faults[:] = [fault for fault in browser.faults if "503" not in fault]
