"""The fixtures of tests that run workers in this process."""

from collections.abc import AsyncIterator

import pytest

from services.issuer import prefetcher
from tests.support.running import no_task_left
from tests.support.site import Site, open_site


@pytest.fixture
async def site(
    database_url: str, kafka_bootstrap: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """A database and topics of the test's own."""
    # An issuer with nothing to do looks so often whether it is to stop, and most of these tests stop one.
    monkeypatch.setattr(prefetcher, "POLL_TIMEOUT_S", 0.1)
    async with no_task_left(), open_site(database_url, kafka_bootstrap, prefix) as opened:
        yield opened
