"""The groups of the tests, their servers, and a database for each test, cloned from a migrated one."""

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from services.store.minters import Minters
from tests import servers
from tests.servers import IN_CONTAINERS, with_database

__all__ = ["IN_CONTAINERS", "with_database"]

# What `make test-slow` runs: real processes, kills, faults, servers of a test's own. A path below `tests`, each.
SLOW = (
    "deploy",
    "e2e",
    "faults",
    "integration/bench",
    "integration/console/test_document.py",
    "integration/generator/test_remote_kills.py",
    "integration/healing",
    "integration/issuer/test_failover.py",
    "integration/model",
    "integration/security",
    "integration/standalone",
)
# The one of them that `make test` runs: a whole stack and the main job.
SMOKE = ("e2e/test_demo.py",)
# What measures time, which another test beside it would change; each of them is in SLOW too.
ALONE = ("e2e/test_pace.py",)

_DIRECTORY = pytest.StashKey[str]()
_RUN = pytest.StashKey[int]()
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """The process that begins the run makes the folder of its servers; pytest-xdist's workers are told of it."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    config.stash[_DIRECTORY] = given["servers"] if given else str(servers.new_directory())
    config.stash[_RUN] = given["run"] if given else os.getpid()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["servers"] = node.config.stash[_DIRECTORY]
    node.workerinput["run"] = os.getpid()


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.stash[_RUN] == os.getpid():
        servers.stop(Path(config.stash[_DIRECTORY]))
        shutil.rmtree(config.stash[_DIRECTORY])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(here)
        if _is_below(path, SLOW) and not _is_below(path, SMOKE):
            item.add_marker(pytest.mark.slow)
        if _is_below(path, ALONE):
            item.add_marker(pytest.mark.alone)


def _is_below(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


@pytest.fixture(scope="session")
def servers_directory(pytestconfig: pytest.Config) -> Path:
    return Path(pytestconfig.stash[_DIRECTORY])


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config, servers_directory: Path) -> str:
    return servers.address(servers_directory, "postgres", pytestconfig.stash[_RUN])


@pytest.fixture(scope="session")
def kafka_bootstrap(pytestconfig: pytest.Config, servers_directory: Path) -> str:
    return servers.address(servers_directory, "kafka", pytestconfig.stash[_RUN])


@pytest.fixture
def postgres_log(servers_directory: Path, postgres_url: str) -> Path:
    """What the server has said; a container's is not in a file."""
    if IN_CONTAINERS:
        pytest.skip("a container's log is not in a file")
    return servers_directory / "postgres" / "logs" / "postgres.log"


def as_role(url: str, role: str) -> str:
    """The same database with no more rights than one of the services' roles has."""
    return urlunsplit(urlsplit(url)._replace(query=f"role=codewell_{role}"))


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """The name of a migrated database that nobody is connected to."""
    return servers.TEMPLATE


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A migrated database of the test's own. A connection that is left open fails the test."""
    name = f"codewell_{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}_{next(_numbers)}"
    server = await asyncpg.connect(postgres_url)
    # Copying the files costs a fraction of writing each page to the log.
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY")
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
