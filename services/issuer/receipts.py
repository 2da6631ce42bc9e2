"""Settles the reports of senders about their messages: codes of failed sends come back."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from asyncpg.pgproto.pgproto import UUID
from prometheus_client import Counter

from codewell.infra.kafka.record_time import record_time
from codewell.infra.postgres.connection import Connection
from codewell.returns.answers import answer_data, receipt_answer_id
from codewell.returns.settle import Receipt, Returns, Settled
from codewell.usage.tally import UsageTally
from schemas import topics
from schemas.events import CODES_RETURNED
from schemas.reports import SendDelivered, SendFailed
from services.issuer.report_events import ReportedEvent
from services.issuer.report_handler import Outcome, Reply

RETURNS: Final = Counter("codewell_returns", "Codes of reported messages, by outcome.", ["outcome"])
for _outcome in ("returned", "quarantined", "voided", "kept"):
    RETURNS.labels(_outcome)

# A report may come before its request is decided: the request may wait for a remote service.
UNKNOWN_WAIT: Final = timedelta(hours=1)


class ReceiptHandler:
    """Settles receipts. `usage` gets what came back, once it is committed."""

    topic = topics.DELIVERY
    retry_delay_s = 20.0

    def __init__(self, returns: Returns, usage: UsageTally) -> None:
        self._returns = returns
        self._usage = usage

    async def settle(self, connection: Connection, events: Sequence[ReportedEvent]) -> list[Outcome]:
        """Settle a batch. None for a receipt whose request is unknown, and that came within the last hour."""
        receipts = [_receipt(one) for one in events]
        now = datetime.now(UTC)
        given_up = frozenset(
            receipt.request_id
            for receipt, event in zip(receipts, events, strict=True)
            if now - event.first_at > UNKNOWN_WAIT
        )
        settlement = await self._returns.settle(connection, receipts, given_up)
        for (program_id, outcome), number in settlement.outcomes.items():
            RETURNS.labels(outcome).inc(number)
            if outcome != "kept":
                self._usage.count(program_id, outcome, number=number)
        settled = map(settlement.settled.get, receipts)
        return [
            None if one is None else partial(_reply, event, receipt, one)
            for event, receipt, one in zip(events, receipts, settled, strict=True)
        ]


def _reply(event: ReportedEvent, receipt: Receipt, settled: Settled) -> Reply:
    decided_at = settled.decided_at or record_time(event.record)
    event_id, data = receipt_answer_id(receipt, settled), answer_data(receipt, settled)
    return Reply(CODES_RETURNED, event_id, decided_at, receipt.profile_id, data)


def _receipt(reported: ReportedEvent) -> Receipt:
    event = reported.event
    if not isinstance(event, SendFailed | SendDelivered):
        raise TypeError("not a receipt")
    # asyncpg's UUID takes a tenth of the time of uuid.UUID. The pattern of the event has checked the text.
    return Receipt._make((UUID(event.request_id), event.profile_id, event.kind))
