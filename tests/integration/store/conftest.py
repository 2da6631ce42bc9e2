"""Two workers on one database, and a database to which no migration came yet."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from services.postgres.connection import Connection, Pool
from services.store.claim import Claims
from services.store.minters import Minters
from tests.conftest import with_database


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
