"""The screen that browses codes, and changes many at once."""

import re
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from typing import Any
from uuid import uuid4

import httpx
import pytest

from schemas.moments import ZONE, zone_named
from tests.support.consoles import Consoles, create_console, settings
from tests.support.pages import Form, form, submit, words

URL = "/programs/SPRING/codes"
LATER = (datetime.now(UTC) + timedelta(days=400)).strftime("%Y-%m-%d")


async def made(consoles: Consoles, count: int = 60, **changed: Any) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """A browser that may write, a client of the API, and a program with codes."""
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings(**changed))).status_code == 201
    if count:
        assert (await api.post("/programs/SPRING/codes:generate", json={"count": count})).status_code == 201
    return await consoles.browser("read", "write"), api


def places_of(answer: httpx.Response) -> list[str]:
    return re.findall(r'name="place" value="([^"]+)"', answer.text)


def rows(answer: httpx.Response) -> int:
    return answer.text.count('name="place"')


async def states(api: httpx.AsyncClient) -> list[str]:
    return [one["state"] for one in (await api.get("/programs/SPRING/codes")).json()["items"]]


async def test_codes_are_listed_fifty_a_page_and_masked(consoles: Consoles) -> None:
    browser, api = await made(consoles)
    first = await browser.get(URL)
    assert rows(first) == 50
    assert "60 codes" in words(first)
    texts = [one["code"] for one in (await api.get("/programs/SPRING/codes")).json()["items"]]
    assert not any(text in first.text for text in texts)
    [following] = {one for one in first.text.split('"') if one.startswith(f"{URL}?cursor=")}
    second = await browser.get(following)
    assert rows(second) == 10
    shown = await submit(browser, form(second, following))
    assert all(text in shown.text for text in texts[50:])
    # Without a scope for it, nobody presses Show.
    reader = await consoles.browser("read")
    assert 'name="place"' not in (await reader.get(URL)).text
    assert (await reader.post(URL)).status_code == 403


async def test_filters_and_columns_stand_in_the_address(consoles: Consoles) -> None:
    browser, api = await made(consoles, fields=[{"name": "discount"}], ttl="P30D")
    attached = (await api.post("/programs/SPRING/codes:attach", json={"profile_id": "anna-1001"})).json()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    for query, count in (
        ({"state": "attached"}, 1),
        ({"state": "deleted"}, 0),
        ({"profile_id": "anna-1001"}, 1),
        ({"profile_id": "bert"}, 0),
        ({"expires_from": tomorrow, "state": "pooled"}, 50),
        ({"expires_until": tomorrow}, 0),
        ({"expires_from": tomorrow, "profile_id": "anna-1001"}, 1),
        ({"batch": "1-0-3"}, 3),
    ):
        page = await browser.get(URL, params=query)
        assert rows(page) == count, query
        kept = form(page, URL).fields
        assert {name: kept.get(name) for name in query} == query
    assert attached["code"] not in (await browser.get(URL, params={"state": "attached"})).text
    page = await browser.get(URL, params={"columns": ["created", "fields"]})
    assert ">discount</th>" in page.text
    assert ">State</th>" not in page.text


async def test_codes_of_an_import_are_listed(consoles: Consoles) -> None:
    browser, api = await made(consoles, 5)
    begun = (await api.post("/programs/SPRING/imports", files={"file": ("a.csv", b"Code\nX-1\nX-2\n")})).json()
    await create_console(consoles.pool).state.context.importer.process_pending()
    assert rows(await browser.get(URL, params={"import_id": begun["id"]})) == 2
    assert rows(await browser.get(URL, params={"import_id": begun["id"], "order": "newest"})) == 2
    assert rows(await browser.get(URL, params={"import_id": begun["id"], "state": "pooled"})) == 2
    assert rows(await browser.get(URL, params={"import_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10"})) == 0


@pytest.mark.parametrize("query", ["state=odd", "cursor=x", "expires_from=soon", "import_id=1", "profile_id=%07"])
async def test_a_filter_that_is_not_valid_says_so_on_the_page(consoles: Consoles, query: str) -> None:
    browser, _ = await made(consoles, 1)
    page = await browser.get(f"{URL}?{query}")
    assert page.status_code == 422
    assert 'id="errors"' in page.text
    assert "Filter" in words(page)


async def test_selected_codes_are_deleted_and_failures_say_why(consoles: Consoles) -> None:
    browser, api = await made(consoles, 4)
    used = (await api.post("/programs/SPRING/codes:attach", json={"profile_id": "anna"})).json()["code"]
    assert (await api.post("/programs/SPRING/codes:activate", json={"code": used})).status_code == 200
    items = (await api.get("/programs/SPRING/codes")).json()["items"]
    places = [one["place"] for one in items[:3]]
    page = await browser.post(f"{URL}/selected", data={"place": [*places, "0:9:9"]})
    assert page.status_code == 404
    page = await browser.post(f"{URL}/selected", data={"place": places})
    chosen = form(page, f"{URL}/delete")
    assert chosen.fields["place"] == places
    refused = await submit(browser, chosen, typed="AUTUMN")
    assert refused.status_code == 422
    assert 'id="typed-error"' in refused.text
    assert "deleted" not in await states(api)
    results = set()
    for _ in range(2):
        answer = await submit(browser, form(refused, f"{URL}/delete"), typed="SPRING")
        results.add((answer.status_code, answer.headers["location"]))
        done = await browser.get(answer.headers["location"])
        said = words(done)
        assert "2 codes are deleted" in said
        assert "One code was left as it is" in said
        assert "is activated and cannot be deleted" in said
        assert used not in done.text
        assert (await states(api)).count("deleted") == 2
    assert len(results) == 1
    assert results.pop()[0] == 303
    # Of nobody else, and of no other program.
    other = await consoles.browser("read", "write")
    assert (await other.get(answer.headers["location"])).headers["location"] == URL
    assert (await api.post("/programs", json=settings("AUTUMN"))).status_code == 201
    moved = answer.headers["location"].replace("SPRING", "AUTUMN")
    assert (await browser.get(moved)).headers["location"] == URL.replace("SPRING", "AUTUMN")
    stock = (await api.get("/programs/SPRING/stock")).json()
    assert (stock["made"], stock["deleted"], stock["pooled"], stock["attached"]) == (4, 2, 1, 1)


@pytest.mark.parametrize("step", ["selected", "delete", "extend"])
async def test_what_is_no_place_reaches_no_other_path(consoles: Consoles, step: str) -> None:
    browser, _ = await made(consoles, 1)
    sent = {"place": "0:1:0/history", "key": str(uuid4()), "typed": "AUTUMN", "expires_at": "2000-01-01"}
    assert (await browser.post(f"{URL}/{step}", data=sent)).status_code in {303, 422}


async def test_all_codes_from_here_on_are_extended(consoles: Consoles) -> None:
    browser, _api = await made(consoles, 120, ttl="P30D")
    first = await browser.get(URL)
    selection: Form = form(first, f"{URL}/selected")
    page = await submit(browser, selection, all="on")
    assert "120 codes" in words(page)
    refused = await submit(browser, form(page, f"{URL}/extend"), expires_at="yesterday")
    assert refused.status_code == 422
    assert 'id="expires_at-error"' in refused.text
    assert 'value="yesterday"' in refused.text
    answer = await submit(browser, form(refused, f"{URL}/extend"), expires_at=LATER)
    done = await browser.get(answer.headers["location"])
    assert "120 codes are extended" in words(done)
    assert rows(await browser.get(URL, params={"expires_from": LATER})) == 50


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
async def test_forms_say_in_which_zone_a_day_is(consoles: Consoles, zone: str) -> None:
    browser, _ = await made(consoles, 1)
    before = ZONE.set(zone_named(zone))
    try:
        selected = await browser.post(f"{URL}/selected", data={"place": "0:1:0"})
        others = [
            await browser.get(f"/programs{page}")
            for page in ("/SPRING/change-all", "/SPRING/code/0:1:0", "/SPRING/reservations", "/SPRING/edit", "/new")
        ]
    finally:
        ZONE.reset(before)
    for page in (selected, *others):
        assert f"the time zone {zone}" in words(page), page.url


async def test_a_selection_leads_back_to_its_page_of_the_list(consoles: Consoles) -> None:
    browser, _ = await made(consoles, 120)
    first = await browser.get(URL, params={"state": "pooled", "columns": "expires"})
    [following] = {unescape(one) for one in first.text.split('"') if "cursor=" in one}
    second = await browser.get(following)
    selection = form(second, f"{URL}/selected")
    answer = await submit(browser, selection, place=None)
    assert answer.status_code == 303
    told = await browser.get(answer.headers["location"])
    assert "No code is selected" in words(told)
    assert places_of(told) == places_of(second)
    asked = await submit(browser, selection, place=places_of(second)[:2])
    assert f'href="{escape(following)}"' in asked.text
    done = await submit(browser, form(asked, f"{URL}/extend"), place=places_of(second)[:2], expires_at=LATER)
    assert f'href="{escape(following)}"' in (await browser.get(done.headers["location"])).text


@pytest.mark.parametrize("listed", ["", "https://elsewhere.example/?", "/programs/OTHER/codes?", f"//{URL}?", URL])
async def test_nothing_else_is_taken_for_a_page_of_the_list(consoles: Consoles, listed: str) -> None:
    browser, _ = await made(consoles, 0)
    answer = await browser.post(f"{URL}/selected", data={"listed": listed})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{URL}?did=nothing")


async def test_another_groups_program_is_not_there_and_a_reader_changes_nothing(consoles: Consoles) -> None:
    await made(consoles, 2, groups=["theirs"])
    other = await consoles.browser("read", "write", groups=["mine"])
    reader = await consoles.browser("read")
    key = {"key": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10", "place": "0:1:0", "typed": "SPRING", "expires_at": LATER}
    assert (await other.get(URL)).status_code == 404
    for path in ("selected", "delete", "extend"):
        assert (await other.post(f"{URL}/{path}", data=key)).status_code == 404, path
        assert (await reader.post(f"{URL}/{path}", data=key)).status_code == 403, path


async def test_a_program_without_codes_offers_the_ways_to_begin(consoles: Consoles) -> None:
    browser, _ = await made(consoles, 0)
    page = await browser.get(URL)
    assert "No codes yet" in words(page)
    assert 'href="/programs/SPRING/generate"' in page.text
    assert 'href="/programs/SPRING/import"' in page.text


async def test_hostile_texts_are_only_texts(consoles: Consoles) -> None:
    evil = "<img/src=x>\u202e"
    browser, api = await made(consoles, 0, title=evil)
    wanted = {"profile_id": "<img/src=y>", "code": "<img/src=x>"}
    assert (await api.post("/programs/SPRING/codes:attach", json=wanted)).status_code == 200
    page = await browser.post(URL)
    assert rows(page) == 1
    assert "&lt;img/src=x&gt;" in page.text
    assert "&lt;img/src=y&gt;" in page.text
    assert "<img" not in page.text
