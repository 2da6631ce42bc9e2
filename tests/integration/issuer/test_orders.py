"""Events of orders over Kafka: each is settled, copies change nothing, and what is unreadable is no obstacle."""

import json
from uuid import uuid4

from codewell.audit.promises import audit
from codewell.client.exchange import OutgoingRequest
from codewell.codes.program_codes import ProgramCodes
from codewell.pool.minter_cache import Minters
from codewell.redemption import order_facts, till
from services.issuer.orders import ORDER_CODES
from tests.support.client_faults import until_committed
from tests.support.sender_records import STRUCTURED, answered, messages
from tests.support.site import Site

TOPIC, DLQ, GROUP = "orders", "orders.dlq", "codewell-issuer-orders"


def order(order_id: object, state: str, **data: object) -> OutgoingRequest:
    headers = {
        "ce_specversion": "1.0", "ce_id": str(uuid4()), "ce_source": "/shop",
        "ce_type": "dev.codewell.order-changed.v1",
    }  # fmt: skip
    value = json.dumps({"order_id": order_id, "state": state, **data}).encode()
    return OutgoingRequest(
        uuid4(), TOPIC, str(order_id).encode(), value, [(name, text.encode()) for name, text in headers.items()]
    )


async def test_events_of_orders_are_settled(site: Site) -> None:
    made = await site.program("A", 10)
    codes = ProgramCodes(site.database, Minters(None), made.id)
    requests = messages(4, "A")
    used = ORDER_CODES.labels("used")._value.get()
    async with site.issuer():
        await site.publish(requests)
        answers = answered(requests, await site.came("message-render.reply", 4))
        texts = [one["codes"][0]["code"] for one in answers]
        for number, text in enumerate(texts):
            await till.hold(codes, text, f"o-{number}")
        structured = order("o-1", "cancelled")
        attributes = {name.removeprefix("ce_"): value.decode() for name, value in structured.headers}
        event = {**attributes, "data": json.loads(structured.value)}
        structured = structured._replace(value=json.dumps(event).encode(), headers=[("content-type", STRUCTURED)])
        unread = [order("", "paid"), order("o-3", "shipped"), order("o-3", "paid", at="2026-12-01T10:00:00")]
        paid = order("o-0", "paid", at="2026-12-01T10:00:00Z", total=12)
        await site.publish([paid, *unread, structured, order("o-9", "paid"), paid], 0)
        await site.publish([order("o-2", "refunded", at="2026-12-01T10:00:00Z"), order("o-2", "paid")], 1)
        letters = await site.came(DLQ, 3)
        await until_committed(site, TOPIC, GROUP)
    assert [one.value for one in letters] == [one.value for one in unread]
    assert {dict(one.headers)["codewell_reason"] for one in letters} == {b"invalid_event"}
    found = [await order_facts.get(site.database, f"o-{number}") for number in range(4)]
    assert [(one.state, one.codes[0].state) for one in found] == [
        ("paid", "used"), ("cancelled", "released"), ("refunded", "released"), (None, "held"),
    ]  # fmt: skip
    assert ORDER_CODES.labels("used")._value.get() - used == 1
    assert await audit(site.database) == []
