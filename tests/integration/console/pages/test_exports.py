"""The screen that exports codes to a file."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from codewell.profiles import profiles
from tests.support.consoles import Consoles, settings
from tests.support.pages import form, submit, words

URL = "/programs/SPRING/export"
FILE = f"{URL}/codes.csv"


async def made(consoles: Consoles, count: int = 5, **changed: Any) -> httpx.AsyncClient:
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings(**changed))).status_code == 201
    if count:
        assert (await api.post("/programs/SPRING/codes:generate", json={"count": count})).status_code == 201
    await api.post("/programs/SPRING/codes:attach", json={"profile_id": "anna-1001"})
    async with consoles.owners.acquire() as connection:
        await profiles.put(connection, {"anna-1001": {"email": "=anna@example.com"}})
    return await consoles.browser("read", "write")


def table(answer: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"), newline="")))


async def test_the_file_has_what_was_chosen(consoles: Consoles) -> None:
    browser = await made(consoles)
    page = await browser.get(URL)
    said = words(page)
    assert re.search(r"All codes 5 rows, some 1 kB", said), said
    assert "at most 1 row," in said
    chosen = form(page, FILE)
    everything = await submit(browser, chosen)
    assert everything.headers["content-type"].startswith("text/csv")
    assert "attachment" in everything.headers["content-disposition"]
    assert len(table(everything)) == 5
    attached = await submit(browser, chosen, state="attached", form="raw", fields=["email"])
    assert [(one["profile_id"], one["profile.email"]) for one in table(attached)] == [
        ("anna-1001", "=anna@example.com")
    ]
    safe = await submit(browser, chosen, state="attached", fields=["email"])
    assert table(safe)[0]["profile.email"] == "'=anna@example.com"


async def test_fields_of_profiles_need_a_recent_sign_in(consoles: Consoles) -> None:
    browser = await made(consoles)
    async with consoles.owners.acquire() as connection:
        await connection.execute("UPDATE session SET authenticated_at = now() - $1::interval", timedelta(minutes=16))
    again = await consoles.browser("read", "write")
    assert (await submit(again, form(await again.get(URL), FILE), fields=["email"])).status_code == 200
    answer = await browser.get(FILE, params={"fields": "email"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?to=")
    assert (await browser.get(FILE)).status_code == 200


@pytest.mark.parametrize("query", ["state=odd", "fields=nothing", "fields=a%20b"])
async def test_what_does_not_fit_is_an_error_page(consoles: Consoles, query: str) -> None:
    browser = await made(consoles)
    answer = await browser.get(f"{FILE}?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert "content-disposition" not in answer.headers


async def test_another_groups_program_is_not_there_and_a_reader_gets_no_texts(consoles: Consoles) -> None:
    await made(consoles, groups=["theirs"])
    other = await consoles.browser("read", "write", groups=["mine"])
    reader = await consoles.browser("read")
    assert (await other.get(URL)).status_code == 404
    assert (await other.get(FILE)).status_code == 404
    page = await reader.get(URL)
    assert "needs the scope write or redeem" in words(page)
    assert (await reader.get(FILE)).status_code == 403


async def test_fields_of_profiles_are_not_offered_to_groups(consoles: Consoles) -> None:
    await made(consoles, groups=["mine"])
    browser = await consoles.browser("read", "write", groups=["mine"])
    assert "Fields of profiles" not in words(await browser.get(URL))
    assert (await browser.get(FILE, params={"fields": "email"})).status_code == 403


async def test_the_export_is_recorded(consoles: Consoles) -> None:
    from codewell.audit import audit_log

    browser = await made(consoles)
    await browser.get(FILE)
    async with consoles.owners.acquire() as connection:
        [entry, *_] = await audit_log.page(connection, 1)
    assert (entry.verb, entry.via) == ("code.export", "session")
