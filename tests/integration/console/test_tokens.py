"""Tokens are made, listed and revoked over HTTP."""

from typing import Any

import httpx
import pytest

from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, is_problem

SHOP = {"name": "shop", "scopes": ["redeem"], "groups": ["ours"], "expires_in": "P90D"}


async def made(client: httpx.AsyncClient, **changed: Any) -> dict[str, Any]:
    answer = await client.post("/tokens", json={**SHOP, **changed})
    assert answer.status_code == 201, answer.text
    token: dict[str, Any] = answer.json()
    return token


async def test_made_used_listed_and_revoked(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    token = await made(admin, scopes=["read"])
    shop = await consoles.with_secret(token.pop("secret"))
    assert (await shop.get("/programs")).status_code == 200
    listed = (await admin.get("/tokens")).json()["items"]
    assert [one["name"] for one in listed] == ["shop", "t1"]
    assert listed[0].pop("last_used") is not None
    assert listed[0] == {name: value for name, value in token.items() if name != "last_used"}
    assert "secret" not in str(listed)
    shown = await admin.get(f"/tokens/{token['id']}")
    assert shown.json() == {**token, "last_used": shown.json()["last_used"]}
    revoked = await admin.delete(f"/tokens/{token['id']}")
    assert (revoked.status_code, revoked.json()["name"]) == (200, "shop")
    # At once in the console that revoked it.
    is_problem(await shop.get("/programs"), 401)
    is_problem(await admin.delete(f"/tokens/{token['id']}"), 404, reason="token_unknown")
    await made(admin)


async def test_a_repeated_request_gets_the_token_without_its_secret(consoles: Consoles, connection: Connection) -> None:
    admin = await consoles.client("admin")
    key = {"Idempotency-Key": "k"}
    first, again = [await admin.post("/tokens", json=SHOP, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    secret = first.json()["secret"]
    assert again.json() == {**first.json(), "secret": None}
    assert len((await admin.get("/tokens")).json()["items"]) == 2
    stored = await connection.fetch("SELECT body FROM idempotency")
    assert len(stored) == 1
    assert secret.encode() not in stored[0]["body"]


async def test_a_caller_with_groups_sees_and_revokes_the_tokens_of_these_alone(consoles: Consoles) -> None:
    admin, ours = await consoles.client("admin"), await consoles.client("admin", groups=["ours"])
    theirs = await made(admin, name="theirs", groups=["theirs"])
    everywhere = await made(admin, name="everywhere", groups=[])
    await made(ours)
    assert [one["name"] for one in (await ours.get("/tokens")).json()["items"]] == ["shop", "t2"]
    missing = await ours.delete(f"/tokens/{2**40}")
    for hidden in (theirs["id"], everywhere["id"]):
        is_problem(await ours.get(f"/tokens/{hidden}"), 404, reason="token_unknown")
        answer = await ours.delete(f"/tokens/{hidden}")
        is_problem(answer, 404, reason="token_unknown")
        assert answer.json()["detail"] == missing.json()["detail"].replace(str(2**40), str(hidden))
    more: dict[str, Any]
    for more in ({"groups": ["theirs"]}, {"groups": []}, {"scopes": ["profiles"]}):
        answer = await ours.post("/tokens", json={**SHOP, "name": "more", **more})
        is_problem(answer, 403, reason="grant_refused")


async def test_pages_by_name(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    for number in range(4):
        await made(admin, name=f"shop{number}")
    found: list[str] = []
    cursor = None
    while not found or cursor:
        page = (await admin.get("/tokens", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        found += [one["name"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["shop0", "shop1", "shop2", "shop3", "t1"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "7up"}, "body.name: must be 1 to 64 letters"),
        ({"scopes": []}, "body.scopes: must have at least 1"),
        ({"scopes": ["all"]}, "body.scopes.0: must be one of 'read'"),
        ({"groups": ["a b"]}, "body.groups.0: must be a short name"),
        ({"expires_in": "PT0S"}, "body.expires_in: must be more than"),
        ({"expires_in": "P40000D"}, "body.expires_in: must be at most"),
    ],
)
async def test_what_can_not_be(consoles: Consoles, changed: dict[str, Any], words: str) -> None:
    admin = await consoles.client("admin")
    is_problem(await admin.post("/tokens", json={**SHOP, **changed}), 422, words)


async def test_a_name_is_taken_until_its_token_is_revoked(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    await made(admin)
    is_problem(await admin.post("/tokens", json=SHOP), 409, "shop already", reason="token_taken")
