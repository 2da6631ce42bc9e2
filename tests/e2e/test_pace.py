"""A pool that runs low under a steady load is full again before anybody finds it empty."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.backlog import REPLY_TOPIC, Answers, Backlog
from codewell.infra.kafka import clients
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres.connection import connection
from codewell.infra.postgres.migrations import migrate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from schemas.events import CODES_ATTACHED
from services.standalone.servers import Servers, running_servers
from tests.support import factories
from tests.support.consumer_groups import read_all
from tests.support.postgres_settings import FOR_TESTS
from tests.support.worker_processes import running_workers

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"),
]

RATE = 10_000
REQUESTS = 100_000
# Half of it, where the issuer calls for more, lasts two seconds at this rate.
POOL_MAX = 40_000
TICK_S = 0.1
TIMEOUT_S = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with running_servers(tmp_path_factory.mktemp("home"), FOR_TESTS) as running:
        yield running


async def test_a_pool_is_refilled_before_it_is_empty(servers: Servers, tmp_path: Path) -> None:
    url, bootstrap = servers.postgres.url, servers.kafka.bootstrap
    await create_topics(bootstrap, "", 1)
    env = {
        "CODEWELL_POSTGRES_URL": url,
        "CODEWELL_KAFKA_BOOTSTRAP": bootstrap,
        "CODEWELL_HEALTH_PORT": "-1",
        # It is the demand that has to be heard, not the sweep.
        "CODEWELL_SWEEP_INTERVAL_S": "3600",
    }
    async with connection(url, "codewell-test") as opened:
        await migrate(opened)
        # Campaigns may not create codes, so a message that finds the pool empty is refused.
        made = await factories.program(
            opened, Minters(None), campaign_can_create=False, codes_max=1_000_000, pool_max=POOL_MAX
        )
        async with (
            running_workers(tmp_path, env, "generator-1", "issuer-1"),
            clients.started_producer(bootstrap) as producer,
            clients.consumer(bootstrap, "pace") as counting,
        ):
            ticks = [Backlog(producer, "", made.name, int(RATE * TICK_S)) for _ in range(int(REQUESTS / RATE / TICK_S))]
            while (await overview.stock(opened, made.name)).pooled < POOL_MAX:
                await asyncio.sleep(TICK_S)
            answers = Answers(counting, "")
            loop = asyncio.get_running_loop()
            began = loop.time()
            lowest = POOL_MAX
            for number, tick in enumerate(ticks):
                await asyncio.sleep(began + number * TICK_S - loop.time())
                await tick.store()
                lowest = min(lowest, (await overview.stock(opened, made.name)).pooled)
            took_s = loop.time() - began
            async with asyncio.timeout(TIMEOUT_S):
                while await answers.count() < REQUESTS:
                    await asyncio.sleep(TICK_S)
        stock = await overview.stock(opened, made.name)
    replies = await read_all(bootstrap, [REPLY_TOPIC])
    assert Counter(dict(record.headers)["ce_type"] for record in replies) == {CODES_ATTACHED.encode(): REQUESTS}
    assert (stock.attached, stock.made >= REQUESTS, lowest > 0) == (REQUESTS, True, True)
    sys.stdout.write(f"{REQUESTS / took_s:,.0f} requests a second; the pool's lowest was {lowest:,} of {POOL_MAX:,}\n")
