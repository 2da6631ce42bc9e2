"""The HTTP client repeats what may be repeated, with one key, and gives errors as types."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from codewell_client import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    RateLimited,
    ServiceUnavailable,
    Shop,
    ShopTimeout,
    Unauthorized,
    shop,
)

CODE: dict[str, object] = {
    "code": "AB/1", "program": "SPRING", "state": "activated", "profile_id": "p-1",
    "attached_at": "2026-12-01T10:00:00Z", "activated_at": "2026-12-01T10:00:01.5Z", "expires_at": None, "fields": {},
    "later": 1,
}  # fmt: skip


class Service:
    """Gives these responses in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *responses: httpx.Response | type[httpx.RequestError]) -> None:
        self._responses = list(responses)
        self.requests: list[httpx.Request] = []

    def shop(self, **given: Any) -> Shop:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))
        return Shop("http://codewell/", "secret", http=http, **given)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
        if isinstance(response, httpx.Response):
            return response
        raise response("lost", request=request)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "PAUSE_S", 0.001)


def refused(status: int, headers: dict[str, str] | None = None, **members: object) -> httpx.Response:
    return httpx.Response(status, json={"type": "about:blank", "status": status, "detail": "No.", **members},
                          headers=headers)  # fmt: skip


def ok() -> httpx.Response:
    return httpx.Response(200, json=CODE)


async def test_a_call_is_what_the_api_takes() -> None:
    service = Service(ok())
    record = await service.shop().activate("SPRING", "AB/1", idempotency_key="order-7")

    [request] = service.requests
    assert (request.method, str(request.url)) == ("POST", "http://codewell/api/v1/programs/SPRING/codes:activate")
    assert json.loads(request.content) == {"code": "AB/1"}
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["idempotency-key"] == "order-7"
    assert (record.code, record.state, record.expires_at) == ("AB/1", "activated", None)
    assert record.activated_at is not None
    assert record.activated_at.microsecond == 500_000


@pytest.mark.parametrize(
    "page",
    [
        httpx.Response(200, html="<html>Please log in</html>"),
        httpx.Response(200, json={"error": "Please log in"}),
        httpx.Response(200, json=["Please log in"]),
        httpx.Response(200, json={**CODE, "attached_at": "Please log in"}),
        httpx.Response(204),
    ],
)
async def test_a_proxys_page_in_place_of_a_code_is_a_problem(page: httpx.Response) -> None:
    service = Service(page)
    with pytest.raises(Problem, match="no response of Codewell") as raised:
        await service.shop().activate("SPRING", "AB/1")

    assert raised.value.status == page.status_code
    assert page.text[:200] in raised.value.detail
    assert len(service.requests) == 1


async def test_a_code_with_a_slash_is_looked_up() -> None:
    service = Service(ok())
    await service.shop().look_up("SPRING", "AB/1?x=#%")

    assert service.requests[0].url.raw_path == b"/api/v1/programs/SPRING/codes/AB%2F1%3Fx%3D%23%25"
    assert "idempotency-key" not in service.requests[0].headers


@pytest.mark.parametrize("code", [".", ".."])
async def test_a_code_of_dots_is_looked_up(code: str) -> None:
    service = Service(refused(404))
    with pytest.raises(NotFound):
        await service.shop().look_up("SPRING", code)

    path = service.requests[0].url.raw_path.decode()
    assert path == f"/api/v1/programs/SPRING/codes/{code.replace('.', '%2E')}"


async def test_look_ups_and_reissues_say_their_context() -> None:
    service = Service(ok())
    await service.shop().look_up("SPRING", "A", context="c&1 ü")
    await service.shop().reissue("SPRING", "A", "lost", context="desk-1")

    asked, posted = service.requests
    assert asked.url.raw_path == b"/api/v1/programs/SPRING/codes/A?context=c%261%20%C3%BC"
    assert json.loads(posted.content) == {"code": "A", "reason": "lost", "expires": "same", "context": "desk-1"}


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError,
        httpx.ReadTimeout,
        httpx.RemoteProtocolError,
        httpx.DecodingError,
        refused(503, {"retry-after": "0"}),
        refused(429, {"retry-after": "0"}),
        refused(409, {"retry-after": "0"}),
        refused(503, {"retry-after": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}),
        httpx.Response(502, text="<html>"),
        httpx.Response(504),
    ],
    ids=str,
)
async def test_a_transient_failure_is_repeated_with_the_same_key(
    failure: httpx.Response | type[httpx.RequestError],
) -> None:
    service = Service(failure, failure, ok())
    await service.shop().attach("SPRING", "p-1")

    keys = {request.headers["idempotency-key"] for request in service.requests}
    assert len(service.requests) == 3
    assert len(keys) == 1
    assert UUID(keys.pop()).version == 7
    assert len({request.content for request in service.requests}) == 1


async def test_orders_hold_use_and_release_codes() -> None:
    held = CODE | {"state": "held", "uses": 1, "held_until": "2026-12-01T10:30:00Z"}
    service = Service(httpx.Response(200, json=held))
    shop = service.shop()
    record = await shop.hold("SPRING", "A", "o-7", profile_id="p-1", ttl=timedelta(minutes=5))
    await shop.activate("SPRING", "A", profile_id="p-1", order_id="o-7", context="till 3")
    await shop.deactivate("SPRING", "A", order_id="o-7")
    await shop.release("SPRING", "A", "o-7", idempotency_key="o-7:release")

    assert (record.uses, record.held_until) == (1, datetime(2026, 12, 1, 10, 30, tzinfo=UTC))
    sent = [(request.url.path.rpartition(":")[2], json.loads(request.content)) for request in service.requests]
    order = {"code": "A", "order_id": "o-7"}
    assert sent == [
        ("hold", order | {"profile_id": "p-1", "ttl": "PT300.0S"}),
        ("activate", order | {"profile_id": "p-1", "context": "till 3"}),
        ("deactivate", order),
        ("release", order),
    ]
    assert service.requests[-1].headers["idempotency-key"] == "o-7:release"


async def test_a_reissue_says_why_and_until_when() -> None:
    service = Service(ok())
    await service.shop().reissue("SPRING", "A", "lost", expires="fresh", idempotency_key="ticket-7")

    [request] = service.requests
    assert request.url.path == "/api/v1/programs/SPRING/codes:reissue"
    assert json.loads(request.content) == {"code": "A", "reason": "lost", "expires": "fresh"}
    assert request.headers["idempotency-key"] == "ticket-7"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (415, InvalidRequest),
        (418, Problem),
        (422, InvalidRequest),
        (500, ServiceUnavailable),
    ],
)
async def test_a_refusal_is_an_error_of_its_kind_at_once(status: int, kind: type[Problem]) -> None:
    service = Service(refused(status, {"x-request-id": "r-1"}, reason="a_word", type="/problems/a-word"))
    with pytest.raises(Problem, match="No") as caught:
        await service.shop().deactivate("SPRING", "A")

    problem = caught.value
    assert type(problem) is kind
    assert (problem.status, problem.detail, problem.reason) == (status, "No.", "a_word")
    assert (problem.type, problem.request_id) == ("/problems/a-word", "r-1")
    assert len(service.requests) == 1


async def test_a_wait_beyond_the_time_limit_is_not_begun() -> None:
    service = Service(refused(429, {"retry-after": "60"}))
    with pytest.raises(RateLimited) as caught:
        await service.shop(timeout_s=5).look_up("SPRING", "A")

    assert caught.value.retry_after_s == 60
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("failure", "check"),
    [
        (httpx.ReadTimeout, lambda error: isinstance(error, ShopTimeout) and error.idempotency_key == "k"),
        (refused(503), lambda error: isinstance(error, ServiceUnavailable) and error.retry_after_s is None),
    ],
    ids=["no response", "busy"],
)
async def test_attempts_end_with_the_time_limit(
    failure: httpx.Response | type[httpx.RequestError], check: Callable[[Exception], bool]
) -> None:
    service = Service(failure)
    with pytest.raises((ShopTimeout, Problem)) as caught:
        await service.shop(timeout_s=0.05).activate("SPRING", "A", idempotency_key="k")

    assert check(caught.value)
    assert len(service.requests) > 1


async def test_a_wait_may_be_given_as_a_date() -> None:
    service = Service(refused(503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), ok())
    await service.shop().activate("SPRING", "A")

    assert len(service.requests) == 2


async def test_a_client_that_was_given_stays_open() -> None:
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: ok()))
    async with Shop("http://codewell", "secret", http=http) as opened:
        await opened.look_up("SPRING", "A")
    assert not http.is_closed
    await http.aclose()


async def test_a_response_that_comes_in_drops_ends_with_the_time_limit() -> None:
    is_closed = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.05)
        is_closed.set()

    server = await asyncio.start_server(drip, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    begun = time.monotonic()
    async with server, Shop(f"http://127.0.0.1:{port}", "secret", timeout_s=0.3) as opened:
        with pytest.raises(ShopTimeout, match=r"within 0\.3 s"):
            await asyncio.wait_for(opened.activate("SPRING", "A"), 10)
        assert time.monotonic() - begun < 3
        await asyncio.wait_for(is_closed.wait(), 10)


@pytest.mark.parametrize(
    ("url", "token", "key", "words"),
    [
        ("localhost:8080", "secret", "k", "http://"),
        ("http://codewell", "secret\n", "k", "token"),
        ("http://codewell", "", "k", "token"),
        ("http://codewell", "secret", "Bestellung-ü", "idempotency_key"),
        ("http://codewell", "secret", "order\n7", "idempotency_key"),
    ],
)
async def test_what_no_request_can_carry_is_refused_at_once(url: str, token: str, key: str, words: str) -> None:
    service = Service(ok())
    http = httpx.AsyncClient(transport=httpx.MockTransport(service._respond))
    with pytest.raises(ValueError, match=words):
        await Shop(url, token, http=http).activate("SPRING", "A", idempotency_key=key)

    assert not service.requests


async def test_a_code_too_long_for_a_url_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match="too long"):
        await Service(ok()).shop().look_up("SPRING", "A" * 70_000)
