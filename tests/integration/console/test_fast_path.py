"""What is plain is served before the framework, and nobody can tell from the answer."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from services.console.http import body_limit, fast_path
from services.console.http.problems import HttpProblem
from tests.support.consoles import Consoles, is_problem, settings

CODES = "/programs/SPRING/codes"
JSON = {"content-type": "application/json"}


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(pool_max=10))
    await client.post(f"{CODES}:generate", json={"count": 10})
    return client


async def post(client: httpx.AsyncClient, step: str, body: Any, encoding: str, **headers: str) -> httpx.Response:
    content = json.dumps(body).encode(encoding)
    return await client.post(f"{CODES}:{step}", content=content, headers=JSON | headers)


@pytest.fixture
def framework_is_broken(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(*_: object) -> None:
        raise AssertionError("the framework was asked")

    monkeypatch.setattr(FastAPI, "__call__", handle)


@pytest.mark.usefixtures("framework_is_broken")
async def test_plain_requests_need_no_framework(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k-1"}
    attached = await post(client, "attach", {"profile_id": "p-1"}, "utf-8", **key)
    assert attached.status_code == 200
    used = await post(client, "activate", {"code": attached.json()["code"]}, "utf-8")
    assert (used.status_code, used.json()["state"]) == (200, "activated")
    is_problem(await post(client, "activate", {"code": attached.json()["code"]}, "utf-8"), 409, "activated")
    is_problem(await post(client, "activate", {"code": "nobody"}, "utf-8"), 404, "nobody")
    assert used.headers["x-request-id"]
    for path in ("OUTSIDE", "nobody?context=till-3"):
        is_problem(await client.get(f"{CODES}/{path}"), 404, path[:6])
    seen = await client.get(f"{CODES}/{attached.json()['code']}")
    assert (seen.status_code, seen.headers["cache-control"], seen.json()["state"]) == (200, "no-store", "activated")


@pytest.mark.usefixtures("framework_is_broken")
async def test_what_breaks_or_is_away_is_told_as_everywhere(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [ValueError("secret"), asyncpg.CannotConnectNowError("secret")]

    async def fail(*_: object) -> None:
        raise errors.pop()

    monkeypatch.setattr(fast_path, "take_step", fail)
    for status, reason in ((503, "database_unavailable"), (500, "internal_error")):
        answer = await post(client, "activate", {"code": "A"}, "utf-8", **{"X-Request-Id": "mine"})
        assert (answer.status_code, answer.json()["reason"], answer.headers["x-request-id"]) == (status, reason, "mine")
        assert "secret" not in answer.text


@pytest.mark.parametrize("goes", [False, True])
async def test_a_body_that_does_not_come_is_waited_for_once(
    consoles: Consoles, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, goes: bool
) -> None:
    """The framework words the refusal; a client that has gone is told nothing."""
    monkeypatch.setattr(body_limit, "BODY_TIMEOUT_S", 0)
    received, passed_on = [], []

    async def receive() -> Message:
        received.append(goes)
        if not goes:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def others(_: Scope, receive: Receive, __: Send) -> None:
        passed_on.append(1)
        with pytest.raises(HttpProblem, match="slow"):
            await receive()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    secret = client.headers["authorization"].encode()
    headers = [(b"authorization", secret), (b"content-type", b"application/json"), (b"content-length", b"20")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/api/v1{CODES}:attach",
        "headers": headers,
        "query_string": b"",
    }
    async with asyncio.timeout(10):
        await fast_path.FastPath(consoles.api.state.context, others, None)(scope, receive, send)
    assert (len(received), len(passed_on)) == (1, int(not goes))


async def test_the_endpoints_give_the_same_answers(client: httpx.AsyncClient, connection: Connection) -> None:
    """UTF-16 is JSON too, and goes the long way."""
    answers = [
        await post(client, "attach", {"profile_id": "p-1", "code": "OUTSIDE"}, encoding, **{"Idempotency-Key": "k-1"})
        for encoding in ("utf-8", "utf-16")
    ]
    assert answers[0].content == answers[1].content
    assert dict(answers[0].headers)["content-type"] == dict(answers[1].headers)["content-type"]
    refused = [await post(client, "activate", {"code": "nobody"}, encoding) for encoding in ("utf-8", "utf-16")]
    assert refused[0].json() == refused[1].json()
    used = [await post(client, "activate", {"code": "OUTSIDE"}, encoding) for encoding in ("utf-16", "utf-8")]
    assert [one.status_code for one in used] == [200, 409]
    assert await audit(connection) == []


@pytest.mark.parametrize(
    ("content", "headers", "status", "detail"),
    [
        (b'{"profile_id": ""}', {}, 422, "body.profile_id"),
        (b'{"profile_id": "p-1", "more": 1}', {}, 422, "body.more"),
        (b"{", {}, 400, "body"),
        (b'{"profile_id": "p-1"}', {"content-type": "text/plain"}, 415, "application/json"),
        (b'{"profile_id": "p-1"}', {"Idempotency-Key": "two words"}, 422, "Idempotency-Key"),
        (b'{"profile_id": "p-1"}', {"Idempotency-Key": "k" * 256}, 422, "Idempotency-Key"),
    ],
)
async def test_what_is_odd_is_told_what_is_wrong(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, detail: str
) -> None:
    is_problem(await client.post(f"{CODES}:attach", content=content, headers=JSON | headers), status, detail)
    assert (await client.get("/programs/SPRING/stock")).json()["attached"] == 0


async def test_who_may_not_gets_nothing(consoles: Consoles, client: httpx.AsyncClient) -> None:
    shop, sender = await consoles.client("redeem"), await consoles.client("write")
    is_problem(await post(shop, "attach", {"profile_id": "p"}, "utf-8"), 403, "scope")
    is_problem(await post(sender, "activate", {"code": "A"}, "utf-8"), 403, "scope")
    other = await consoles.client("write", groups=["theirs"])
    is_problem(await post(other, "attach", {"profile_id": "p"}, "utf-8"), 404, "SPRING")
    assert (await client.get("/programs/SPRING/stock")).json()["attached"] == 0
