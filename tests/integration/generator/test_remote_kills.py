"""Generators are killed in the middle of exchanges with a remote service, and others go on where they were."""

import asyncio
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from codewell.audit.promises import audit
from tests.support.pools import check
from tests.support.remote_server import Asked, RemoteServer, Reply, answer, remote_server, reply
from tests.support.running import until
from tests.support.seeded_random import seeded
from tests.support.site import Site
from tests.support.worker_processes import running_workers

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"),
]

KILLS = 12
GENERATORS = ("generator-1", "generator-2")
REQUEST_MAX = 5
CODES_MAX = 5_000
START_LIMIT_S = 30.0
END_LIMIT_S = 90.0


async def test_i1_i4_i5_i7_killed_generators_lose_and_double_no_code(site: Site, tmp_path: Path) -> None:
    chance: random.Random = seeded()
    bodies: dict[str, bytes] = {}
    enough = asyncio.Event()

    async def slow(asked: Asked, server: RemoteServer) -> Reply:
        assert bodies.setdefault(asked.key, asked.body) == asked.body
        codes = server.new_codes(asked)
        # Slow enough that each kill hits some exchanges, until the last.
        await asyncio.sleep(0 if enough.is_set() else chance.uniform(0, 0.3))
        return reply(answer(asked, codes))

    async with remote_server(slow) as server:
        source = {"kind": "remote", "url": server.url, "request_max": REQUEST_MAX}
        sizes = {"codes_max": CODES_MAX, "pool_max": CODES_MAX}
        await site.program("A", source=source, campaign_can_create=True, **sizes)
        env = {
            "CODEWELL_POSTGRES_URL": site.postgres_url, "CODEWELL_KAFKA_BOOTSTRAP": site.bootstrap,
            "CODEWELL_TOPIC_PREFIX": site.prefix, "CODEWELL_REMOTE_ALLOW": "127.0.0.0/8",
            "CODEWELL_REMOTE_TIMEOUT_S": "1", "CODEWELL_SWEEP_INTERVAL_S": "1",
        }  # fmt: skip
        async with running_workers(tmp_path, env) as workers:
            await workers.start(*GENERATORS)
            for number in range(KILLS):
                before = len(server.asked)
                more = before + chance.randrange(2, 12)

                async def asked_more(more: int = more) -> bool:
                    return len(server.asked) >= more

                await until(asked_more, "requests", START_LIMIT_S)
                workers.kill(GENERATORS[number % 2])
                assert await audit(site.database) == []
            enough.set()

            async def full() -> bool:
                return (await site.stock("A")).pooled == CODES_MAX

            await until(full, "full pool", END_LIMIT_S)
            assert [death.status for death in workers.deaths] == [-signal.SIGKILL] * KILLS
        codes = [row["text"] for row in await site.database.fetch("SELECT text FROM code")]
        assert sorted(codes) == sorted(server.given)
        attempts = Counter(asked.key for asked in server.asked)
    assert len(attempts) == CODES_MAX // REQUEST_MAX
    # Some were cut off, and came again under the same key.
    assert max(attempts.values()) > 1
    await check(site)
