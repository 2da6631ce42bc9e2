"""The screen that generates codes."""

import asyncio
from typing import Any

import httpx
import pytest

from codewell.audit import audit_log
from tests.support.consoles import Consoles, settings
from tests.support.pages import form, submit, words

URL = "/programs/SPRING/generate"


async def made(consoles: Consoles, **changed: Any) -> httpx.AsyncClient:
    """A browser that may write, and a program."""
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings(**changed))).status_code == 201
    return await consoles.browser("read", "write")


async def count(consoles: Consoles) -> int:
    api = await consoles.client("admin")
    return int((await api.get("/programs/SPRING/stock")).json()["made"])


async def test_codes_are_generated_and_the_first_ones_shown(consoles: Consoles) -> None:
    browser = await made(consoles)
    page = await browser.get(URL)
    assert "1,000 are left to the maximum" in words(page)
    answer = await submit(browser, form(page, URL), count="50")
    assert answer.status_code == 303
    result = await browser.get(answer.headers["location"])
    assert "50 codes are made" in words(result)
    assert result.text.count("SPR•••-••••") == 20
    assert await count(consoles) == 50
    # To load the result again makes none, and the page of the codes lists them.
    assert (await browser.get(answer.headers["location"])).status_code == 200
    assert await count(consoles) == 50
    assert "/programs/SPRING/codes?batch=1-0-50" in result.text


async def test_counts_of_one_are_in_the_singular(consoles: Consoles) -> None:
    browser = await made(consoles, codes_max=2, pool_max=1)
    answer = await submit(browser, form(await browser.get(URL), URL), count="1")
    assert "1 stands ready in the pool now." in words(await browser.get(answer.headers["location"]))
    page = words(await browser.get(URL))
    assert "1 is left to the maximum." in page
    assert "1 codes" not in page


async def test_the_texts_are_shown_on_demand_which_is_recorded(consoles: Consoles) -> None:
    browser = await made(consoles)
    answer = await submit(browser, form(await browser.get(URL), URL), count="3")
    result = await browser.get(answer.headers["location"])
    shown = await submit(browser, form(result, "/programs/SPRING/generated"))
    api = await consoles.client("read")
    texts = [one["code"] for one in (await api.get("/programs/SPRING/codes")).json()["items"]]
    assert len(texts) == 3
    assert all(text in shown.text and text not in result.text for text in texts)
    async with consoles.owners.acquire() as connection:
        [entry, *_] = await audit_log.page(connection, 1)
    assert (entry.verb, entry.via, entry.program) == ("code.show", "session", "SPRING")


async def test_nothing_is_recorded_for_what_is_no_batch(consoles: Consoles) -> None:
    browser = await made(consoles)
    for batch in ("\0", "x" * 200):
        answer = await browser.post("/programs/SPRING/generated", data={"batch": batch, "made": "3"})
        assert answer.status_code == 422
    async with consoles.owners.acquire() as connection:
        assert "code.show" not in {entry.verb for entry in await audit_log.page(connection, 10)}


async def test_a_form_that_is_sent_twice_generates_once(consoles: Consoles) -> None:
    browser = await made(consoles)
    filled = form(await browser.get(URL), URL)
    answers = await asyncio.gather(*(submit(browser, filled, count="10") for _ in range(3)))
    assert {one.headers.get("location") for one in answers} == {answers[0].headers["location"]}
    assert await count(consoles) == 10


async def test_each_profile_of_a_line_gets_a_code(consoles: Consoles) -> None:
    browser = await made(consoles)
    answer = await submit(browser, form(await browser.get(URL), URL), profiles="anna-1001\r\n\r\n bert-1002 \r\n")
    result = await browser.get(answer.headers["location"])
    assert "2 codes are made" in words(result)
    assert "an••••" in result.text
    assert "anna-1001" not in result.text
    api = await consoles.client("read")
    items = (await api.get("/programs/SPRING/codes")).json()["items"]
    assert [one["profile_id"] for one in items] == ["anna-1001", "bert-1002"]


@pytest.mark.parametrize(
    ("given", "at", "sentence"),
    [
        ({"count": "many"}, "count", "Give a whole number from 1"),
        ({"count": "0"}, "count", "Give a whole number from 1"),
        ({"count": ""}, "count", "Give a whole number from 1"),
        ({"count": "1,001"}, "count", "1,000"),
        ({"count": "3", "profiles": "a\nb"}, "count", "This is not the number of profiles, 2: leave it out"),
        ({"profiles": "x" * 300}, "profiles", "Line 1 must have 1 to 256 characters"),
        ({"profiles": "a\n\nb\x07"}, "profiles", "Line 3 must have 1 to 256 characters"),
        ({"profiles": "a\na"}, "profiles", "twice"),
        ({"count": "3", "field.discount": ""}, "field.discount", "Give a value."),
    ],
)
async def test_a_refusal_stands_at_its_field_and_what_was_typed_stays(
    consoles: Consoles, given: dict[str, str], at: str, sentence: str
) -> None:
    browser = await made(consoles, fields=[{"name": "discount", "required": True}])
    first = form(await browser.get(URL), URL)
    values = {"field.discount": "10", "count": ""} | given
    answer = await submit(browser, first, **values)
    assert answer.status_code == 422
    assert sentence in words(answer), words(answer)
    if at:
        assert f'id="{at}-error"' in answer.text
        assert f'href="#{at}"' in answer.text
    again = form(answer, URL)
    assert again.fields["count"] == values["count"]
    assert again.fields["field.discount"] == values["field.discount"]
    # A refusal is stored under its key, so the corrected form needs another one.
    assert (await submit(browser, again, count="2", profiles="", **{"field.discount": "10"})).status_code == 303
    assert await count(consoles) == 2


async def test_another_groups_program_is_not_there_and_a_reader_may_not(consoles: Consoles) -> None:
    await made(consoles, groups=["theirs"])
    other = await consoles.browser("read", "write", groups=["mine"])
    reader = await consoles.browser("read")
    for path in (URL, "/programs/SPRING/generated?made=1&batch=1-0-1", "/programs/NOTHING/generate"):
        assert (await other.get(path)).status_code == 404, path
    assert (await reader.get(URL)).status_code == 403
    sent = {"key": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10", "count": "1"}
    for client, status in ((other, 404), (reader, 403)):
        assert (await client.post(URL, data=sent)).status_code == status
    assert await count(consoles) == 0


async def test_hostile_texts_are_only_texts(consoles: Consoles) -> None:
    evil = '"><img src=x onerror=alert(1)>\u202e' + "x" * 200
    browser = await made(consoles, title=evil, fields=[{"name": "discount"}])
    page = await browser.get(URL)
    answer = await submit(browser, form(page, URL), count=evil, profiles=evil, **{"field.discount": evil})
    assert answer.status_code == 422
    assert "<img" not in page.text + answer.text


async def test_a_program_of_files_leads_to_the_import(consoles: Consoles) -> None:
    browser = await made(consoles, source={"kind": "import"})
    page = await browser.get(URL)
    assert "come from files only" in words(page)
    assert 'href="/programs/SPRING/import"' in page.text
    answer = await browser.post(URL, data={"key": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10", "count": "1"})
    assert answer.status_code == 422


async def test_codes_of_a_remote_service_are_ordered(consoles: Consoles) -> None:
    browser = await made(consoles, source={"kind": "remote", "url": "https://codes.example.com/orders"})
    page = await browser.get(URL)
    answer = await submit(browser, form(page, URL), count="7")
    result = await browser.get(answer.headers["location"])
    assert "7 codes are ordered" in words(result)
    assert "7 codes are on order now" in words(result)
