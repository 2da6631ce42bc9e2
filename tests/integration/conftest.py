"""Each test has its own topics, and leaves nothing behind."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from schemas.topics import TOPICS
from tests.conftest import with_database

PARTITIONS = 2


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[Pool]:
    """A pool as the services have it."""
    async with pool(database_url, "codewell-test", 8) as opened:
        yield opened


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


@pytest.fixture
def claims(connections: Pool, minters: Minters) -> Claims:
    """One worker's claims."""
    return Claims(connections, minters)


@pytest.fixture
def others(connections: Pool) -> Claims:
    """Another worker's, which knows nothing of what the first one knows."""
    return Claims(connections, Minters(None))


@pytest.fixture
async def bystander(database_url: str) -> AsyncIterator[Connection]:
    """A connection that holds locks in the workers' way."""
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
