"""The fixtures of tests that take something away from workers and give it back."""

import asyncio
from collections.abc import AsyncIterator
from types import CoroutineType

import pytest

from codewell.infra.postgres import connection, hosts, watch
from codewell.infra.process import lifecycle
from tests.support.running import no_task_left
from tests.support.site import Site, open_site

_FAUST_WAIT = "mode/utils/locks.py"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits on calls to Postgres as they are, in a hundredth of the time; no test depends on which ends first."""
    monkeypatch.setattr(connection, "WORKER_COMMAND_TIMEOUT_S", 1.0)
    monkeypatch.setattr(connection, "ACQUIRE_TIMEOUT_S", 2.0)
    monkeypatch.setattr(hosts, "CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(watch, "PROBE_INTERVAL_S", 0.1)
    monkeypatch.setattr(lifecycle, "_BACKOFF_MAX_S", 0.5)


@pytest.fixture
async def site(database_url: str, kafka_bootstrap: str, prefix: str, impatient: None) -> AsyncIterator[Site]:
    """A database and topics of the test's own."""
    async with no_task_left(), open_site(database_url, kafka_bootstrap, prefix) as opened:
        yield opened
        end_faust_waits()


def end_faust_waits() -> None:
    """Whoever stops waiting for a Faust application leaves one of its waits behind, which nothing wakes up."""
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        if isinstance(coroutine, CoroutineType) and coroutine.cr_code.co_filename.endswith(_FAUST_WAIT):
            task.cancel()
