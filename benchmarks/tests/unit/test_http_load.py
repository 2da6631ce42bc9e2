"""The load generator counts answers, and measures latency from the due time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from benchmarks import http_load
from benchmarks.http_load import Plan, load, request


@asynccontextmanager
async def serving(
    statuses: list[int], held: asyncio.Event | None = None, more: bytes = b""
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers with these statuses in turn, the first once `held` is set, and its received requests.

    It sends `more` behind each answer, and closes the connection when it has no status left.
    """
    asked: list[bytes] = []
    handlers: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(cast("asyncio.Task[Any]", asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while len(asked) < len(statuses):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                asked.append(head + await reader.readexactly(length))
                if held is not None and len(asked) == 1:
                    await held.wait()
                writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 3\r\n\r\n\r\n\r" % statuses[len(asked) - 1] + more)
                await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked
        await asyncio.gather(*handlers)


async def test_every_request_is_sent_once_and_its_status_counted() -> None:
    requests = [request("POST", f"/{number}", "secret", {"n": number}, f"key-{number}") for number in range(4)]
    async with serving([200, 200, 404, 200]) as (port, asked):
        seen = await load(Plan("127.0.0.1", port, 1, requests, None))

    assert [one.decode() for one in asked] == requests
    assert seen.statuses == {200: 3, 404: 1}
    assert len(seen.times_ms) == 4


async def test_who_had_to_wait_for_another_is_counted_from_when_it_was_due() -> None:
    held = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with serving([200] * 3, held) as (port, _):
        loop.call_later(0.2, held.set)
        seen = await load(Plan("127.0.0.1", port, 1, [request("GET", "/", "secret")] * 3, 1_000))

    # All were due within 2 ms, on one connection that was blocked for 200.
    assert min(seen.times_ms) > 150


@pytest.mark.parametrize("rate", [None, 1_000])
async def test_a_server_that_goes_away_is_told_of(rate: float | None) -> None:
    async with serving([]) as (port, _):
        pass
    with pytest.raises(OSError, match=str(port)):
        await load(Plan("127.0.0.1", port, 1, ["x"], rate))


async def test_an_answer_may_come_in_parts() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in (b"HTTP/1.1 20", b"1 Said\r\ncontent-length: 4\r\n\r", b"\nab", b"cd"):
            writer.write(part)
            await asyncio.sleep(0.01)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        seen = await load(Plan("127.0.0.1", port, 1, [request("GET", "/", "secret")], None))
        await ended.wait()
    assert (seen.statuses, len(seen.times_ms)) == ({201: 1}, 1)


async def test_a_connection_that_breaks_or_says_too_much_is_told_of() -> None:
    two = [request("GET", "/", "secret")] * 2
    async with serving([200]) as (port, _):
        with pytest.raises(ConnectionError, match="closed a connection"):
            await load(Plan("127.0.0.1", port, 1, two, None))
    async with serving([200, 200], more=b"HTTP/1.1 200 Again") as (port, _):
        with pytest.raises(ConnectionError, match="more than it was asked for"):
            await load(Plan("127.0.0.1", port, 1, two, None))


async def test_an_answer_that_never_comes_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_load, "_WATCH_S", 0.01)
    monkeypatch.setattr(http_load, "ANSWER_TIMEOUT_S", 0.05)
    held = asyncio.Event()
    async with serving([200], held) as (port, _):
        with pytest.raises(TimeoutError):
            await load(Plan("127.0.0.1", port, 1, [request("GET", "/", "secret")], None))
        held.set()
