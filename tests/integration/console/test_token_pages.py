"""The screen of tokens and sessions."""

from html import unescape
from uuid import uuid4

import httpx
import pytest

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles
from tests.support.pages import secret_on

pytestmark = pytest.mark.usefixtures("no_token_cache")


def wanted(**changed: object) -> dict[str, object]:
    good = {
        "key": str(uuid4()),
        "name": "shop",
        "scopes": ["read", "redeem"],
        "groups": "ours, b",
        "expires_in": "P90D",
    }
    return {**good, **changed}


async def test_a_token_is_made_shown_once_and_revoked(consoles: Consoles, connection: Connection) -> None:
    browser = await consoles.browser("admin")
    assert "Create token" in (await browser.get("/tokens")).text
    assert "P90D" in (await browser.get("/tokens/new")).text
    form = wanted()
    made = await browser.post("/tokens/new", data=form)
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    shop = await consoles.with_secret(secret_on(made))
    assert (await shop.get("/programs")).status_code == 200
    again = await browser.post("/tokens/new", data=form)
    assert "shown already" in again.text
    assert secret_on(made) not in again.text
    row = await connection.fetchrow("SELECT * FROM token WHERE name = 'shop'")
    assert (row["scopes"], row["groups"], (row["expires_at"] - row["created_at"]).days) == (
        ["read", "redeem"], ["ours", "b"], 90,
    )  # fmt: skip
    page = f"/tokens/{row['id']}"
    assert "shop" in (await browser.get("/tokens")).text
    refused = await browser.post(f"{page}/revoke", data={"key": str(uuid4()), "typed": "shpo"})
    assert (refused.status_code, "Type the name" in refused.text) == (422, True)
    assert (await shop.get("/programs")).status_code == 200
    done = await browser.post(f"{page}/revoke", data={"key": str(uuid4()), "typed": "shop"})
    assert "is revoked" in (await browser.get(done.headers["location"])).text
    assert (await shop.get("/programs")).status_code == 401
    assert (await browser.get(page)).status_code == 404
    verbs = [(one.via, one.verb) for one in await audit_log.page(connection, 10)]
    assert verbs[:2] == [("session", "token.revoke"), ("session", "token.create")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "7up"}, ["beginning with a letter"]),
        ({"name": ""}, ["1 to 64 letters"]),
        ({"scopes": []}, ["at least 1"]),
        ({"groups": "a b"}, ["short name"]),
        ({"name": "t1"}, ["t1 already"]),
    ],
)
async def test_what_is_wrong_stands_at_its_field_and_nothing_typed_is_lost(
    consoles: Consoles, changed: dict[str, object], words: list[str]
) -> None:
    browser = await consoles.browser("admin")
    form = wanted(**changed)
    answer = await browser.post("/tokens/new", data=form)
    assert answer.status_code in {409, 422}
    text = unescape(answer.text)
    assert all(word in text for word in words), text
    assert f'value="{form["name"]}"' in text
    assert f'value="{form["groups"]}"' in text
    assert 'role="alert"' in text


async def test_no_more_than_the_person_has(consoles: Consoles) -> None:
    browser = await consoles.browser("admin", groups=["ours"])
    answer = await browser.post("/tokens/new", data=wanted(groups="theirs"))
    assert (answer.status_code, "set groups to some of ours" in answer.text) == (403, True)
    assert (await browser.post("/tokens/new", data=wanted(groups="ours"))).status_code == 200


async def test_without_the_scope_admin_there_are_ones_own_sessions_alone(consoles: Consoles) -> None:
    await consoles.browser("admin")
    browser = await consoles.browser("read", "write")
    page = await browser.get("/tokens")
    assert page.status_code == 200
    assert "Create token" not in page.text
    assert ("t2" in page.text, "t1" in page.text) == (True, False)
    for path in ("/tokens/new", "/tokens/1"):
        assert (await browser.get(path)).status_code == 403
    assert (await browser.post("/tokens/new", data=wanted())).status_code == 403


async def test_tokens_need_a_recent_sign_in(consoles: Consoles, connection: Connection) -> None:
    browser = await consoles.browser("admin")
    await connection.execute("UPDATE session SET authenticated_at = now() - interval '16 minutes'")
    for path in ("/tokens", "/tokens/new", "/tokens/1"):
        assert (await browser.get(path)).headers["location"] == f"/sign-in?to={path}"
    assert (await browser.post("/tokens/new", data=wanted())).headers["location"] == "/sign-in?to=/sign-in/continue"
    assert await connection.fetchval("SELECT count(*) FROM token") == 1


async def is_signed_in(browser: httpx.AsyncClient) -> bool:
    return (await browser.get("/programs")).status_code == 200


async def test_sessions_are_ended_one_by_one_and_all_others_at_once(consoles: Consoles, connection: Connection) -> None:
    _, secret = await consoles.token("read")
    own = [await consoles.anonymous_browser() for _ in range(3)]
    for browser in own:
        await browser.post("/sign-in", data={"token": secret})
    stranger, boss = await consoles.browser("read", "write"), await consoles.browser("admin")
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM session ORDER BY id")]
    # Another person's session is as if it were not there.
    await stranger.post(f"/sessions/{ids[0]}/end", data={"key": str(uuid4())})
    assert await is_signed_in(own[0])
    assert (await own[0].post(f"/sessions/{ids[1]}/end", data={"key": str(uuid4())})).status_code == 303
    assert [await is_signed_in(one) for one in own] == [True, False, True]
    assert (await own[0].post("/sessions/end-others", data={"key": str(uuid4())})).status_code == 303
    assert [await is_signed_in(one) for one in own] == [True, False, False]
    assert await is_signed_in(stranger)
    await boss.post(f"/sessions/{ids[3]}/end", data={"key": str(uuid4())})
    assert not await is_signed_in(stranger)
    verbs = [one.verb for one in await audit_log.page(connection, 20) if one.verb.startswith("session.end")]
    assert verbs == ["session.end", "session.end_others", "session.end"]


async def test_a_session_beyond_all_numbers_is_no_page(consoles: Consoles) -> None:
    browser = await consoles.browser("read")
    answer = await browser.post(f"/sessions/{10**20}/end", data={"key": str(uuid4())})
    assert answer.status_code == 404
