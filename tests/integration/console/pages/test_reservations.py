"""The screen of a program's reservations."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.console.pages.screens import reservations
from tests.support.consoles import Consoles, settings
from tests.support.pages import form, submit, words

URL = "/programs/SPRING/reservations"
UNTIL = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
FILLED = {"campaign_id": "spring-2027", "count": "600", "until": UNTIL}


async def made(consoles: Consoles, **changed: Any) -> httpx.AsyncClient:
    """A browser that may write, and a program."""
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings(codes_max=1_000, **changed))).status_code == 201
    return await consoles.browser("read", "write")


async def test_codes_are_checked_reserved_and_released(consoles: Consoles) -> None:
    browser = await made(consoles)
    page = await browser.get(URL)
    assert "Nothing is reserved" in words(page)
    checked = await submit(browser, form(page, URL), **FILLED, check="on")
    assert "600 of 600 codes can be reserved" in words(checked)
    assert 'value="spring-2027"' in checked.text
    assert "Nothing is reserved" in words(checked)

    answer = await submit(browser, form(checked, URL), **FILLED)
    assert answer.status_code == 303
    again = await submit(browser, form(checked, URL), **FILLED)
    assert again.headers["location"] == answer.headers["location"]
    listed = await browser.get(answer.headers["location"])
    assert "The codes are reserved" in words(listed)
    assert "campaign spring-2027" in words(listed)
    assert "0 of 600 used" in words(listed)
    shown = words(await browser.get("/programs/SPRING"))
    assert "600 of the pooled codes are reserved" in shown

    released = await submit(browser, form(listed, f"{URL}/release"))
    ended = words(await browser.get(released.headers["location"]))
    assert "back in the pool" in ended
    assert "No codes are set aside" in words(await browser.get("/programs/SPRING"))


async def test_all_reservations_are_found_page_by_page(consoles: Consoles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "_ROWS", 1)
    browser = await made(consoles)
    for campaign in ("first", "second"):
        filled = form(await browser.get(URL), URL)
        answer = await submit(browser, filled, campaign_id=campaign, count="5", until=UNTIL)
        assert answer.status_code == 303
    newest = await browser.get(URL)
    assert ("campaign second" in words(newest), "campaign first" in words(newest)) == (True, False)
    [following] = re.findall(r'href="([^"]+cursor=[^"]+)"', newest.text)
    older = await browser.get(html.unescape(following))
    assert "campaign first" in words(older)
    assert f'href="{URL}"' in older.text


async def test_what_is_short_or_wrong_stands_at_its_field(consoles: Consoles) -> None:
    browser = await made(consoles)
    filled = form(await browser.get(URL), URL)

    for given, sentence in (
        ({"count": "none"}, "Give a whole number"),
        ({"count": "1,200"}, "SPRING can set aside 1,000 of 1,200 codes; 200 are missing"),
        ({"until": "2001-01-01"}, "“Until” must be in the future: give a later time."),
        ({"until": ""}, "Until must be a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z."),
        ({"campaign_id": "", "until": ""}, "Campaign or scenario must have 1 to 256 characters"),
        ({"send_at": "2096-01-01T10:00"}, "“Sent at” must be before “Until”: the codes go back to the pool then."),
    ):
        page = await submit(browser, filled, **{**FILLED, **given})
        assert page.status_code == 422
        assert sentence in words(page)
        assert "body." not in words(page)
        filled = form(page, URL)
    some = await submit(
        browser, filled, **{**FILLED, "count": "1,200", "partial": "on", "for": "scenario", "send_at": ""}
    )
    listed = words(await browser.get(some.headers["location"]))
    assert "scenario spring-2027" in listed
    assert "200 are missing" in listed
    reader = await consoles.browser("read")
    assert "Reserve codes" not in words(await reader.get(URL))
    assert (await submit(reader, filled, **FILLED)).status_code in {403, 404, 400}
