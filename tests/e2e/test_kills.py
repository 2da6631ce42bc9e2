"""Workers are killed, stopped and frozen, and Postgres goes away, all under load: nothing is lost or given twice."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from services.standalone.postgres import TESTS
from services.standalone.servers import Servers, running_servers
from tests.e2e import faults
from tests.e2e.deployment import GENERATOR, ISSUERS, Deployment, deployment
from tests.e2e.moments import seeded

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"),
]

KILLS = 27
BACKENDS_KILLED = 10
# Longer than a claim waits for a locked block, and than a request waits in a retry topic.
SHORT_FREEZE_S = 3.0
WAITING_MAX_FROZEN = 2_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with running_servers(tmp_path_factory.mktemp("home"), TESTS) as running:
        yield running


@pytest.fixture
def chance() -> random.Random:
    return seeded()


@pytest_asyncio.fixture(loop_scope="module")
async def deployed(servers: Servers, tmp_path: Path, chance: random.Random) -> AsyncIterator[Deployment]:
    async with deployment(servers, tmp_path, chance) as running:
        yield running


async def test_killed_workers(deployed: Deployment, chance: random.Random) -> None:
    for number in range(KILLS):
        await deployed.load.answers(more=chance.randrange(20, 200))
        if number % 3 == 0:
            # Else most kills would hit issuers that are still starting.
            await deployed.issuers_work()
        await faults.kill_at_any_moment(deployed, chance)
    await faults.kill_all_issuers(deployed, chance)
    await deployed.check()

    deaths = deployed.workers.deaths
    assert len(deaths) >= KILLS + len(ISSUERS)
    assert {death.status for death in deaths} == {-signal.SIGKILL}, deaths


async def test_workers_told_to_stop(deployed: Deployment, chance: random.Random) -> None:
    await deployed.all_work()
    for name in (*ISSUERS, GENERATOR):
        await deployed.load.answers(more=chance.randrange(20, 200))
        assert await deployed.workers.terminate(name) == 0

    # Also those that wait for their partitions, which they can't have until a killed one's session has timed out.
    await deployed.all_work()
    for name in (ISSUERS[0], GENERATOR):
        deployed.workers.send(name, signal.SIGKILL)
    await deployed.started_ones_wait_for_dead_ones()
    statuses = await asyncio.gather(*(deployed.workers.terminate(name) for name in (*ISSUERS, GENERATOR)))
    assert statuses == [0] * len(statuses)
    await deployed.check()


async def test_frozen_issuers(deployed: Deployment, chance: random.Random) -> None:
    workers, load = deployed.workers, deployed.load
    # The requests of the frozen ones wait, and there are to be some for the others.
    load.waiting_max = WAITING_MAX_FROZEN
    await deployed.all_work()
    name = await faults.freeze_in_claim(deployed, chance)
    await load.answers(more=200)
    await asyncio.sleep(SHORT_FREEZE_S)
    workers.send(name, signal.SIGCONT)
    await load.answered_so_far()

    # Two that wake up after their partitions went to the third, one of them in the middle of its transaction.
    frozen = [await faults.freeze_in_claim(deployed, chance)]
    frozen.append(chance.choice([other for other in ISSUERS if other not in frozen]))
    workers.send(frozen[1], signal.SIGSTOP)
    await load.answered_so_far()
    for one in frozen:
        workers.send(one, signal.SIGCONT)
    await load.answers(more=200)
    await deployed.check()
    assert workers.deaths == []


async def test_postgres_goes_away(deployed: Deployment, servers: Servers, chance: random.Random) -> None:
    for _ in range(BACKENDS_KILLED):
        await deployed.load.answers(more=chance.randrange(20, 100))
        await faults.kill_backends(deployed, chance)
    await deployed.load.answers(more=100)

    assert servers.postgres.child is not None
    await servers.postgres.child.stop(signal.SIGQUIT)
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(deployed.database_url)
    await servers.postgres.start()
    await deployed.load.answers(more=500)
    await deployed.check()
    assert deployed.workers.deaths == [], "a worker needed help to get over it"
