"""A test request to a remote service: signed as any other, said to be a test, bounded, and nothing of it is kept."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from codewell.infra.postgres.connection import Connection
from codewell.remote.signing import signature_headers
from services.console.http.remote_tests import TESTS_PER_MINUTE
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.remote_server import Asked, RemoteServer, Reply, answer, remote_server, reply

PATH = "/remote:test"


async def good(asked: Asked, _: RemoteServer) -> Reply:
    return reply(answer(asked, ["SECRET-CODE-1"]))


@pytest.fixture
async def server() -> AsyncIterator[RemoteServer]:
    async with remote_server(good) as listening:
        yield listening


@pytest.fixture
def api(consoles: Consoles) -> FastAPI:
    return create_console(consoles.pool, remote_allow=("127.0.0.0/8",), remote_timeout_s=2.0)


@pytest.fixture
async def client(consoles: Consoles, api: FastAPI) -> httpx.AsyncClient:
    return await consoles.client("write", api=api)


async def tried(client: httpx.AsyncClient, url: str, **given: Any) -> dict[str, Any]:
    said = await client.post(PATH, json={"url": url, "request_max": 500, **given})
    assert said.status_code == 200, said.text
    found: dict[str, Any] = said.json()
    return found


async def test_a_url_is_tried_with_a_secret_of_its_own(client: httpx.AsyncClient, server: RemoteServer) -> None:
    found = await tried(client, server.url, fields={"discount": "10"})
    [asked] = server.asked
    assert asked.data == {
        "version": 1, "request_id": asked.data["request_id"], "program": "TEST", "count": 1,
        "fields": {"discount": "10"},
    }  # fmt: skip
    assert asked.headers["codewell-test"] == "true"
    assert found["request"]["body"] == asked.body.decode()
    assert found["request"]["headers"].items() <= asked.headers.items()
    key = b64decode(found["secret"].removeprefix("whsec_"))
    stamp_s = int(asked.headers["webhook-timestamp"])
    assert signature_headers(asked.key, stamp_s, asked.body, [key]).items() <= found["request"]["headers"].items()
    assert (found["answer"]["status"], found["answer"]["cut"]) == (200, False)
    assert json.loads(found["answer"]["body"])["codes"] == [{"code": "SECRET-CODE-1"}]
    assert found["verdict"] == {
        "accepted": True, "field": None, "detail": "The service answered as agreed, with 1 code. They are not kept.",
    }  # fmt: skip


async def test_a_programs_service_is_tried_and_nothing_is_kept(
    consoles: Consoles, api: FastAPI, client: httpx.AsyncClient, server: RemoteServer, connection: Connection
) -> None:
    admin = await consoles.client("admin", api=api)
    source = {"kind": "remote", "url": server.url, "request_max": 10}
    await admin.post("/programs", json=settings(source=source))
    before = (await admin.get("/programs/SPRING/stock")).json()
    found = (await client.post("/programs/SPRING/remote:test", json={"count": 2})).json()
    assert found["verdict"]["accepted"]
    assert (found["secret"], server.asked[0].data["program"], server.asked[0].data["count"]) == (None, "SPRING", 2)
    secret = (await admin.get("/programs/SPRING/remote/secrets")).json()["secrets"][0]["secret"]
    key = b64decode(secret.removeprefix("whsec_"))
    stamp_s = int(server.asked[0].headers["webhook-timestamp"])
    signature = signature_headers(server.asked[0].key, stamp_s, server.asked[0].body, [key])
    assert signature.items() <= server.asked[0].headers.items()
    assert (await admin.get("/programs/SPRING/stock")).json() == before
    assert await connection.fetchval("SELECT count(*) FROM remote_request") == 0
    assert await connection.fetchval("SELECT count(*) FROM code") == 0
    logged = await connection.fetchrow("SELECT program, details::text AS d FROM audit_entry WHERE verb = 'remote.test'")
    assert (logged["program"], json.loads(logged["d"])) == ("SPRING", {"host": "127.0.0.1"})


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        (reply({"version": 2}), "version", "version: must be one of 1"),
        (reply(b"<html>no</html>", content_type="text/html"), None, "content-type"),
        (reply({"error": "\u0000\u202eoops"}, 500), None, "answered 500 instead of 200"),
        (reply(b"", 302, location="http://169.254.169.254/"), None, "a redirect, which is not followed"),
        (Reply((b"nonsense\r\n\r\n",)), None, "does not speak HTTP"),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, said: Reply, field: str | None, words: str) -> None:
    async def wrong(_: Asked, __: RemoteServer) -> Reply:
        return said

    async with remote_server(wrong) as server:
        found = await tried(client, server.url)
    assert (found["verdict"]["accepted"], found["verdict"]["field"]) == (False, field)
    assert words in found["verdict"]["detail"]
    assert (found["answer"] is None) == ("HTTP" in words)


async def test_a_field_of_a_code_is_named(client: httpx.AsyncClient) -> None:
    async def wrong(asked: Asked, _: RemoteServer) -> Reply:
        return reply(answer(asked, ["A", "A"]))

    async with remote_server(wrong) as server:
        found = await tried(client, server.url, count=2)
    assert found["verdict"]["field"] == "codes.1.code"


async def test_a_long_answer_is_cut_and_a_slow_one_ends(client: httpx.AsyncClient) -> None:
    async def long(_: Asked, __: RemoteServer) -> Reply:
        return reply(b"x" * 1_000_000)

    async with remote_server(long) as server:
        found = await tried(client, server.url)
    assert (len(found["answer"]["body"]), found["answer"]["cut"]) == (20_000, True)

    async def slow(_: Asked, __: RemoteServer) -> Reply:
        return Reply((b"H", b"T", b"T"), pause_s=1.5)

    async with remote_server(slow) as server:
        found = await tried(client, server.url)
    assert found["answer"] is None
    assert "no complete response within 2 s" in found["verdict"]["detail"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "[::1]", "localhost", "0x7f000001", "[::ffff:10.0.0.1]"]
)
async def test_internal_addresses_are_refused(consoles: Consoles, server: RemoteServer, host: str) -> None:
    client = await consoles.client("write")
    port = server.url.rsplit(":", 1)[1]
    found = await tried(client, f"http://{host}:{port}")
    assert not found["verdict"]["accepted"]
    assert "CODEWELL_REMOTE_ALLOW" in found["verdict"]["detail"]
    assert server.asked == []


async def test_who_may_send_and_how_often(consoles: Consoles, api: FastAPI, server: RemoteServer) -> None:
    reader = await consoles.client("read", api=api)
    is_problem(await reader.post(PATH, json={"url": server.url}), 403, "write")
    other = await consoles.client("write", groups=["theirs"], api=api)
    admin = await consoles.client("admin", api=api)
    source = {"kind": "remote", "url": server.url}
    await admin.post("/programs", json=settings(source=source))
    await admin.post("/programs", json=settings("PLAIN"))
    is_problem(await other.post("/programs/SPRING/remote:test", json={}), 404, reason="program_unknown")
    is_problem(await admin.post("/programs/PLAIN/remote:test", json={}), 409, reason="remote_missing")
    for wrong in ({"count": 11}, {"url": "ftp://x"}, {"url": "http://me:you@x.test"}, {"count": 2, "request_max": 1}):
        is_problem(await admin.post(PATH, json={"url": server.url} | wrong), 422)
    assert server.asked == []
    for _ in range(TESTS_PER_MINUTE):
        assert (await other.post(PATH, json={"url": server.url})).status_code in {200, 429}
    refused = await other.post(PATH, json={"url": server.url})
    is_problem(refused, 429, "10 test requests a minute", reason="tests_exhausted")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await admin.post(PATH, json={"url": server.url})).status_code == 200
