"""What takes the database longer than a statement may take is decided in parts, not as a whole again and again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.telemetry.health import Health
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from services.issuer.batch import BatchProcessor, DecodedBatch
from services.issuer.part_sizes import PartSizes
from services.issuer.report_consumer import ReportConsumer
from services.issuer.report_handler import SETTLED
from tests.support.factories import OFF, message, plain, program
from tests.support.records import decoder

EVENTS = 600
LIMIT_S = 30.0
# Each answer takes a millisecond and a bit.
SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END';
    CREATE TRIGGER slow BEFORE INSERT ON answer FOR EACH ROW EXECUTE FUNCTION slow()
    """


@pytest.fixture
async def impatient(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    monkeypatch.setattr(postgres, "WORKER_COMMAND_TIMEOUT_S", 0.4)
    async with postgres.pool(database_url, "codewell-test", 2) as opened:
        yield opened


async def test_i7_requests_are_answered(connection: Connection, impatient: Pool, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, EVENTS, None)
    await connection.execute(SLOW)
    requests = [plain(message("SPRING", profile_id=f"p-{number}")) for number in range(EVENTS)]
    received: Any = [SimpleNamespace(request=request) for request in requests]
    claims = Claims(impatient, minters)
    processor = BatchProcessor("issue", decoder(), impatient, claims, Health(), asyncio.Event())

    claimed = await asyncio.wait_for(processor.decide(DecodedBatch(received, [])), LIMIT_S)

    assert claimed is not None
    given = [claimed.rows_of(request.id) for request in requests]
    assert len({(row.block_id, row.position) for rows in given for row in rows or []}) == EVENTS
    assert await audit(connection) == []


async def test_i7_reports_are_settled(impatient: Pool) -> None:
    class Handler:
        topic = "orders"
        retry_delay_s = 0.0

        async def settle(self, connection: Connection, events: Sequence[object]) -> list[str]:
            await connection.execute("SELECT pg_sleep($1)", len(events) / 1_000)
            return [SETTLED] * len(events)

    handler: Any = Handler()
    settings: Any = SimpleNamespace(topic_prefix="")
    loop = ReportConsumer(handler, settings, impatient, Health(), asyncio.Event(), retries=False)
    events: Any = [object()] * EVENTS

    settled = await asyncio.wait_for(loop._settle(events), LIMIT_S)

    assert settled == dict.fromkeys(range(EVENTS), SETTLED)


def test_parts_grow_again_and_an_outage_makes_no_small_ones() -> None:
    sizes = PartSizes()
    whole = sizes.most
    sizes.were_too_many(3)
    assert sizes.most == whole
    for expected in (2_000, 1_000, 500, 250, 125, 100, 100):
        sizes.were_too_many(min(4_000, sizes.most))
        assert sizes.most == expected
    sizes.batch_decided()
    assert sizes.most == 200
    for _ in range(40):
        sizes.batch_decided()
    assert sizes.most == whole
