"""One exchange with a real server on this machine: what goes out, and what is made of whatever comes back."""

import asyncio
import gzip
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

import pytest

from codewell.errors import RemoteFailed
from codewell.infra.uuid7 import uuid7
from codewell.remote import client as remote_client
from codewell.remote.client import Client
from codewell.remote.settings import Network
from codewell.remote.signing import signature_headers
from schemas.remote import RemoteCode, RemoteRequest
from tests.integration.remote.server_tls import server_tls
from tests.support.remote_server import Answering, Asked, RemoteServer, Reply, answer, dripping, remote_server, reply

KEYS = [b"k" * 32, b"o" * 32]
STAMP_S = 1_800_000_000
HERE = [ip_network("127.0.0.0/8")]


def request(count: int = 3) -> RemoteRequest:
    return RemoteRequest(version=1, request_id=uuid7(), program="SPRING", count=count, fields={"discount": "10"})


async def order(
    url: str, wanted: RemoteRequest | None = None, timeout_s: float = 10, allowed: Sequence[Network] = HERE
) -> Sequence[RemoteCode]:
    """What a client of this one exchange gets."""
    async with aclosing(Client(timeout_s, allowed)) as client:
        return await client.order(url, wanted or request(), KEYS, STAMP_S)


async def good(asked: Asked, _: RemoteServer) -> Reply:
    return reply(answer(asked, ["A", "B", "C"]))


async def failed(answering: Answering, timeout_s: float = 10) -> RemoteFailed:
    """What is said of a service that answers so."""
    async with remote_server(answering) as server:
        with pytest.raises(RemoteFailed) as why:
            await order(server.url, timeout_s=timeout_s)
        assert len(server.asked) == 1
    return why.value


def saying(*given: Any, **headers: Any) -> Answering:
    async def say(asked: Asked, _: RemoteServer) -> Reply:
        return reply(*given, **headers)

    return say


async def test_an_exchange_looks_for_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        sought: ClassVar[list[str]] = []

        @classmethod
        def find_spec(cls, name: str, *_: object) -> None:
            cls.sought.append(name)

    async with remote_server(good) as server, aclosing(Client(10, HERE)) as client:
        await client.order(server.url, request(), KEYS, STAMP_S)
        monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
        await client.order(server.url, request(), KEYS, STAMP_S)
    assert Finder.sought == []


async def test_what_goes_out() -> None:
    wanted = request()
    async with remote_server(good) as server:
        codes: Sequence[RemoteCode] = await order(server.url, wanted)
        [asked] = server.asked
    assert [one.code for one in codes] == ["A", "B", "C"]
    assert asked.data == {
        "version": 1, "request_id": str(wanted.request_id), "program": "SPRING", "count": 3,
        "fields": {"discount": "10"},
    }  # fmt: skip
    headers = asked.headers
    assert (headers["idempotency-key"], headers["content-type"]) == (str(wanted.request_id), "application/json")
    assert (headers["host"], headers["accept-encoding"]) == (server.url.split("/")[2], "identity")
    expected = signature_headers(str(wanted.request_id), STAMP_S, asked.body, KEYS)
    assert {name: headers[name] for name in expected} == expected
    assert "cookie" not in headers


async def test_two_attempts_are_the_same_but_for_their_moment_and_keep_no_cookie() -> None:
    async def baking(asked: Asked, _: RemoteServer) -> Reply:
        return reply(answer(asked, ["A"]), set_cookie="a=b; Path=/")

    wanted = request()
    async with aclosing(Client(10, HERE)) as client, remote_server(baking) as server:
        for _ in range(2):
            await client.order(server.url, wanted, KEYS, STAMP_S)
        first, second = server.asked
    assert first.body == second.body
    assert first.key == second.key
    assert "cookie" not in second.headers


@pytest.mark.parametrize(
    ("given", "headers", "says", "answered"),
    [
        (({},), {"content_encoding": "gzip"}, "compressed", True),
        (({},), {"content_type": "text/html"}, "content-type is not application/json", True),
        (({}, 201), {}, "answered 201 instead of 200", False),
        (({}, 204), {}, "answered 204 instead of 200", False),
        (({}, 302), {"location": "http://169.254.169.254/"}, "answered 302, a redirect, which is not followed", False),
        (({}, 307), {"location": "http://10.0.0.1/"}, "answered 307, a redirect", False),
        (({}, 401), {}, "answered 401 instead of 200", False),
        (({}, 429), {}, "answered 429 instead of 200", False),
        (({}, 500), {}, "answered 500 instead of 200", False),
        (({}, 503), {}, "answered 503 instead of 200", False),
        (({},), {}, "version: give a value", True),
        ((b"no json",), {}, "is not valid JSON", True),
    ],
)
async def test_what_is_no_good_answer(
    given: tuple[Any, ...], headers: dict[str, str], says: str, answered: bool
) -> None:
    why = await failed(saying(*given, **headers))
    assert says in str(why)
    assert (why.answered, why.wait_s) == (answered, 0)


async def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert "compressed" in str(await failed(saying(bomb, content_encoding="gzip")))


@pytest.mark.parametrize("status", [429, 503])
async def test_the_service_says_when_to_come_again(status: int) -> None:
    assert (await failed(saying({}, status, retry_after="7"))).wait_s == 7
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < (await failed(saying({}, status, retry_after=later))).wait_s <= 100
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=100), usegmt=True)
    never = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999", f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT"
    for nonsense in (past, "soon", "-5", "1e9", "", *never):
        assert (await failed(saying({}, status, retry_after=nonsense))).wait_s == 0


async def test_an_answer_has_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remote_client.ANSWER_BYTES_MAX == 10_000_000
    monkeypatch.setattr(remote_client, "ANSWER_BYTES_MAX", 100_000)
    sent = asyncio.Event()

    async def endless(asked: Asked, _: RemoteServer) -> Reply:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
        sent.set()
        return Reply((head, *[b" " * 50_000] * 1_000))

    assert "more than 100,000 bytes" in str(await failed(endless))
    assert sent.is_set()

    async def just_fits(asked: Asked, _: RemoteServer) -> Reply:
        whole = json.dumps(answer(asked, ["A"])).encode()
        return reply(whole + b" " * (100_000 - len(whole)))

    async with remote_server(just_fits) as server:
        assert len(await order(server.url)) == 1


async def test_the_whole_exchange_has_a_limit_in_time() -> None:
    async def drip(asked: Asked, _: RemoteServer) -> Reply:
        # Each byte comes in time, and all of them never.
        return dripping(answer(asked, ["A"]), 0.05)

    async def silent(asked: Asked, _: RemoteServer) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    for slow in (drip, silent):
        why = await failed(slow, 0.3)
        assert str(why) == "The service sent no complete response within 0.3 s."
        assert not why.answered


async def test_a_service_that_hangs_up_or_is_not_there() -> None:
    async def hang_up(asked: Asked, _: RemoteServer) -> Reply:
        return Reply((b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",))

    async def no_http(asked: Asked, _: RemoteServer) -> Reply:
        return Reply((b"SSH-2.0-OpenSSH\r\n",))

    for broken in (hang_up, no_http):
        why = await failed(broken)
        assert "RemoteProtocolError" in str(why)
        assert not why.answered
    async with remote_server(good) as server:
        gone = server.url
    with pytest.raises(RemoteFailed, match="ConnectError"):
        await order(gone)


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with remote_server(good) as server:
        await order(server.url)
        assert "authorization" not in server.asked[0].headers


async def test_nobody_is_called_inside_the_operators_network() -> None:
    async with remote_server(good) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost"), server.url.replace("127.0.0.1", "127.1")):
            with pytest.raises(RemoteFailed, match="not a public address"):
                await order(url, allowed=[])
        assert server.asked == []


class Names:
    """The answers of the DNS, each given once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._find)

    async def _find(self, _: str, port: int, **__: object) -> list[tuple[Any, ...]]:
        return [(0, 0, 0, "", (address, port)) for address in self._answers.pop(0)]


async def test_a_name_is_asked_for_once_and_stays_the_services_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async with remote_server(good) as server:
        url = server.url.replace("127.0.0.1", "codes.example")
        Names(monkeypatch, ["127.0.0.1"])
        await order(url)
        assert server.asked[0].headers["host"] == url.split("/")[2]


async def test_the_next_address_is_tried_where_one_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async with remote_server(good) as server:
        Names(monkeypatch, ["127.0.0.9", "127.0.0.1"])
        url = server.url.replace("127.0.0.1", "codes.example")
        assert len(await order(url)) == 3


async def test_a_certificate_is_for_the_name_and_not_for_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tls, authorities = server_tls(tmp_path, "codes.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    async with aclosing(Client(10, HERE)) as client, remote_server(good, tls) as server:
        Names(monkeypatch, ["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"])
        right = server.url.replace("127.0.0.1", "codes.example")
        assert len(await client.order(right, request(), KEYS, STAMP_S)) == 3
        for wrong in (server.url, right.replace("codes", "other")):
            with pytest.raises(RemoteFailed, match="ConnectError"):
                await client.order(wrong, request(), KEYS, STAMP_S)
        assert len(server.asked) == 1


async def test_an_unknown_authority_is_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls, _ = server_tls(tmp_path, "127.0.0.1")
    async with remote_server(good, tls) as server:
        with pytest.raises(RemoteFailed, match="ConnectError"):
            await order(server.url)
        assert server.asked == []


async def kept(asked: Asked, _: RemoteServer) -> Reply:
    return reply(answer(asked, ["A", "B", "C"]), connection="keep-alive")


async def test_a_connection_is_kept_for_the_next_exchange() -> None:
    async with aclosing(Client(10, HERE)) as client, remote_server(kept) as server:
        for _ in range(3):
            assert len(await client.order(server.url, request(), KEYS, STAMP_S)) == 3
        assert (len(server.asked), server.connections) == (3, 1)


async def test_a_kept_connection_is_for_the_name_whose_certificate_was_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tls, authorities = server_tls(tmp_path, "codes.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    async with aclosing(Client(10, HERE)) as client, remote_server(kept, tls) as server:
        Names(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
        right = server.url.replace("127.0.0.1", "codes.example")
        for _ in range(2):
            assert len(await client.order(right, request(), KEYS, STAMP_S)) == 3
        with pytest.raises(RemoteFailed, match="ConnectError"):
            await client.order(right.replace("codes", "other"), request(), KEYS, STAMP_S)
        assert len(server.asked) == 2
