"""A remote service that does everything wrong, over a thousand batches: no code doubled, none lost, none too many."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.remote import order_leases
from schemas.program import Program
from services.generator import remote_sender
from tests.support.pools import check
from tests.support.remote_server import Asked, RemoteServer, Reply, answer, dripping, remote_server, reply
from tests.support.running import until
from tests.support.site import Site

BATCHES = 1_000
REQUEST_MAX = 5
PROGRAMS = ("A", "B")
# So that the pool, which is as large as the maximum, needs so many batches.
CODES_MAX = BATCHES * REQUEST_MAX // len(PROGRAMS)
TIMEOUT_S = 0.3
HERE = {"remote_allow": ("127.0.0.0/8",), "remote_timeout_s": TIMEOUT_S, "remote_concurrency": 32}
LIMIT_S = 150.0

_CUT = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = 'codewell-generator' AND datname = current_database()
    """

_SETTLED = """
    SELECT p.name, min(r.id::text) FROM remote_request r JOIN program p ON p.id = r.program_id
    WHERE r.received > 0 GROUP BY p.name
    """

FAULTS = (
    "silent", "late", "drips", "hangs up", "500", "429", "redirect", "too many", "twice", "of an older answer",
    "for another request", "no json",
)  # fmt: skip


class Misbehaving:
    """Answers each request as often wrongly as its key says, each time in another way, and then rightly."""

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.bodies: dict[str, bytes] = {}
        self.settled: dict[str, str] = {}
        """A key whose codes are in the pool, by program."""

    async def __call__(self, asked: Asked, server: RemoteServer) -> Reply:
        digest = hashlib.sha256(asked.key.encode()).digest()
        attempt = self.attempts[asked.key]
        self.attempts[asked.key] += 1
        assert self.bodies.setdefault(asked.key, asked.body) == asked.body
        # Half of the requests are answered rightly at once, others after one to three faults.
        if attempt < (0, 0, 0, 0, 1, 1, 2, 3)[digest[0] % 8]:
            fault = FAULTS[digest[1 + attempt] % len(FAULTS)]
            self.faults[fault] += 1
            return await self._wrong(fault, asked, server)
        # Now and then it has fewer codes than it is asked for.
        count = asked.data["count"]
        return reply(answer(asked, server.new_codes(asked, count - (digest[9] % 16 == 0 and count > 1))))

    async def _wrong(self, fault: str, asked: Asked, server: RemoteServer) -> Reply:
        count = asked.data["count"]
        if fault in {"silent", "late"}:
            if fault == "late":
                server.new_codes(asked)
            await asyncio.sleep(2 * TIMEOUT_S)
            return reply(answer(asked, server.new_codes(asked)))
        right = answer(asked, server.new_codes(asked))
        settled = self.settled.get(asked.data["program"])
        older = ["x", "x"] if settled is None else server.given_for(settled)[:count]
        replies = {
            "drips": dripping(right, 0.05),
            "hangs up": Reply((b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",)),
            "500": reply({}, 500),
            "429": reply({}, 429, retry_after="0"),
            "redirect": reply({}, 307, location="http://169.254.169.254/latest/meta-data"),
            "too many": reply(answer(asked, [f"T-{asked.key}-{number}" for number in range(count + 1)])),
            "twice": reply({**right, "codes": [*right["codes"][1:], right["codes"][-1]]} if count > 1 else {}),
            "of an older answer": reply(answer(asked, older)),
            "for another request": reply({**right, "request_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10"}),
            "no json": reply(b"<html>"),
        }
        return replies[fault]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is tried again sooner; how soon is not what this is about."""
    monkeypatch.setattr(order_leases, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(order_leases, "BACKOFF_MAX_S", 0.05)
    monkeypatch.setattr(order_leases, "CIRCUIT_OPEN_S", 0.02)
    monkeypatch.setattr(remote_sender, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(remote_sender, "LEASE_MARGIN_S", 0.3)


@asynccontextmanager
async def watched(connection: Connection, service: Misbehaving) -> AsyncIterator[list[int]]:
    """Audit one snapshot after the other while the block runs, and cut the generators' connections now and then."""
    looks = [0, 0]

    async def watch() -> None:
        while True:
            assert await audit(connection) == []
            service.settled = {name: str(key) for name, key in await connection.fetch(_SETTLED)}
            looks[0] += 1
            if looks[0] % 10 == 0:
                looks[1] += await connection.fetchval(_CUT)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(watch())
    try:
        yield looks
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def remote_program(site: Site, name: str, url: str) -> Program:
    source = {"kind": "remote", "url": url, "request_max": REQUEST_MAX}
    return await site.program(name, source=source, campaign_can_create=True, codes_max=CODES_MAX, pool_max=CODES_MAX)


async def test_i1_i4_i5_a_thousand_batches_of_a_service_that_misbehaves(site: Site, connection: Connection) -> None:
    service = Misbehaving()
    async with remote_server(service) as server:
        for name in PROGRAMS:
            await remote_program(site, name, server.url)
        async with watched(connection, service) as looks, site.generator(**HERE), site.generator(**HERE):

            async def all_full() -> bool:
                stocks = [await site.stock(name) for name in PROGRAMS]
                return all(stock.pooled == CODES_MAX for stock in stocks)

            await until(all_full, "full pools", LIMIT_S)
        rows = await site.database.fetch("SELECT id, state, received FROM remote_request")
        states = Counter(row["state"] for row in rows)
        codes = [row["text"] for row in await site.database.fetch("SELECT text FROM code")]
        done = [str(row["id"]) for row in rows if row["state"] == "done"]
        expected = [code for key in done for code in server.given_for(key)]
    assert states["done"] >= BATCHES
    assert states.keys() == {"done"}
    assert len(codes) == len(set(codes)) == len(PROGRAMS) * CODES_MAX
    assert sorted(codes) == sorted(expected)
    # Nothing of what was refused is there, and each kind of fault has been.
    assert sorted(server.given) == sorted(expected)
    assert service.faults.keys() == set(FAULTS)
    assert min(looks) > 0
    await check(site)
