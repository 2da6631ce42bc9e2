"""One deployment with proxies in front: Postgres with a standby, Kafka, and supervised workers that are restarted."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres.migrations import migrate
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings, Listener
from services.standalone.ports import LOOPBACK, free_port
from tests.support import consumer_groups
from tests.support.remote_server import remote_server
from tests.support.worker_processes import Workers
from torture.campaign import create_programs
from torture.load import Load
from torture.postgres import Pair
from torture.proxy import Proxy, proxied
from torture.service import Service

PREFIX: Final = "faults."
ISSUERS: Final = ("issuer-1", "issuer-2", "issuer-3")
GENERATORS: Final = ("generator-1", "generator-2")
_DISK_SIZE: Final = "3g"
_POLL_S: Final = 0.05


class Site:
    """The deployment that faults are injected into."""

    def __init__(
        self, directory: Path, pair: Pair, broker: KafkaBroker, postgres: Proxy, kafka: Proxy, service: Service
    ) -> None:
        self.directory = directory
        self.pair = pair
        self.broker = broker
        self.postgres = postgres
        """The proxy between the workers and Postgres."""
        self.kafka = kafka
        """The proxy between the workers and Kafka."""
        self.service = service
        self.workers = Workers(directory, {})
        self.load: Load | None = None
        self.kills = 0
        self.deaths_at_points = 0
        self.has_small_disk = False
        # Server restarts are exclusive: one fault at a time holds this.
        self.postgres_in_hand = asyncio.Lock()
        self.kafka_in_hand = asyncio.Lock()

    @property
    def bootstrap(self) -> str:
        """Kafka without the proxy, for clients that no fault affects."""
        return self.broker.bootstrap

    def postgres_url(self) -> str:
        """Postgres without the proxy, for clients that no fault affects; a fail-over changes it."""
        return self.pair.primary.url

    def environment(self) -> dict[str, str]:
        """The settings of a worker. Small batches keep workers busy, so that a fault at any moment hits some step."""
        return {
            "CODEWELL_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.kafka.port}",
            "CODEWELL_TOPIC_PREFIX": PREFIX,
            "CODEWELL_BATCH_SIZE_MAX": "8",
            "CODEWELL_SWEEP_INTERVAL_S": "0.5",
            "CODEWELL_REMOTE_ALLOW": "127.0.0.0/8",
            "CODEWELL_REMOTE_TIMEOUT_S": "1",
            "CODEWELL_REMOTE_WAIT_S": "5",
            "CODEWELL_HEALTH_PORT": "-1",
        }

    def of_service(self) -> dict[str, dict[str, str]]:
        """The settings of each service: its database role's URL, through the proxy."""
        parts = urlsplit(self.postgres_url())
        behind = parts._replace(netloc=f"{parts.username}:{parts.password}@{LOOPBACK}:{self.postgres.port}")
        return {
            service: {"CODEWELL_POSTGRES_URL": urlunsplit(behind._replace(query=f"role=codewell_{service}"))}
            for service in ("issuer", "generator")
        }

    def lead_to(self, url: str) -> None:
        """Route new connections of the workers to this server."""
        self.postgres.target = (LOOPBACK, urlsplit(url).port or 0)

    def follow(self) -> None:
        """Route new connections to the current primary."""
        self.lead_to(self.postgres_url())

    async def issuers_work(self, timeout_s: float = 10.0) -> bool:
        """Wait until each issuer has its partitions; False after the timeout, as under another fault."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    group = await consumer_groups.described(self.bootstrap, PREFIX + consumer_groups.ISSUER)
                    if group.state == "Stable" and len(group.member_ids) == len(ISSUERS):
                        return True
                    await asyncio.sleep(_POLL_S)
        except (TimeoutError, StackUnavailable):
            return False

    async def kill(self, name: str, chance: random.Random, failpoint: str | None = None) -> None:
        """Kill a worker; its successor has a failpoint armed, if one is given.

        Usually the dead member is removed from its group at once, as the session timeout would take most of the time.
        All members of the group are removed, so that the living ones are fenced in the middle of a batch.
        """
        group = PREFIX + (consumer_groups.ISSUER if name in ISSUERS else consumer_groups.GENERATOR)
        told = name in ISSUERS and chance.random() < 0.9
        members: list[str] = []
        if told:
            with suppress(StackUnavailable, KafkaError, OSError):
                members = (await consumer_groups.described(self.bootstrap, group)).member_ids
        if failpoint is not None:
            self.workers.at_next_start[name] = {"CODEWELL_FAILPOINTS": failpoint}
        self.workers.kill(name)
        self.kills += 1
        if members:
            with suppress(StackUnavailable, KafkaError, OSError):
                await consumer_groups.evict(self.bootstrap, group, members)

    async def restart_postgres(self, number: signal.Signals) -> None:
        """Kill the primary with a signal and restart it, as its supervisor does."""
        await self.pair.kill(number)
        await self.pair.primary.start()
        self.follow()

    async def restart_kafka(self) -> None:
        """Kill the broker and restart it on its log."""
        assert self.broker.child is not None
        await self.broker.child.stop(signal.SIGKILL)
        await self.broker.start()

    async def run_sql(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement at the primary, without the proxies."""
        connection = await asyncpg.connect(self.postgres_url(), timeout=10)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return rows
        finally:
            await connection.close()


@asynccontextmanager
async def running_site(
    directory: Path, chance: random.Random, variables: Mapping[str, str], sql: Iterable[str] = ()
) -> AsyncIterator[Site]:
    """Run servers, programs and workers during the block. `variables` and `sql` change the workers and the database."""
    async with AsyncExitStack() as stack:
        # When root runs this, Postgres runs as another user.
        directory.chmod(0o755)
        service = Service(chance)
        served = await stack.enter_async_context(remote_server(service))
        disk = directory / "disk"
        disk.mkdir()
        has_small_disk = await _mounted(disk)
        if has_small_disk:
            stack.push_async_callback(_run, "umount", "--lazy", str(disk))
        pair = Pair(disk)
        stack.push_async_callback(pair.close)
        await pair.open()
        inner = free_port()
        kafka = await stack.enter_async_context(proxied(LOOPBACK, inner, chance))
        postgres = await stack.enter_async_context(proxied(LOOPBACK, 0, chance))
        home = await Home.open(directory / "kafka")
        stack.callback(home.close)
        broker = KafkaBroker(home, KafkaSettings(port=free_port(), listeners=(Listener("PROXIED", inner, kafka.port),)))
        stack.push_async_callback(broker.stop)
        await broker.start()
        site = Site(directory, pair, broker, postgres, kafka, service)
        site.has_small_disk = has_small_disk
        site.follow()
        await create_topics(site.bootstrap, PREFIX, 1)
        connection = await asyncpg.connect(site.postgres_url())
        try:
            await migrate(connection)
            await create_programs(connection, site.bootstrap, PREFIX, served.url)
            for statement in sql:
                await connection.execute(statement)
        finally:
            await connection.close()
        (directory / "workers").mkdir()
        site.workers = Workers(directory / "workers", site.environment() | dict(variables), site.of_service())
        stack.push_async_callback(site.workers.close)
        await site.workers.start(*ISSUERS, *GENERATORS)
        yield site


async def _mounted(directory: Path) -> bool:
    """Whether a small file system can be mounted there, which a fault can fill."""
    if os.geteuid() != 0:
        return False
    done = await _run("mount", "-t", "tmpfs", "-o", f"size={_DISK_SIZE},mode=755", "codewell-faults", str(directory))
    return done == 0


async def _run(*words: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()
