"""The site of the workers' tests, here too, and consoles that need no Kafka."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from services.postgres.connection import Pool
from tests.integration.console.consoles import Consoles
from tests.integration.issuer.conftest import site

__all__ = ["site"]


@pytest.fixture
async def consoles(connections: Pool) -> AsyncIterator[Consoles]:
    async with AsyncExitStack() as stack:
        yield Consoles(connections, stack)
