"""One deployment with proxies in front: Postgres with a standby, Kafka, and supervised workers that are restarted."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres.migrations import migrate
from services.standalone.kafka_config import Listener
from services.standalone.ports import LOOPBACK, free_port
from tests.support import consumer_groups
from tests.support.remote_server import remote_server
from tests.support.worker_processes import Workers
from torture import brokers as kafka_brokers
from torture.brokers import Brokers
from torture.campaign import create_programs
from torture.load import Load
from torture.patroni import Patroni, patroni
from torture.postgres import Pair
from torture.proxy import Proxy, proxied
from torture.receiver import Receiver, subscribe
from torture.service import Service

PREFIX: Final = "faults."
ISSUERS: Final = ("issuer-1", "issuer-2", "issuer-3")
GENERATORS: Final = ("generator-1", "generator-2")
# One of them works, and the other waits for its end.
LIFECYCLES: Final = ("lifecycle-1", "lifecycle-2")
_DISK_SIZE: Final = "3g"
_BROKER_DISK_SIZE: Final = "512m"
_POLL_S: Final = 0.05

Layout: TypeAlias = Literal["one machine", "three brokers", "Patroni"]
"""Each server once, and a standby that faults make; or a cluster of Kafka; or one of Postgres."""


class Site:
    """The deployment that faults are injected into."""

    def __init__(
        self, directory: Path, database: Pair | Patroni, brokers: Brokers, postgres: Proxy, kafka: Proxy,
        service: Service,
    ) -> None:  # fmt: skip
        self.directory = directory
        self._database = database
        self.brokers = brokers
        self.postgres = postgres
        """The proxy between the workers and Postgres."""
        self.kafka = kafka
        """The proxy between the workers and Kafka."""
        self.service = service
        self.receiver = Receiver()
        self.workers = Workers(directory, {})
        self.load: Load | None = None
        self.kills = 0
        self.deaths_at_points = 0
        self.failovers = 0
        self.upgrade_pauses_s: list[float] = []
        """The longest time without an answer in each rolling upgrade (s)."""
        self.has_small_disk = False
        # Server restarts are exclusive: one fault at a time holds this.
        self.postgres_in_hand = asyncio.Lock()
        self.kafka_in_hand = asyncio.Lock()

    @property
    def bootstrap(self) -> str:
        """Kafka without the proxy, for clients that no fault affects."""
        return self.brokers.bootstrap

    @property
    def pair(self) -> Pair:
        """Postgres in the layouts without Patroni."""
        assert isinstance(self._database, Pair)
        return self._database

    @property
    def patroni(self) -> Patroni:
        """Postgres in the layout with Patroni."""
        assert isinstance(self._database, Patroni)
        return self._database

    def postgres_url(self) -> str:
        """Postgres without the proxy, for clients that no fault affects; a fail-over changes it."""
        return self._database.url

    def environment(self) -> dict[str, str]:
        """The settings of a worker. Small batches keep workers busy, so that a fault at any moment hits some step."""
        of_cluster = {
            "CODEWELL_KAFKA_BOOTSTRAP": self.bootstrap,
            # All read from one broker, so that it is a follower of most partitions.
            "CODEWELL_KAFKA_CLIENT_RACK": kafka_brokers.rack_of(2),
        }
        through_proxy = {"CODEWELL_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.kafka.port}"}
        return {
            **(of_cluster if len(self.brokers.ids) > 1 else through_proxy),
            "CODEWELL_TOPIC_PREFIX": PREFIX,
            "CODEWELL_BATCH_SIZE_MAX": "8",
            "CODEWELL_SWEEP_INTERVAL_S": "0.5",
            "CODEWELL_REMOTE_ALLOW": "127.0.0.0/8",
            "CODEWELL_REMOTE_TIMEOUT_S": "1",
            "CODEWELL_REMOTE_WAIT_S": "5",
            "CODEWELL_WEBHOOK_TIMEOUT_S": "1",
            "CODEWELL_HEALTH_PORT": "-1",
        }

    def of_service(self) -> dict[str, dict[str, str]]:
        """The settings of each service: its database role's URL, through the proxy."""
        parts = urlsplit(self.postgres_url())
        hosts = f"{LOOPBACK}:{self.postgres.port}"
        if isinstance(self._database, Patroni):
            # All of them: the workers find the one that takes writes.
            hosts = parts.netloc.rpartition("@")[2]
        behind = parts._replace(netloc=f"{parts.username}:{parts.password}@{hosts}", query="")
        urls = {
            service: urlunsplit(behind._replace(query=f"role=codewell_{service}"))
            for service in ("issuer", "generator")
        }
        # Reading the log needs an attribute of the user, which no role hands on.
        urls["lifecycle"] = urlunsplit(behind)
        return {service: {"CODEWELL_POSTGRES_URL": url} for service, url in urls.items()}

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
        await self.brokers.end(1, signal.SIGKILL)
        await self.brokers.begin(1)

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
    directory: Path, chance: random.Random, variables: Mapping[str, str], sql: Iterable[str] = (),
    layout: Layout = "one machine",
) -> AsyncIterator[Site]:  # fmt: skip
    """Run servers, programs and workers during the block. `variables` and `sql` change the workers and the database."""
    async with AsyncExitStack() as stack:
        # When root runs this, Postgres runs as another user.
        directory.chmod(0o755)
        service = Service(chance)
        served = await stack.enter_async_context(remote_server(service))
        disk = await _small_disk(stack, directory / "disk", _DISK_SIZE)
        database = await _database(stack, directory / "disk", layout)
        inner = free_port()
        kafka = await stack.enter_async_context(proxied(LOOPBACK, inner, chance))
        postgres = await stack.enter_async_context(proxied(LOOPBACK, 0, chance))
        if layout == "three brokers":
            folders = [directory / f"kafka-{number}" for number in range(1, kafka_brokers.COUNT + 1)]
            disk = await _small_disk(stack, folders[-1], _BROKER_DISK_SIZE)
            brokers = await stack.enter_async_context(kafka_brokers.cluster(folders))
        else:
            listener = Listener("PROXIED", inner, kafka.port)
            brokers = await stack.enter_async_context(kafka_brokers.alone(directory / "kafka", listener, free_port()))
        site = Site(directory, database, brokers, postgres, kafka, service)
        site.has_small_disk = disk
        if layout != "Patroni":
            site.follow()
        await create_topics(site.bootstrap, PREFIX)
        connection = await asyncpg.connect(site.postgres_url())
        try:
            await migrate(connection)
            await create_programs(connection, site.bootstrap, PREFIX, served.url)
            receiving = await stack.enter_async_context(remote_server(site.receiver))
            await subscribe(connection, receiving.url)
            for statement in sql:
                await connection.execute(statement)
        finally:
            await connection.close()
        (directory / "workers").mkdir()
        site.workers = Workers(directory / "workers", site.environment() | dict(variables), site.of_service())
        stack.push_async_callback(site.workers.close)
        await site.workers.start(*ISSUERS, *GENERATORS, *LIFECYCLES)
        yield site


async def _database(stack: AsyncExitStack, directory: Path, layout: Layout) -> Pair | Patroni:
    if layout == "Patroni":
        return await stack.enter_async_context(patroni(directory))
    pair = Pair(directory)
    stack.push_async_callback(pair.close)
    await pair.open()
    return pair


async def _small_disk(stack: AsyncExitStack, directory: Path, size: str) -> bool:
    """Make the directory; whether a small file system is mounted there, which a fault can fill."""
    directory.mkdir()
    if os.geteuid() != 0:
        return False
    if await _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "codewell-faults", str(directory)):
        return False
    stack.push_async_callback(_run, "umount", "--lazy", str(directory))
    return True


async def _run(*words: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()
