"""Each test has its own database, cloned from a migrated one, and its own topics; and leaves nothing behind."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.topics import TOPICS
from services.postgres.connection import Pool, pool
from services.postgres.migrations import migrate
from services.store.minters import Minters

PARTITIONS = 2
_TEMPLATE = "codewell_template"
_numbers = itertools.count(1)


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database(postgres_url: str) -> str:
    """The name of a migrated database that nobody is connected to."""
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {_TEMPLATE}")
    await server.close()
    template = await asyncpg.connect(with_database(postgres_url, _TEMPLATE))
    await migrate(template)
    await template.close()
    return _TEMPLATE


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A migrated database of the test's own. A connection that is left open fails the test."""
    name = f"codewell_{next(_numbers)}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    try:
        yield with_database(postgres_url, name)
        async with asyncio.timeout(5):
            while await server.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name):
                await asyncio.sleep(0.02)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    yield opened
    await opened.close()


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[Pool]:
    """A pool as the services have it."""
    async with pool(database_url, "codewell-test", 8) as opened:
        yield opened


@pytest.fixture
def minters() -> Minters:
    return Minters(None)


@pytest.fixture
async def prefix(kafka_bootstrap: str) -> AsyncIterator[str]:
    """A prefix under which all topics are there, with few partitions so that a test starts fast."""
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
