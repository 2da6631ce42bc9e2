"""Links, sign-in again, and forms that outlive their session."""

import asyncio
import re
from html import escape, unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import APIRouter, Depends

from codewell.access import sign_in_links
from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from services.console.pages.recent_sign_in import RECENT_SIGN_IN
from services.console.pages.visit import CurrentVisit, PostedForm, enter, require_session
from tests.support.consoles import Consoles

SENT: list[list[tuple[str, str]]] = []


pytestmark = pytest.mark.usefixtures("no_token_cache")


@pytest.fixture
async def pages(consoles: Consoles) -> Consoles:
    """Consoles with one more screen, which takes a form; `/taking/recent` needs a recent sign-in."""
    router = APIRouter()

    async def take(visit: CurrentVisit, form: PostedForm) -> object:
        SENT.append(form.items())
        return visit.go("/programs")

    router.post("/taking")(take)
    router.post("/taking/recent", dependencies=[RECENT_SIGN_IN])(take)
    router.get("/taking/recent", dependencies=[RECENT_SIGN_IN])(lambda: "shown")
    consoles.api.state.pages.include_router(router, dependencies=[Depends(enter), Depends(require_session)])
    SENT.clear()
    return consoles


async def link(connection: Connection, consoles: Consoles, *, age_s: int = 0) -> tuple[str, str]:
    name, _ = await consoles.token("admin")
    secret = await sign_in_links.make(connection, name)
    await connection.execute("UPDATE sign_in_link SET created_at = created_at - make_interval(secs => $1)", age_s)
    return name, secret


async def test_a_link_signs_in_once(consoles: Consoles, connection: Connection) -> None:
    name, secret = await link(connection, consoles)
    first, second = await consoles.anonymous_browser(), await consoles.anonymous_browser()
    for _ in range(3):
        # Whoever only opens it, as mail programs do, uses nothing up.
        shown = await first.get("/sign-in/link", params={"secret": secret})
        assert (shown.status_code, "set-cookie" in shown.headers) == (200, False)
    assert secret in shown.text
    assert (await first.post("/sign-in/link", data={"secret": secret})).headers["location"] == "/programs"
    assert (await first.get("/programs")).status_code == 200
    assert name in (await first.get("/programs")).text
    again = await second.post("/sign-in/link", data={"secret": secret})
    assert (again.status_code, "set-cookie" in again.headers) == (422, False)
    assert secret not in again.text
    [entry] = await audit_log.page(connection, 10)
    assert (entry.via, entry.actor, entry.verb, entry.details) == ("session", name, "session.begin", {"kind": "link"})


async def test_a_link_works_for_a_minute(consoles: Consoles, connection: Connection) -> None:
    browser = await consoles.anonymous_browser()
    _, secret = await link(connection, consoles, age_s=61)
    assert (await browser.post("/sign-in/link", data={"secret": secret})).status_code == 422
    _, secret = await link(connection, consoles, age_s=55)
    assert (await browser.post("/sign-in/link", data={"secret": secret})).status_code == 303


async def test_a_link_of_a_revoked_token_signs_nobody_in(consoles: Consoles, connection: Connection) -> None:
    browser = await consoles.anonymous_browser()
    _, secret = await link(connection, consoles)
    await connection.execute("UPDATE token SET revoked_at = now()")
    assert (await browser.post("/sign-in/link", data={"secret": secret})).status_code == 422


async def test_another_site_can_not_use_a_link(consoles: Consoles, connection: Connection) -> None:
    browser = await consoles.anonymous_browser()
    _, secret = await link(connection, consoles)
    crossed = await browser.post("/sign-in/link", data={"secret": secret}, headers={"Sec-Fetch-Site": "cross-site"})
    assert crossed.status_code == 403
    assert (await browser.post("/sign-in/link", data={"secret": secret})).status_code == 303


def cookie_of(answer: httpx.Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]


async def test_the_cookie_is_a_new_one_at_each_sign_in(consoles: Consoles, connection: Connection) -> None:
    _name, secret = await consoles.token("read")
    browser = await consoles.anonymous_browser()
    browser.cookies.set("codewell", "put-there-by-another")
    answer = await browser.post("/sign-in", data={"token": secret})
    first = cookie_of(answer)
    await browser.post("/sign-in", data={"token": secret})
    assert await connection.fetchval("SELECT count(*) FROM session WHERE ended_at IS NULL") == 1
    old = await consoles.anonymous_browser()
    for cookie in ("put-there-by-another", first):
        old.cookies.set("codewell", cookie)
        assert (await old.get("/programs")).status_code == 303


async def age(connection: Connection, column: str, minutes: int) -> None:
    await connection.execute(f"UPDATE session SET {column} = {column} - make_interval(mins => $1)", minutes)


async def test_a_page_that_needs_a_recent_sign_in(pages: Consoles, connection: Connection) -> None:
    browser, secret = await signed_in(pages)
    assert (await browser.get("/taking/recent")).status_code == 200
    await age(connection, "authenticated_at", 16)
    sent_away = await browser.get("/taking/recent?a=1")
    assert sent_away.headers["location"] == "/sign-in?to=/taking/recent%3Fa%3D1"
    shown = (await browser.get(sent_away.headers["location"])).text
    assert "Sign in again" in shown
    # All else still opens.
    assert (await browser.get("/programs")).status_code == 200
    answer = await browser.post("/sign-in", data={"token": secret, "to": "/taking/recent?a=1"})
    assert answer.headers["location"] == "/taking/recent?a=1"
    assert (await browser.get("/taking/recent?a=1")).status_code == 200


FORM = {"key": "c0ffee00-0000-4000-8000-000000000000", "title": " <b>\"Ünï\" & 'more'</b> ", "lines": "one\r\ntwo"}


async def signed_in(consoles: Consoles) -> tuple[httpx.AsyncClient, str]:
    _, secret = await consoles.token("read")
    browser = await consoles.anonymous_browser()
    await browser.post("/sign-in", data={"token": secret})
    return browser, secret


def fields_of(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


@pytest.mark.parametrize(
    ("path", "column", "minutes"),
    [
        ("/taking", "last_seen_at", 481),
        ("/taking?state=attached&profile_id=a%26b", "last_seen_at", 481),
        ("/taking/recent", "authenticated_at", 16),
    ],
)
async def test_a_form_is_not_lost_by_a_sign_in(
    pages: Consoles, connection: Connection, path: str, column: str, minutes: int
) -> None:
    browser, secret = await signed_in(pages)
    await age(connection, column, minutes)
    sent_away = await browser.post(path, data=FORM)
    assert sent_away.status_code == 303
    place = urlsplit(sent_away.headers["location"])
    assert (place.path, parse_qs(place.query)) == ("/sign-in", {"to": ["/sign-in/continue"]})
    assert SENT == []
    sealed = await connection.fetchval("SELECT sealed FROM kept_form")
    assert b"more" not in sealed
    back = await browser.post("/sign-in", data={"token": secret, "to": "/sign-in/continue"})
    page = (await browser.get(back.headers["location"])).text
    assert f'action="{escape(path)}"' in page
    fields = fields_of(page.partition("<main")[2])
    assert fields == FORM | {"lines": "one\ntwo"}
    assert (await browser.post(path, data=fields)).status_code == 303
    assert dict(SENT[0])["key"] == FORM["key"]


async def test_another_person_at_the_browser_does_not_get_the_form(pages: Consoles, connection: Connection) -> None:
    browser, first = await signed_in(pages)
    await age(connection, "last_seen_at", 481)
    await browser.post("/taking", data=FORM)
    _, other = await pages.token("admin")
    await browser.post("/sign-in", data={"token": other, "to": "/sign-in/continue"})
    page = await browser.get("/sign-in/continue")
    assert "more" not in page.text
    assert await connection.fetchval("SELECT count(*) FROM kept_form") == 0
    # Nor does the first one any more, as the other may have changed what is in the browser.
    await browser.post("/sign-in", data={"token": first, "to": "/sign-in/continue"})
    assert "more" not in (await browser.get("/sign-in/continue")).text


async def test_a_form_waits_for_half_an_hour(pages: Consoles, connection: Connection) -> None:
    browser, secret = await signed_in(pages)
    await age(connection, "last_seen_at", 481)
    await browser.post("/taking", data=FORM)
    await connection.execute("UPDATE kept_form SET created_at = now() - interval '31 minutes'")
    await browser.post("/sign-in", data={"token": secret})
    assert "more" not in (await browser.get("/sign-in/continue")).text


async def test_nothing_is_kept_of_strangers_nor_of_scripts_and_other_sites(
    pages: Consoles, connection: Connection
) -> None:
    stranger = await pages.anonymous_browser()
    await stranger.post("/taking", data=FORM)
    stranger.cookies.set("codewell", "of-nobody")
    sent_away = await stranger.post("/taking", data=FORM)
    assert sent_away.headers["location"] == "/sign-in?to=/programs"
    browser, _ = await signed_in(pages)
    await age(connection, "last_seen_at", 481)
    await browser.post("/taking", data=FORM, headers={"Sec-Fetch-Site": "cross-site"})
    await browser.post("/taking", data=FORM, headers={"Sec-Fetch-Mode": "cors"})
    await browser.post("/taking", files={"file": ("a.csv", b"x")})
    await browser.post("/taking", data={"title": "x" * 300_000})
    assert await connection.fetchval("SELECT count(*) FROM kept_form") == 0


async def test_a_script_is_told_to_open_the_whole_page(pages: Consoles) -> None:
    browser = await pages.anonymous_browser()
    asked = {"HX-Request": "true", "HX-Current-URL": "http://console/programs?cursor=a"}
    answer = await browser.get("/programs", headers=asked)
    assert answer.headers.get("hx-redirect") == "/sign-in?to=/programs%3Fcursor%3Da"
    answer = await browser.get("/programs", headers=asked | {"HX-Current-URL": "http://["})
    assert answer.headers.get("hx-redirect") == "/sign-in?to=/programs"


async def test_nothing_is_kept_of_a_form_for_no_page(pages: Consoles, connection: Connection) -> None:
    browser, _ = await signed_in(pages)
    await age(connection, "last_seen_at", 481)
    answer = await browser.post("/programs/%00/activate", data=FORM)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?to=/programs")
    assert await connection.fetchval("SELECT count(*) FROM kept_form") == 0


async def test_a_link_that_two_use_at_once_signs_in_one(pages: Consoles) -> None:
    name, _ = await pages.token("read")
    async with pages.owners.acquire() as owner:
        secret = await sign_in_links.make(owner, name)
    browsers = [await pages.anonymous_browser() for _ in range(4)]
    answers = await asyncio.gather(*(one.post("/sign-in/link", data={"secret": secret}) for one in browsers))
    assert sorted(answer.status_code for answer in answers) == [303, 422, 422, 422]
