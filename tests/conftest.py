"""One Postgres and one Kafka for all tests of a session, in a home of their own."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.postgres import TESTS, PostgresServer

IN_CONTAINERS = os.environ.get("CODEWELL_TEST_CONTAINERS") == "1"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack_home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    home = await Home.open(tmp_path_factory.mktemp("home"))
    yield home
    home.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(stack_home: Home) -> AsyncIterator[str]:
    if IN_CONTAINERS:
        from tests.containers import postgres_container

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
        from tests.containers import kafka_container

        container, bootstrap = kafka_container()
        with container:
            yield bootstrap
        return
    broker = KafkaBroker(stack_home)
    try:
        yield await broker.start()
    finally:
        await broker.stop()
