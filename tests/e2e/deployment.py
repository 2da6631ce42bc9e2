"""A deployment for one test: its own database, topics and programs on the Postgres and the Kafka of the module."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from schemas.program import Program
from services.kafka.topics import create_topics
from services.postgres.migrations import migrate
from services.standalone.servers import Servers
from tests.e2e import consumer_groups, verdict
from tests.e2e.campaign import create_programs
from tests.e2e.load import HEAL_TIMEOUT_S, Load, read_all, reply_topics, retry_topics, running_load
from tests.e2e.workers import Workers, running_workers

_POLL_S = 0.05

ISSUERS = ("issuer-1", "issuer-2", "issuer-3")
GENERATOR = "generator-1"
ALL = (*ISSUERS, GENERATOR)


@dataclass(frozen=True)
class Deployment:
    """Where a test's workers do their work."""

    database_url: str
    bootstrap: str
    prefix: str
    programs: dict[str, Program]
    workers: Workers
    load: Load

    @property
    def env(self) -> dict[str, str]:
        """The settings of a process that works here."""
        return settings(self.database_url, self.bootstrap, self.prefix)

    async def issuers_work(self) -> None:
        """Wait until each issuer has its partitions and requests are being answered."""
        await self._group_is(consumer_groups.ISSUER, "Stable", len(ISSUERS))
        await self.load.answers(more=20)

    async def all_work(self) -> None:
        """Wait until the generator reads its topics too."""
        await self._group_is(consumer_groups.GENERATOR, "Stable", 1)
        await self.issuers_work()

    async def started_ones_wait_for_dead_ones(self) -> None:
        """Wait until an issuer and a generator that were started in place of killed ones ask for their partitions."""
        await self._group_is(consumer_groups.ISSUER, "PreparingRebalance", len(ISSUERS) + 1)
        await self._group_is(consumer_groups.GENERATOR, "PreparingRebalance", 2)

    async def _group_is(self, name: str, state: str, members: int) -> None:
        deadline = time.monotonic() + HEAL_TIMEOUT_S
        while True:
            group = await consumer_groups.described(self.bootstrap, self.prefix + name)
            if group.state == state and len(group.member_ids) == members:
                return
            assert time.monotonic() < deadline, f"{name} is not {state} with {members} members: {group}"
            await asyncio.sleep(_POLL_S)

    async def check(self) -> None:
        """Let the load end, and check all promises."""
        await self.load.finish()
        await verdict.check_offsets(self.bootstrap, self.prefix)
        answers = verdict.answers_by_request(await read_all(self.bootstrap, reply_topics(self.prefix)))
        verdict.check_codes(verdict.check_answers(self.load.asked, answers))
        await verdict.check_dead_letters(self.bootstrap, self.prefix)
        await verdict.check_audit(self.env, self.workers.directory)
        copies = sum(map(len, answers.values())) - len(answers)
        assert copies >= self.load.copies_published, "a request that came twice was not answered twice"
        retries = sum((await consumer_groups.end_offsets(self.bootstrap, retry_topics(self.prefix))).values())
        sys.stdout.write(
            f"{len(answers):,} requests, {self.load.copies_published:,} published again, {copies:,} copies of "
            f"answers, {retries:,} waits in a retry topic, {len(self.workers.deaths)} deaths\n"
        )


def settings(database_url: str, bootstrap: str, prefix: str) -> dict[str, str]:
    """Small batches keep the workers busy all the time, so that any moment is one of some step's."""
    return {
        "CODEWELL_POSTGRES_URL": database_url,
        "CODEWELL_KAFKA_BOOTSTRAP": bootstrap,
        "CODEWELL_TOPIC_PREFIX": prefix,
        "CODEWELL_BATCH_SIZE_MAX": "8",
        "CODEWELL_SWEEP_INTERVAL_S": "0.5",
        "CODEWELL_HEALTH_PORT": "-1",
    }


@asynccontextmanager
async def deployment(servers: Servers, directory: Path, chance: random.Random) -> AsyncIterator[Deployment]:
    """Workers under load. Requests are being answered when the block begins."""
    name = f"e{uuid4().hex[:8]}"
    prefix = f"{name}."
    server = await asyncpg.connect(servers.postgres.url)
    await server.execute(f"CREATE DATABASE {name}")
    await server.close()
    url = urlunsplit(urlsplit(servers.postgres.url)._replace(path=f"/{name}"))
    bootstrap = servers.kafka.bootstrap
    await create_topics(bootstrap, prefix, 1)
    connection = await asyncpg.connect(url)
    await migrate(connection)
    programs = await create_programs(connection, bootstrap, prefix)
    await connection.close()
    async with (
        running_workers(directory, settings(url, bootstrap, prefix), *ALL) as workers,
        running_load(bootstrap, prefix, chance) as load,
    ):
        await load.answers(200)
        yield Deployment(url, bootstrap, prefix, programs, workers, load)
