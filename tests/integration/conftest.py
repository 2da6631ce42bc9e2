"""Each test has its own topics, and leaves nothing behind."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.topics import TOPICS
from services.postgres.connection import Pool, pool

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
