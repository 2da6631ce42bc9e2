"""The site of the workers' tests, here too, and consoles that need no Kafka."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from codewell.infra.postgres.connection import Pool, pool
from services.console.http import auth
from services.console.pages import sign_ins
from tests.integration.issuer.conftest import site
from tests.support.consoles import Consoles
from tests.support.servers import as_role

__all__ = ["site"]


@pytest.fixture
async def consoles(connections: Pool, database_url: str) -> AsyncIterator[Consoles]:
    async with AsyncExitStack() as stack, pool(as_role(database_url, "console"), "codewell-test", 8) as own:
        yield Consoles(own, connections, stack)


@pytest.fixture
def no_token_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed of tokens and sessions holds at once."""
    monkeypatch.setattr(sign_ins, "CACHE_TTL_S", 0.0)
    monkeypatch.setattr(auth, "CACHE_TTL_S", 0.0)
