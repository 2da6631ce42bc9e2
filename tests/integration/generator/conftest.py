"""The fixtures of tests that run generators in this process."""

import asyncio
from collections.abc import AsyncIterator
from types import CoroutineType

import pytest

from tests.support.running import no_task_left
from tests.support.site import Site, open_site

_FAUST_WAIT = "mode/utils/locks.py"


@pytest.fixture
async def site(database_url: str, kafka_bootstrap: str, prefix: str) -> AsyncIterator[Site]:
    """A database and topics of the test's own."""
    async with no_task_left(), open_site(database_url, kafka_bootstrap, prefix) as opened:
        yield opened
        # Whoever stops waiting for a Faust application leaves one of its waits behind, which nothing wakes up.
        for task in asyncio.all_tasks():
            coroutine = task.get_coro()
            if isinstance(coroutine, CoroutineType) and coroutine.cr_code.co_filename.endswith(_FAUST_WAIT):
                task.cancel()
