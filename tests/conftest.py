"""One Postgres and one Kafka for all tests of a session; each test has its own database, cloned from a migrated one."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from codewell.infra.postgres.migrations import migrate
from codewell.pool.minter_cache import Minters
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.postgres import TESTS, PostgresServer

_TEMPLATE = "codewell_template"
_numbers = itertools.count(1)

IN_CONTAINERS = os.environ.get("CODEWELL_TEST_CONTAINERS") == "1"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack_home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    home = await Home.open(tmp_path_factory.mktemp("home"))
    yield home
    home.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(stack_home: Home) -> AsyncIterator[str]:
    if IN_CONTAINERS:
        from tests.support.containers import postgres_container

        with postgres_container() as container:
            yield container.get_connection_url()
        return
    server = PostgresServer(stack_home, TESTS)
    try:
        yield await server.start()
    finally:
        await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_bootstrap(stack_home: Home) -> AsyncIterator[str]:
    if IN_CONTAINERS:
        from tests.support.containers import kafka_container

        container, bootstrap = kafka_container()
        with container:
            yield bootstrap
        return
    broker = KafkaBroker(stack_home)
    try:
        yield await broker.start()
    finally:
        await broker.stop()


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def as_role(url: str, role: str) -> str:
    """The same database with no more rights than one of the services' roles has."""
    return urlunsplit(urlsplit(url)._replace(query=f"role=codewell_{role}"))


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
def minters() -> Minters:
    return Minters(None)
