"""The page of an import, which follows it by itself."""

from uuid import UUID

import pytest
from playwright.async_api import Request, expect

from codewell.infra.postgres.connection import Connection
from tests.support.browser import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPORT = UUID(int=7)
# No console has its file: it is one that a command reads.
_RUNNING = """
    INSERT INTO import (id, program_id, file_name, file_bytes, file_sha256, options, uploaded, rows_read)
    SELECT $1, id, 'codes.csv', 1000, sha256('x'), '{}', false, 1500 FROM program
    """


async def advance(database: Connection, rows: int, state: str = "running") -> None:
    await database.execute(
        "UPDATE import SET rows_read = $1, imported = $1, state = $2, "
        "ended_at = CASE WHEN $2 = 'running' THEN NULL ELSE now() END",
        rows,
        state,
    )


async def test_a_running_import_is_followed_to_its_end_and_no_further(browser: Browser) -> None:
    await browser.site.program("SPRING")
    await browser.site.database.execute(_RUNNING, IMPORT)
    page = await browser.open("/programs/SPRING")
    # The page's own clock, which goes on by itself, and can be put forward.
    await page.clock.install()
    await page.goto(f"/programs/SPRING/imports/{IMPORT}")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/imports/" in request.url else None)
    await expect(page.get_by_text("1,500", exact=True)).to_be_visible()
    undo = page.get_by_role("button", name="Undo")
    await undo.focus()

    await advance(browser.site.database, 2_500)
    await expect(page.get_by_text("2,500", exact=True).first).to_be_visible()
    await expect(undo).to_be_focused()
    await advance(browser.site.database, 3_500, "done")
    await expect(page.get_by_text("3,500 codes stand in the program.")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_have_count(0)
    asked.clear()
    # More than one interval of the page.
    await page.clock.run_for(5_000)
    await page.evaluate("new Promise(requestAnimationFrame)")
    assert asked == []
