"""The links of the frame, by what the session may open."""

import re
from typing import Any

import httpx
import pytest

from tests.support.consoles import Consoles, settings
from tests.support.pages import form, submit, words

READ = ["Loyalty", "Profiles", "Try it", "Alerts", "Webhooks", "Audit log", "Tokens"]


def links(page: httpx.Response) -> dict[str, str]:
    """The addresses of the sidebar by their words."""
    found = re.search(r'<ul class="side-list">(.*?)</ul>', page.text, re.DOTALL)
    assert found is not None
    return {words: url for url, words in re.findall(r'<a href="([^"]+)".*?</svg>([^<]+)</a>', found[1])}


@pytest.mark.parametrize(
    ("scopes", "groups", "shown"),
    [
        (["read"], [], READ),
        (["read", "write"], ["ours"], READ),
        (["redeem"], [], ["Look up a code", "Tokens"]),
        (["write"], [], ["What you may do", "Tokens"]),
        (["profiles"], ["ours"], ["What you may do", "Tokens"]),
        (["admin"], [], ["Loyalty", "Profiles", "Try it", "Operations", "Alerts", "Webhooks", "Audit log", "Tokens"]),
        (
            ["admin"],
            ["ours"],
            ["Loyalty", "Profiles", "Try it", "Operations", "Alerts", "Webhooks", "Audit log", "Tokens"],
        ),
    ],
)
async def test_every_link_leads_to_a_page_that_the_session_may_open(
    consoles: Consoles, scopes: list[Any], groups: list[str], shown: list[str]
) -> None:
    browser = await consoles.browser(*scopes, groups=groups)
    found = links(await browser.get("/tokens"))
    assert list(found) == shown
    for url in found.values():
        page = await browser.get(url)
        assert page.status_code == 200, url
        for further in re.findall(r'<a class="button[^"]*" href="([^"]+)"', page.text):
            # These consoles have no Kafka, which holds the dead letters.
            assert (await browser.get(further)).status_code == (503 if "dead-letters" in further else 200), further


async def test_a_person_who_may_only_redeem_begins_at_the_look_up(consoles: Consoles) -> None:
    browser = await consoles.browser("redeem")
    assert (await browser.get("/programs")).headers["location"] == "/jump"


async def test_a_person_who_may_only_write_is_told_so_and_creates_a_program(consoles: Consoles) -> None:
    browser = await consoles.browser("write")
    page = await browser.get((await browser.get("/")).headers["location"])
    assert page.status_code == 200
    assert "need the scope read" in words(page)
    answer = await browser.get("/programs/new")
    for fields in (
        {"go": "next", "name": "SPRING", "valid_to": "2098-12-31"},
        {"go": "next", "template": "{safe 12}"},
        {"go": "create", "codes_max": "5"},
    ):
        answer = await submit(browser, form(answer, "/programs/new"), **fields)
        last = answer.headers["location"]
        answer = await browser.get(last)
    assert last == "/programs?did=created"
    assert "The program is made." in words(answer)
    assert (await browser.get("/programs/SPRING")).status_code == 403


@pytest.mark.parametrize(
    ("left_at", "page"),
    [
        ("/programs/SPRING/codes/selected", "/programs/SPRING/codes"),
        ("/programs/SPRING/change-all/void", "/programs/SPRING/change-all"),
        ("/programs/SPRING/code/step/activate", "/programs/SPRING/code"),
        ("/programs/SPRING/code/0:1:0/show", "/programs/SPRING/code/0:1:0"),
        ("/programs/SPRING/remove", "/programs/SPRING"),
        ("/profiles/show", "/profiles"),
        ("/sessions/1/end", "/"),
    ],
)
async def test_a_page_that_answered_a_form_can_be_asked_for_again(consoles: Consoles, left_at: str, page: str) -> None:
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings())).status_code == 201
    assert (await api.post("/programs/SPRING/codes:generate", json={"count": 1})).status_code == 201
    browser = await consoles.browser("admin")
    # The theme is chosen on it.
    themed = await browser.post("/theme", data={"theme": "dark", "back": left_at})
    again = await browser.get(themed.headers["location"])
    assert (again.status_code, again.headers["location"]) == (303, page)
    assert page == "/" or (await browser.get(page)).status_code == 200
