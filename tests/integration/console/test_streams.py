"""Streamed answers: slow readers, readers who may read no more, and how many there may be."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from uuid import UUID

import httpx
import pytest

from codewell.access import sessions, tokens
from codewell.infra.http import limits
from codewell.infra.uuid7 import uuid7
from services.console.http import download, stream_limit
from tests.integration.console.test_api import console
from tests.support.consoles import is_problem
from tests.support.running import LIMIT_S, until
from tests.support.site import Site

CODES: Final = 300_000
BAD_ROWS: Final = 100_000
# One more than the console has connections to the database.
READERS: Final = 10

_IMPORT: Final = """
    INSERT INTO import (id, program_id, file_name, file_bytes, file_sha256, options, uploaded, state, ended_at)
    SELECT $1, id, 'codes.csv', 1, sha256('x'), '{}', true, 'done', now() FROM program
    """
_BAD: Final = """
    INSERT INTO import_bad_row (import_id, row_number, text, reason)
    SELECT $1, n, repeat('x', 100) || n, 'twice_in_file' FROM generate_series(1, $2::bigint) AS n
    """


async def import_with_bad_rows(site: Site) -> UUID:
    made = uuid7()
    await site.database.execute(_IMPORT, made)
    await site.database.execute(_BAD, made, BAD_ROWS)
    return made


async def secrets(site: Site, count: int, *groups: str) -> list[str]:
    return [(await tokens.create(site.database, f"reader{n}", ["read"], groups))[1] for n in range(count)]


def reads_as(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@asynccontextmanager
async def slow_reader(
    client: httpx.AsyncClient, path: str, secret: str, pipelined: int = 1
) -> AsyncIterator[socket.socket]:
    """A browser that has seen the head of the answer, and takes nothing more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as plug:
        plug.setblocking(False)
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await loop.sock_connect(plug, (client.base_url.host, client.base_url.port))
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()
        await loop.sock_sendall(plug, request * pipelined)
        async with asyncio.timeout(LIMIT_S):
            assert (await loop.sock_recv(plug, 64)).startswith(b"HTTP/1.1 200")
        yield plug


async def read_all(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def read_to_end(plug: socket.socket) -> bytes:
    """All that the kernel still has for the client."""
    read = bytearray()
    async with asyncio.timeout(LIMIT_S):
        with contextlib.suppress(ConnectionResetError):
            while some := await asyncio.get_running_loop().sock_recv(plug, 1 << 20):
                read += some
    return bytes(read)


async def until_no_session_is_busy(site: Site) -> None:
    async def idle() -> bool:
        query = """SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'codewell-console%'
                   AND datname = current_database() AND state <> 'idle'"""
        return bool(await site.database.fetchval(query) == 0)

    await until(idle, "console without a statement or transaction")


@pytest.mark.parametrize("kind", ["codes.csv", "bad-rows.csv"])
async def test_slow_readers_hold_up_nothing(site: Site, kind: str) -> None:
    await site.program("SPRING", CODES)
    path = "/api/v1/programs/SPRING/codes.csv"
    rows = CODES
    if kind == "bad-rows.csv":
        path, rows = f"/api/v1/imports/{await import_with_bad_rows(site)}/bad-rows.csv", BAD_ROWS
    async with console(site) as client, AsyncExitStack() as readers:
        per_token = stream_limit.STREAMS_PER_TOKEN_MAX
        for secret in await secrets(site, READERS // per_token):
            for _ in range(per_token):
                await readers.enter_async_context(slow_reader(client, path, secret))
        await until_no_session_is_busy(site)

        assert (await client.get("/api/v1/programs/SPRING/stock")).status_code == 200
        whole = await client.get(path)
        assert whole.text.count("\r\n") == rows + 1


async def test_each_token_has_its_own_slots_and_the_console_an_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_limit, "STREAMS_MAX", 3)
    await site.program("SPRING", CODES)
    path = "/api/v1/programs/SPRING/codes.csv"
    first, second = await secrets(site, 2)
    async with console(site) as client, AsyncExitStack() as readers:
        for _ in range(2):
            await readers.enter_async_context(slow_reader(client, path, first))
        refused = await client.get(path, headers=reads_as(first))
        is_problem(refused, 429, "2 exports at a time")
        assert int(refused.headers["retry-after"]) > 0
        # Another kind of stream has slots of its own.
        rows = f"/api/v1/imports/{await import_with_bad_rows(site)}/bad-rows.csv"
        assert (await client.get(rows, headers=reads_as(first))).status_code == 200

        await readers.enter_async_context(slow_reader(client, path, second))
        is_problem(await client.get(path), 503, "Too many exports")

        await readers.aclose()

        async def free() -> bool:
            return (await client.get(path, headers=reads_as(first))).status_code == 200

        await until(free, "slot of a reader who left")


@pytest.mark.parametrize(
    "loses",
    [
        "UPDATE token SET revoked_at = now() WHERE name = 'reader0'",
        "UPDATE token SET expires_at = now() WHERE name = 'reader0'",
        "UPDATE program SET groups = '{theirs}'",
    ],
)
@pytest.mark.parametrize("kind", ["codes.csv", "bad-rows.csv"])
async def test_a_reader_who_may_read_no_more_sees_no_end(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str, loses: str
) -> None:
    monkeypatch.setattr(download, "CHECK_INTERVAL_S", 0.0)
    await site.program("SPRING", CODES, groups=["ours"])
    [secret] = await secrets(site, 1, "ours")
    path = "/api/v1/programs/SPRING/codes.csv"
    if kind == "bad-rows.csv":
        path = f"/api/v1/imports/{await import_with_bad_rows(site)}/bad-rows.csv"
    async with console(site) as client, client.stream("GET", path, headers=reads_as(secret)) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_bytes()
        await anext(pieces)
        await site.database.execute(loses)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await read_all(pieces)


@pytest.mark.parametrize("kind", ["codes.csv", "bad-rows.csv"])
async def test_a_file_of_a_page_breaks_off_when_its_session_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(download, "CHECK_INTERVAL_S", 0.0)
    await site.program("SPRING", CODES)
    path = "/programs/SPRING/export/codes.csv"
    if kind == "bad-rows.csv":
        path = f"/programs/SPRING/imports/{await import_with_bad_rows(site)}/bad-rows.csv"
    token, _ = await tokens.create(site.database, "anna", ["read", "write"])
    cookie = await sessions.open_session(site.database, "token", token.id, token.name)
    signed_in = {"Cookie": f"codewell={cookie}"}
    async with console(site) as client, client.stream("GET", path, headers=signed_in) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_bytes()
        await anext(pieces)
        await site.database.execute("UPDATE session SET ended_at = now()")
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await read_all(pieces)


async def test_a_browser_that_takes_nothing_is_disconnected(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT_S", 0.3)
    await site.program("SPRING", CODES)
    [secret] = await secrets(site, 1)
    path = "/api/v1/programs/SPRING/codes.csv"
    async with console(site) as client, AsyncExitStack() as readers:
        gone = [await readers.enter_async_context(slow_reader(client, path, secret)) for _ in range(2)]

        async def free() -> bool:
            return (await client.get(path, headers=reads_as(secret))).status_code == 200

        await until(free, "slot of a reader who takes nothing")
        for plug in gone:
            assert not (await read_to_end(plug)).endswith(b"0\r\n\r\n")


async def test_an_answer_that_is_not_taken_keeps_no_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any answer, also one whose end the closing of its connection waits for."""
    # Longer than it takes to see that there is no connection left.
    monkeypatch.setattr(limits, "SEND_TIMEOUT_S", 2.0)
    await site.program("SPRING", 1_000)
    [secret] = await secrets(site, 1)
    path = "/api/v1/programs/SPRING/codes?limit=1000"
    async with console(site, connections_max=4) as client, AsyncExitStack() as readers:
        await client.aclose()
        for _ in range(4):
            plug = await readers.enter_async_context(slow_reader(client, path, secret, pipelined=50))
            assert plug.fileno() > 0

        async def served() -> bool:
            answer = await asyncio.to_thread(
                httpx.get, client.base_url.join("/api/v1/programs/SPRING/stock"), headers=reads_as(secret)
            )
            return answer.status_code == 200

        assert not await served()
        await until(served, "connection for others")


async def test_a_browser_that_takes_a_trickle_loses_its_slot(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.5)
    await site.program("SPRING", 1)
    path = f"/api/v1/imports/{await import_with_bad_rows(site)}/bad-rows.csv"
    async with console(site) as client, client.stream("GET", path) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        await asyncio.sleep(1)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await read_all(pieces)
