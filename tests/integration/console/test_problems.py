"""Whatever is wrong with a request: a problem that says so, with the id that the log has."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from services.console.http.body_limit import BODY_BYTES_MAX
from tests.support.consoles import Consoles, is_problem, settings

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    return await consoles.client("admin")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"\xff\xfe", b'{"name": "\\ud800"}', b"[" * 100_000, b"1" * 10_000, b"null", b"NaN",
     b'{"codes_max": 1e999}', b'{"codes_max": ' + b"9" * 5_000 + b"}"],
)  # fmt: skip
async def test_bodies_that_are_no_program(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/programs", content=body, headers=JSON)
    is_problem(answer, answer.status_code)
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize("text", [b"\\ud800", b"\\u0000"])
async def test_text_that_no_database_can_store(client: httpx.AsyncClient, text: bytes) -> None:
    for field in ("title", "description", "template"):
        body = json.dumps(settings(title="TITLE", description="DESCRIPTION")).encode()
        place = b"SPRING-" if field == "template" else field.upper().encode()
        is_problem(await client.post("/programs", content=body.replace(place, text), headers=JSON), 422)
    assert (await client.post("/programs", json=settings())).status_code == 201
    body = b'{"count": 1, "fields": {"discount": "' + text + b'"}}'
    is_problem(await client.post("/programs/SPRING/codes:generate", content=body, headers=JSON), 422)


async def test_a_body_that_is_too_large(client: httpx.AsyncClient) -> None:
    large = b'"' + b"x" * BODY_BYTES_MAX + b'"'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    is_problem(await client.post("/programs", content=large, headers=JSON), 413, "1,048,576")
    is_problem(await client.post("/programs", content=chunks(), headers=JSON), 413)


@pytest.mark.parametrize("media_type", [None, "", "text/plain", "application/xml", "multipart/form-data; boundary=x"])
async def test_a_body_that_is_no_json(client: httpx.AsyncClient, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    is_problem(await client.post("/programs", content=b"{}", headers=headers), 415, "application/json")


async def test_json_with_a_charset_is_json(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = await client.post("/programs", content=httpx.Request("POST", "", json=settings()).content, headers=headers)
    assert answer.status_code == 201


async def test_paths_and_methods_that_are_not_there(client: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/programs/", "/programs/A/B/C", "/programs/A/codes:nothing"):
        is_problem(await client.get(path), 404)
    for path, allowed in (("/programs/A/stock", "GET"), ("/programs", "GET, POST")):
        answer = await client.delete(path)
        is_problem(answer, 405, "DELETE", allowed)
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("given", ["abc-1", "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10", "a/b:c=d@e.f~g_h+i"])
async def test_a_sane_request_id_is_given_back_and_logged(client: httpx.AsyncClient, given: str) -> None:
    with capture_logs([]) as logs:
        answer = await client.get("/programs/NOBODY/codes/SECRET-1", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given
    [line] = [line for line in logs if line["event"] == "answered"]
    assert (line["method"], line["status"]) == ("GET", 404)
    assert "SECRET" not in str(logs)
    assert "request_id" not in get_contextvars()


@pytest.mark.parametrize("given", ["", " ", "two words", "x" * 129, 'a"b', "ü"])
async def test_any_other_request_id_is_made_anew(client: httpx.AsyncClient, given: str) -> None:
    answers = [await client.get("/programs", headers={b"X-Request-Id": given.encode()}) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert given not in ids


async def test_errors_before_the_api_have_a_request_id_too(consoles: Consoles) -> None:
    nobody = await consoles.with_secret(None)
    answer = await nobody.get("/programs", headers={"X-Request-Id": "abc-1"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (401, "abc-1")
