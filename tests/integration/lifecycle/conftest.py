"""Fixtures of the tests of the stream."""

from collections.abc import AsyncIterator

import pytest

from codewell.infra.postgres.connection import pool
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from tests.support.running import no_task_left
from tests.support.site import Site, open_site


@pytest.fixture
async def site(database_url: str, kafka_bootstrap: str, prefix: str) -> AsyncIterator[Site]:
    async with no_task_left(), open_site(database_url, kafka_bootstrap, prefix) as opened:
        yield opened


@pytest.fixture
async def claims_of(site: Site) -> AsyncIterator[Claims]:
    async with pool(site.postgres_url, "codewell-test", 4) as opened:
        yield Claims(opened, Minters(None))
