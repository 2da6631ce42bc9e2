"""Faults that real servers show only by chance, held until the test has observed them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiokafka.errors import RequestTimedOutError

from services.issuer.batch_publisher import BatchPublisher
from tests.support.running import until
from tests.support.site import Site


class Outage:
    """Faults between a claim and its answers: the first sends hang or fail, and later ones are real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._send = BatchPublisher.flush
        self._left = 0
        self._hangs = False
        self.reached = asyncio.Event()
        outage = self

        async def send(publisher: BatchPublisher) -> None:
            if outage._left == 0:
                await outage._send(publisher)
                return
            outage._left -= 1
            outage.reached.set()
            if outage._hangs:
                await asyncio.Event().wait()
            raise RequestTimedOutError

        monkeypatch.setattr(BatchPublisher, "flush", send)

    def begin(self, sends: int, *, hangs: bool = False) -> None:
        self._left, self._hangs = sends, hangs
        self.reached.clear()

    def end(self) -> None:
        self._left = 0


@asynccontextmanager
async def stuck_claim(locker: asyncpg.Connection) -> AsyncIterator[asyncpg.transaction.Transaction]:
    """Lock what every claim writes to. A rollback of the yielded transaction, or the end of the block, releases it."""
    transaction = locker.transaction()
    await transaction.start()
    await locker.execute("LOCK TABLE answer IN SHARE MODE")
    try:
        yield transaction
    finally:
        if locker.is_in_transaction():
            await transaction.rollback()


async def until_stuck(site: Site) -> None:
    """Wait until an issuer has locked its blocks and waits for the lock of `stuck_claim`."""
    await until(site.waits_for_lock, "claim that waits for a lock")


async def until_committed(site: Site, topic: str = "message-render", group: str = "codewell-issuer") -> None:
    """Wait until the topic has no uncommitted record."""

    async def all_committed() -> bool:
        return await site.uncommitted(topic, group) == 0

    await until(all_committed, f"commit of all of {topic}")
