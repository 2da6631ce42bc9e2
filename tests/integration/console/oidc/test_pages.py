"""People sign in to the console by a real provider, and get what their groups allow."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from services.console.oidc.settings import Grant
from tests.support.consoles import Consoles, create_console, settings
from tests.support.oidc import OidcServer, oidc_server, sign_in_at

RETURN_URL = "http://console/sign-in/oidc/return"
GRANTED = {
    "boss": Grant(scopes=("admin",)),
    "shop": Grant(scopes=("read", "write"), groups=("shop",)),
    "food": Grant(scopes=("read", "write"), groups=("food",)),
    "look": Grant(scopes=("read",), groups=("else",)),
}


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.console.pages.sign_ins.CACHE_TTL_S", 0.0)


def console_of(consoles: Consoles, oidc: OidcServer, misses_per_minute: int = 60) -> FastAPI:
    client = oidc.register(RETURN_URL)
    return create_console(
        consoles.pool, misses_per_minute, public_url="http://console", oidc_issuer=oidc.issuer,
        oidc_client_id=client.client_id, oidc_client_secret=client.client_secret, oidc_groups=GRANTED,
    )  # fmt: skip


async def return_of(browser: httpx.AsyncClient, login: str, to: str = "/programs") -> str:
    """Go to the provider, sign in there, and return the address that it sends the browser to."""
    sent = await browser.get("/sign-in/oidc", params={"to": to})
    assert sent.status_code == 303, sent.text
    with httpx.Client(trust_env=False) as provider:
        return str(sign_in_at(provider, sent.headers["location"], login))


async def sign_in(browser: httpx.AsyncClient, login: str, to: str = "/programs") -> httpx.Response:
    return await browser.get(await return_of(browser, login, to))


async def test_a_person_gets_what_the_groups_allow_and_comes_back(
    consoles: Consoles, oidc: OidcServer, connection: Connection
) -> None:
    api = await consoles.client("admin")
    for name, groups in (("MINE", ["shop"]), ("ALSO", ["food"]), ("THEIRS", ["other"]), ("OPEN", [])):
        assert (await api.post("/programs", json=settings(name, groups=groups))).status_code == 201
    browser = await consoles.anonymous_browser(console_of(consoles, oidc))
    assert (
        'href="/sign-in/oidc?to=/programs%3Fcursor%3Da"' in (await browser.get("/sign-in?to=/programs?cursor=a")).text
    )
    answer = await sign_in(browser, "anna+food+shop+nothing", "/programs?cursor=a")
    assert (answer.status_code, answer.headers["location"]) == (303, "/programs?cursor=a")
    shown = (await browser.get("/programs")).text
    assert "anna@example.com" in shown
    assert ("MINE" in shown, "ALSO" in shown, "THEIRS" in shown, "OPEN" in shown) == (True, True, False, False)
    row = await connection.fetchrow("SELECT t.*, s.kind AS via FROM token t JOIN session s ON s.token_id = t.id")
    assert (row["kind"], row["via"], row["scopes"], row["groups"]) == (
        "session", "oidc", ["read", "write"], ["shop", "food"],
    )  # fmt: skip
    [entry] = [one for one in await audit_log.page(connection, 10) if one.verb == "session.begin"]
    assert (entry.via, entry.actor) == ("session", "anna@example.com")


async def test_a_person_without_a_mapped_group_is_told_so(
    consoles: Consoles, oidc: OidcServer, connection: Connection
) -> None:
    browser = await consoles.anonymous_browser(console_of(consoles, oidc))
    for login in ("anna", "anna+unknown"):
        answer = await sign_in(browser, login)
        assert answer.status_code == 403
        assert "anna@example.com is in no group that may use this console" in answer.text
        assert "codewell=" not in answer.headers["set-cookie"]
    assert (await browser.get("/programs")).status_code == 303
    assert await connection.fetchval("SELECT count(*) FROM session") == 0


async def test_signing_in_again_gives_no_new_guesses_and_finds_the_drafts(
    consoles: Consoles, oidc: OidcServer, connection: Connection
) -> None:
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings("MINE", groups=["shop"]))).status_code == 201
    console = console_of(consoles, oidc, misses_per_minute=3)
    url, form = "/programs/MINE/code", {"key": str(uuid4()), "code": "NOBODYS"}
    browsers = [await consoles.anonymous_browser(console) for _ in range(3)]
    for browser, login in zip(browsers, ("anna+shop", "anna+shop", "bert+shop"), strict=True):
        assert (await sign_in(browser, login)).status_code == 303
    first, again, other = browsers
    assert [(await first.post(url, data=form)).status_code for _ in range(3)] == [404] * 3
    assert (await again.post(url, data=form)).status_code == 429
    assert (await other.post(url, data=form)).status_code == 404
    draft = {"key": str(uuid4()), "step": "general", "go": "later", "title": "Of Anna"}
    assert (await first.post("/programs/new", data=draft)).status_code == 303
    assert "Of Anna" in (await again.get("/programs")).text
    # Another person of the same name is another person.
    await connection.execute("UPDATE session SET name = 'anna@example.com'")
    assert "Of Anna" not in (await other.get("/programs")).text
    assert await connection.fetchval("SELECT count(*) FROM token WHERE kind = 'session'") == 2


async def test_an_answer_signs_in_the_browser_that_asked_and_no_other(consoles: Consoles, oidc: OidcServer) -> None:
    api = console_of(consoles, oidc)
    victim, attacker = await consoles.anonymous_browser(api), await consoles.anonymous_browser(api)
    await victim.get("/sign-in/oidc")
    stolen = await return_of(attacker, "mallory+boss")
    answer = await victim.get(stolen)
    assert answer.status_code == 403
    assert "not begun in this browser" in answer.text
    stranger = await consoles.anonymous_browser(api)
    assert (await stranger.get(stolen)).status_code == 403
    assert (await attacker.get(stolen)).status_code == 303
    # Once.
    assert (await attacker.get(stolen)).status_code == 403


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_the_way_back_leads_to_no_other_host(consoles: Consoles, oidc: OidcServer, to: str) -> None:
    browser = await consoles.anonymous_browser(console_of(consoles, oidc))
    assert (await sign_in(browser, "anna+boss", to)).headers["location"] == "/programs"


async def test_signing_in_again_asks_for_the_password_again(
    consoles: Consoles, oidc: OidcServer, connection: Connection
) -> None:
    browser = await consoles.anonymous_browser(console_of(consoles, oidc))
    with httpx.Client(trust_env=False) as provider:
        sent = await browser.get("/sign-in/oidc")
        first = str(sign_in_at(provider, sent.headers["location"], "anna+boss"))
        assert (await browser.get(first)).status_code == 303
        again = (await browser.get("/sign-in/oidc?to=/tokens")).headers["location"]
        assert "prompt=login" in urlsplit(again).query
        # The provider knows the person, and asks nevertheless: another one may sit there now.
        second = str(sign_in_at(provider, again, "bert+shop"))
    assert (await browser.get(second)).headers["location"] == "/tokens"
    rows = await connection.fetch("SELECT name, ended_at IS NULL AS is_open FROM session ORDER BY id")
    assert [tuple(row) for row in rows] == [("anna@example.com", False), ("bert@example.com", True)]


async def test_a_provider_that_does_not_ask_again_leads_round_no_circle(
    consoles: Consoles, oidc: OidcServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await consoles.anonymous_browser(console_of(consoles, oidc))
    with httpx.Client(trust_env=False) as provider:
        sent = await browser.get("/sign-in/oidc")
        assert (await browser.get(str(sign_in_at(provider, sent.headers["location"], "anna+boss")))).status_code == 303
        monkeypatch.setattr("services.console.pages.recent_sign_in.AGE_MAX", timedelta(0))
        assert (await browser.get("/tokens")).headers["location"] == "/sign-in?to=/tokens"
        again = (await browser.get("/sign-in/oidc?to=/tokens")).headers["location"]
        ignored = again.replace("&prompt=login&max_age=0", "")
        assert ignored != again
        answer = await browser.get(str(sign_in_at(provider, ignored, "anna+boss")))
    assert answer.status_code == 403
    assert "did not ask you to sign in again" in answer.text
    assert (await browser.get("/programs")).status_code == 200


async def test_a_provider_that_is_away_is_told_on_the_page(consoles: Consoles, servers_directory: str) -> None:
    with oidc_server(Path(servers_directory)) as own:
        api = console_of(consoles, own)
    browser = await consoles.anonymous_browser(api)
    answer = await browser.get("/sign-in/oidc")
    assert answer.status_code == 503
    assert "Sign-in is not available now" in answer.text
    # A token opens the console nevertheless.
    _, secret = await consoles.token("read")
    assert (await browser.post("/sign-in", data={"token": secret})).status_code == 303


async def test_a_console_without_a_provider_has_no_such_page(consoles: Consoles) -> None:
    browser = await consoles.anonymous_browser()
    assert (await browser.get("/sign-in/oidc")).status_code == 404
    assert (await browser.get("/sign-in/oidc/return")).status_code == 404
    assert "/sign-in/oidc" not in (await browser.get("/sign-in")).text


async def test_what_a_person_signs_in_with_opens_no_door_of_the_api(
    consoles: Consoles, oidc: OidcServer, connection: Connection
) -> None:
    api = console_of(consoles, oidc)
    browser = await consoles.anonymous_browser(api)
    await sign_in(browser, "anna+boss")
    secret = browser.cookies["codewell"]
    assert (await browser.get("/api/v1/programs")).status_code == 401
    bearer = await consoles.with_secret(secret, api)
    assert (await bearer.get("/programs")).status_code == 401
    # Not even the hash of the session's token has a secret that anybody knows.
    assert (
        await connection.fetchval("SELECT count(*) FROM token WHERE kind = 'session' AND hash = sha256($1)", b"") == 0
    )
