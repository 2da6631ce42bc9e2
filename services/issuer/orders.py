"""Settles what the shop says about orders. Its events get no answer; GET /orders/{order_id} says what they did."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter

from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from codewell.redemption.orders import OrderEvent, settle
from codewell.usage.tally import UsageTally
from schemas import topics
from schemas.reports import OrderChanged
from services.issuer.report_events import ReportedEvent
from services.issuer.report_handler import SETTLED, Outcome

ORDER_CODES: Final = Counter("codewell_order_codes", "Codes of orders that an event changed, by outcome.", ["outcome"])
for _outcome in ("used", "ended", "refused"):
    ORDER_CODES.labels(_outcome)


class OrderHandler:
    """Settles events of orders. `usage` gets the codes that were used, once that is committed."""

    topic = topics.ORDERS
    retry_delay_s = 0.0

    def __init__(self, minters: Minters, usage: UsageTally) -> None:
        self._minters = minters
        self._usage = usage

    async def settle(self, connection: Connection, events: Sequence[ReportedEvent]) -> list[Outcome]:
        """Settle a batch. No event waits."""
        for program_id, outcome in await settle(connection, self._minters, [_order(one) for one in events]):
            ORDER_CODES.labels(outcome).inc()
            if outcome == "used":
                self._usage.count(program_id, "activated")
        return [SETTLED] * len(events)


def _order(reported: ReportedEvent) -> OrderEvent:
    event = reported.event
    if not isinstance(event, OrderChanged):
        raise TypeError("no event of an order")
    return OrderEvent(event.order_id, event.state, event.at)
