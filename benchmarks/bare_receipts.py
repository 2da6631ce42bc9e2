"""The product's consumer of receipts with a handler that asks no database: its ceiling."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, cast

from asyncpg.pgproto.pgproto import UUID

from codewell.infra.config.settings import read_settings
from codewell.infra.postgres.connection import Pool
from codewell.infra.process.lifecycle import run
from codewell.infra.telemetry.health import Health
from codewell.returns.answers import answer_data, receipt_answer_id
from codewell.returns.settle import Receipt, Settled, SettledCode
from schemas import topics
from schemas.events import CODES_RETURNED
from schemas.reports import SendDelivered, SendFailed
from services.issuer.report_consumer import ReportConsumer
from services.issuer.report_events import ReportedEvent
from services.issuer.report_handler import Outcome, Reply
from services.issuer.settings import IssuerSettings

GROUP: Final = f"codewell-issuer-{topics.DELIVERY}"
_CODE: Final = SettledCode("SPRING", "smFg-2497-DMPB", "kept", "delivered", None)


class _Bare:
    topic = topics.DELIVERY
    retry_delay_s = 20.0

    async def settle(self, _: object, events: Sequence[ReportedEvent]) -> list[Outcome]:
        """Answer each event the same."""
        settled = Settled([_CODE], None, datetime.now(UTC))
        return [partial(_reply, one, settled) for one in events]


def _reply(one: ReportedEvent, settled: Settled) -> Reply:
    event = one.event
    if not isinstance(event, SendFailed | SendDelivered):
        raise TypeError("not a receipt")
    receipt = Receipt(UUID(event.request_id), event.profile_id, event.kind)
    event_id, data = receipt_answer_id(receipt, settled), answer_data(receipt, settled)
    return Reply(CODES_RETURNED, event_id, datetime.now(UTC), receipt.profile_id, data)


class _NoPool:
    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """Nothing to use."""
        yield None


async def _serve(stop: asyncio.Event) -> None:
    settings = read_settings(IssuerSettings)
    consumer = ReportConsumer(_Bare(), settings, cast("Pool", _NoPool()), Health(), stop, retries=False)
    await consumer.run()


if __name__ == "__main__":
    run(_serve, is_worker=True)
