"""The remote service of the benchmark: it delays its answers, and rejects requests without a valid secret."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from ipaddress import ip_network

import httpx
import pytest

from benchmarks.slow_service import SlowService
from codewell.errors import RemoteFailed
from codewell.infra.uuid7 import uuid7
from codewell.remote.client import Client
from schemas.remote import RemoteRequest

KEY = secrets.token_bytes(32)
ANSWER_S = 0.5


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = await asyncio.start_server(SlowService([b"another", KEY], ANSWER_S).serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        # From Python 3.12 on it waits for connections: the client ends before.
        await server.wait_closed()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with aclosing(Client(5.0, [ip_network("127.0.0.0/8")])) as opened:
        yield opened


async def asked(client: Client, url: str, key: bytes, count: int) -> list[str]:
    request = RemoteRequest(version=1, request_id=uuid7(), program="ONE", count=count, fields={})
    return [one.code for one in await client.order(url, request, [key], 1_800_000_000)]


async def test_side_by_side_each_gets_codes_of_its_own_after_so_long(url: str, client: Client) -> None:
    began = asyncio.get_running_loop().time()
    one, other = await asyncio.gather(asked(client, url, KEY, 30), asked(client, url, KEY, 20))

    assert asyncio.get_running_loop().time() - began >= ANSWER_S
    assert len(set(one) | set(other)) == 50


async def test_who_signs_with_another_secret_is_refused(url: str, client: Client) -> None:
    with pytest.raises(RemoteFailed, match="401"):
        await asked(client, url, secrets.token_bytes(32), 1)


async def test_a_look_whether_it_answers_is_answered(url: str) -> None:
    async with httpx.AsyncClient() as opened:
        assert (await opened.get(url)).status_code == 401
