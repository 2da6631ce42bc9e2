"""Servers as they are elsewhere: they show certificates, and ask who is there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.standalone.home import Home
from tests.support.certificates import Authority
from tests.support.secure_kafka import SecureKafka, secure_kafka
from tests.support.secure_postgres import SecurePostgres, secure_postgres, tls_binaries


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def secure_home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    home = await Home.open(tmp_path_factory.mktemp("secure") / "home")
    yield home
    home.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka(secure_home: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecureKafka]:
    async with secure_kafka(secure_home, tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(secure_home: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecurePostgres]:
    programs = tls_binaries()
    if programs is None:
        pytest.skip("this machine has no Postgres that was built with TLS, and apt brings none")
    async with secure_postgres(programs, secure_home, tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that has issued nothing to the servers."""
    return Authority(tmp_path, "stranger")
