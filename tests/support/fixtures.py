"""Fixtures of all tests: the run's servers, and a database and topics of its own for each test."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from schemas.topics import TOPICS
from tests.support import servers
from tests.support.servers import IN_CONTAINERS, with_database

PARTITIONS = 2
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers_directory(pytestconfig: pytest.Config) -> Path:
    return Path(pytestconfig.stash[servers.DIRECTORY])


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config, servers_directory: Path) -> str:
    return servers.address(servers_directory, "postgres", pytestconfig.stash[servers.RUN])


@pytest.fixture(scope="session")
def kafka_bootstrap(pytestconfig: pytest.Config, servers_directory: Path) -> str:
    return servers.address(servers_directory, "kafka", pytestconfig.stash[servers.RUN])


@pytest.fixture
def postgres_log(servers_directory: Path, postgres_url: str) -> Path:
    """The server's log; a container's is not in a file."""
    if IN_CONTAINERS:
        pytest.skip("a container's log is not in a file")
    return servers_directory / "postgres" / "logs" / "postgres.log"


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """The name of a migrated database without connections."""
    return servers.TEMPLATE


@asynccontextmanager
async def own_database(postgres_url: str) -> AsyncIterator[str]:
    """A migrated database that exists during the block. A connection that is left open fails the test."""
    name = f"codewell_{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}_{next(_numbers)}"
    server = await asyncpg.connect(postgres_url)
    # Copying the files costs a fraction of writing each page to the log.
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {servers.TEMPLATE} STRATEGY FILE_COPY")
    try:
        yield with_database(postgres_url, name)
        async with asyncio.timeout(5):
            while await server.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name):
                await asyncio.sleep(0.02)
    finally:
        await server.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1", name
        )
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


@asynccontextmanager
async def own_topics(kafka_bootstrap: str) -> AsyncIterator[str]:
    """A prefix under which all topics exist during the block, with few partitions so that a test starts fast."""
    prefix = f"t{uuid4().hex[:8]}."
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await client.start()
    try:
        made = [NewTopic(prefix + t.name, PARTITIONS, 1, topic_configs=dict(t.config)) for t in TOPICS]
        await client.create_topics(made)
        yield prefix
        await client.delete_topics([topic.name for topic in made])
    finally:
        await client.close()


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with own_database(postgres_url) as url:
        yield url


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    yield opened
    await opened.close()


@pytest.fixture
def minters() -> Minters:
    return Minters(None)


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[Pool]:
    """A connection pool as the services configure it."""
    async with pool(database_url, "codewell-test", 8) as opened:
        yield opened


@pytest.fixture
async def prefix(kafka_bootstrap: str) -> AsyncIterator[str]:
    """The prefix of topics of the test's own."""
    async with own_topics(kafka_bootstrap) as made:
        yield made


@pytest.fixture
def claims(connections: Pool, minters: Minters) -> Claims:
    """One worker's claims."""
    return Claims(connections, minters)


@pytest.fixture
def others(connections: Pool) -> Claims:
    """The claims of another worker, which share no state with the first one's."""
    return Claims(connections, Minters(None))


@pytest.fixture
async def bystander(database_url: str) -> AsyncIterator[Connection]:
    """A connection that holds locks which block the workers."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    name = f"codewell_empty_{uuid4().hex[:8]}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name}")
    try:
        yield with_database(postgres_url, name)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()
