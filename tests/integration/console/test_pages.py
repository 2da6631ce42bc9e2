"""The frame of every page: sign-in, refusal of other sites' forms, headers, and errors as pages."""

import re

import httpx
import pytest

from codewell.access import tokens
from codewell.audit import audit_log
from tests.support.consoles import Consoles, settings

pytestmark = pytest.mark.usefixtures("no_token_cache")


async def test_a_pasted_token_signs_in_and_leads_where_the_person_was_going(consoles: Consoles) -> None:
    _, secret = await consoles.token("read")
    client = await consoles.anonymous_browser()
    answer = await client.get("/programs?cursor=abc")
    assert answer.status_code == 303
    to = httpx.URL(answer.headers["location"])
    assert to.path == "/sign-in"
    answer = await client.post("/sign-in", data={"token": f" {secret} ", "to": to.params["to"]})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/programs?cursor=abc"
    cookie = answer.headers["set-cookie"]
    assert re.match(r"codewell=[\w-]{43}; ", cookie)
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert (await client.get("/programs")).status_code == 200


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\nb"])
async def test_a_sign_in_leads_to_no_other_host(consoles: Consoles, to: str) -> None:
    _, secret = await consoles.token("read")
    client = await consoles.anonymous_browser()
    answer = await client.post("/sign-in", data={"token": secret, "to": to})
    assert answer.headers["location"] == "/programs"


async def test_an_unknown_token_is_refused_on_the_same_page(consoles: Consoles) -> None:
    client = await consoles.anonymous_browser()
    answer = await client.post("/sign-in", data={"token": "cw_nothing"})
    assert answer.status_code == 422
    assert "unknown, revoked or expired" in answer.text
    assert "cw_nothing" not in answer.text
    assert "set-cookie" not in answer.headers


async def test_a_revoked_token_ends_its_sessions(consoles: Consoles) -> None:
    name, secret = await consoles.token("read")
    client = await consoles.anonymous_browser()
    await client.post("/sign-in", data={"token": secret})
    assert (await client.get("/programs")).status_code == 200
    async with consoles.owners.acquire() as connection:
        await tokens.revoke(connection, name)
    assert (await client.get("/programs")).status_code == 303


async def test_signing_out_ends_the_session_for_good(consoles: Consoles) -> None:
    client = await consoles.browser("read")
    cookie = client.cookies["codewell"]
    assert (await client.post("/sign-out")).headers["location"] == "/sign-in"
    client.cookies.set("codewell", cookie)
    assert (await client.get("/programs")).status_code == 303
    async with consoles.owners.acquire() as connection:
        [ended, begun] = await audit_log.page(connection, 10)
    assert (ended.verb, ended.via, ended.actor) == ("session.end", "session", begun.actor)
    assert ended.details == {"session": begun.actor}


@pytest.mark.parametrize("column", ["last_seen_at", "ends_at"])
async def test_a_session_ends_when_idle_and_at_its_end(consoles: Consoles, column: str) -> None:
    client = await consoles.browser("read")
    async with consoles.owners.acquire() as connection:
        await connection.execute(f"UPDATE session SET {column} = now() - interval '8 hours 1 second'")
    assert (await client.get("/programs")).status_code == 303


async def test_the_cookie_opens_no_door_of_the_api(consoles: Consoles) -> None:
    client = await consoles.browser("admin")
    answer = await client.get("/api/v1/programs")
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://console"}, 403),
        ({"Origin": "http://console"}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({}, 403),
    ],
)
async def test_forms_of_other_sites_are_refused(consoles: Consoles, headers: dict[str, str], status: int) -> None:
    client = await consoles.browser("read")
    del client.headers["Sec-Fetch-Site"]
    answer = await client.post("/sign-out", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert (await client.get("/programs")).status_code == 200


@pytest.mark.parametrize("path", ["/programs", "/sign-in", "/nowhere"])
async def test_every_page_has_a_strict_policy_and_is_not_stored(consoles: Consoles, path: str) -> None:
    client = await consoles.browser("read")
    first, second = await client.get(path), await client.get(path)
    policy = first.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' 'nonce-")
    assert "unsafe" not in policy
    assert policy != second.headers["content-security-policy"]
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["cross-origin-opener-policy"] == "same-origin"


async def test_the_page_about_an_exception_has_the_policy_too(consoles: Consoles) -> None:
    async def fail() -> None:
        raise RuntimeError

    consoles.api.state.pages.get("/broken")(fail)
    client = await consoles.browser("read")
    transport = httpx.ASGITransport(consoles.api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://console", cookies=client.cookies) as lenient:
        answer = await lenient.get("/broken")
    assert answer.status_code == 500
    assert "The console failed at this page" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self' 'nonce-")
    assert answer.headers["cache-control"] == "no-store"


async def test_static_files_are_kept_for_ever_and_compressed(consoles: Consoles) -> None:
    client = await consoles.anonymous_browser()
    [url] = set(re.findall(r'href="(/static/\w+/console\.css)"', (await client.get("/sign-in")).text))
    answer = await client.get(url)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert (await client.get("/static/0123456789abcdef/../../app.py")).status_code == 404


async def test_a_page_that_is_not_there_is_a_page_and_a_path_of_the_api_is_a_problem(consoles: Consoles) -> None:
    client = await consoles.browser("read")
    answer = await client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    reader = await consoles.client("read")
    problem = await reader.get("/nowhere")
    assert (problem.status_code, problem.json()["reason"]) == (404, "path_unknown")


async def test_pages_show_the_programs_of_the_groups(consoles: Consoles) -> None:
    api = await consoles.client("admin")
    for name, group in (("MINE", "mine"), ("THEIRS", "theirs")):
        assert (await api.post("/programs", json=settings(name, groups=[group]))).status_code == 201
    client = await consoles.browser("read", groups=["mine"])
    shown = (await client.get("/programs")).text
    assert "MINE" in shown
    assert "THEIRS" not in shown


async def test_an_audit_entry_says_that_a_session_acted(consoles: Consoles) -> None:
    async with consoles.owners.acquire() as connection:
        await audit_log.record(connection, audit_log.Actor("session", "anna"), "program.create", "A")
        [entry] = await audit_log.page(connection, 1)
    assert (entry.via, entry.actor) == ("session", "anna")


async def test_pages_are_compressed_but_those_with_a_secret(consoles: Consoles) -> None:
    api = await consoles.client("admin")
    remote = {"kind": "remote", "url": "https://codes.example/orders", "request_max": 10}
    assert (await api.post("/programs", json=settings(source=remote))).status_code == 201
    browser = await consoles.browser("admin")
    page = await browser.get("/programs/SPRING")
    assert (page.headers["content-encoding"], page.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert int(page.headers["content-length"]) * 3 < len(page.content)
    plain = await browser.get("/programs/SPRING", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in (await browser.get("/programs/SPRING/secrets")).headers
    token = {"key": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10", "name": "shop", "scopes": "read", "expires_in": "P30D"}
    made = await browser.post("/tokens/new", data=token)
    assert "cw_" in made.text
    assert "content-encoding" not in made.headers
