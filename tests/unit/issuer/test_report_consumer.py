"""What the consume loop for reports does between its batches."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from aiokafka import ConsumerRecord, TopicPartition

from codewell.infra.postgres.connection import Pool
from codewell.infra.telemetry.health import Health
from services.issuer.batch import DecodedBatch
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.offsets import OffsetCommitter
from services.issuer.prefetcher import FetchedPartition
from services.issuer.report_consumer import ReportConsumer
from services.issuer.report_events import ReportedEvent
from services.issuer.report_handler import SETTLED, Outcome, Reply
from services.issuer.settings import IssuerSettings

A = TopicPartition("orders", 0)


class Handler:
    topic = "orders"
    retry_delay_s = 0.0

    async def settle(self, _: object, events: Sequence[ReportedEvent]) -> Sequence[Outcome]:
        return [_break if one.structured else SETTLED for one in events]


class Site:
    """What the loop is given: a pool, a publisher that takes as long as the test wants, and offsets."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.processed: list[int] = []
        self.dead: list[str] = []

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        yield None

    async def flush(self) -> None:
        await self.goes_on.wait()

    def dead_letter(self, _: object, why: Any, *, answered: bool) -> None:
        assert not answered
        self.dead.append(why.reason)

    async def mark_processed(self, offsets: dict[TopicPartition, int]) -> None:
        self.processed.append(offsets[A])


def _break() -> Reply:
    raise KeyError


async def process(loop: ReportConsumer, site: Site, offset: int, *, breaks: bool = False) -> bool:
    record = ConsumerRecord("orders", 0, offset, 0, 0, None, b"", None, 0, 0, ())
    batch = DecodedBatch([ReportedEvent(cast("Any", None), record, breaks, cast("Any", None))], [])
    parts = [FetchedPartition(A, batch, offset, 0)]
    return await loop._process(parts, cast("OffsetCommitter", site), cast("BatchPublisher", site))


def made(site: Site) -> ReportConsumer:
    settings = IssuerSettings(postgres_url="postgresql://localhost", kafka_bootstrap="localhost:1")
    return ReportConsumer(Handler(), settings, cast("Pool", site), Health(), asyncio.Event(), retries=False)


async def test_a_batch_is_settled_while_the_one_before_it_is_published_and_no_rebalance_comes_between() -> None:
    site = Site()
    loop = made(site)
    async with asyncio.timeout(5):
        assert await process(loop, site, 1)
        second = asyncio.create_task(process(loop, site, 2))
        revoking = asyncio.create_task(loop._await_batch())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not revoking.done()
        assert site.processed == []
        site.goes_on.set()
        assert await second
        await revoking
        await loop._await_publish()
    assert site.processed == [1, 2]


async def test_an_answer_that_cannot_be_made_stops_no_other() -> None:
    site = Site()
    site.goes_on.set()
    loop = made(site)
    assert await process(loop, site, 1, breaks=True)
    await asyncio.wait_for(loop._await_publish(), 5)
    assert (site.dead, site.processed) == (["undecidable"], [1])
