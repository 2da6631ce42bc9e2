"""Reports on messages over Kafka: each is answered once, copies alike, and none is lost."""

import json
from uuid import UUID, uuid4

import pytest

from codewell.audit.promises import audit
from codewell.client.exchange import OutgoingRequest
from services.issuer.receipts import ReceiptHandler
from tests.support.client_faults import Outage, until_committed
from tests.support.sender_records import STRUCTURED, answered, copies, data_of, message, messages
from tests.support.site import Site

TOPIC, REPLY, RETRY, DLQ = "delivery", "delivery.reply", "delivery.retry", "delivery.dlq"
GROUP = "codewell-issuer-delivery"


def failed(request_id: UUID, profile_id: str, stage: str = "before_handoff", **data: object) -> OutgoingRequest:
    """A report that the message of a request failed."""
    given = {"request_id": str(request_id), "profile_id": profile_id, "stage": stage, "reason": "bounced", **data}
    return report("send-failed", given)


def delivered(request_id: UUID, profile_id: str) -> OutgoingRequest:
    return report("send-delivered", {"request_id": str(request_id), "profile_id": profile_id, "stage": "delivered"})


def report(kind: str, data: dict[str, object]) -> OutgoingRequest:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_source": "/test",
        "ce_type": f"dev.codewell.{kind}.v1",
    }
    return OutgoingRequest(
        uuid4(), TOPIC, str(data["profile_id"]).encode(), json.dumps(data).encode(),
        [(name, text.encode()) for name, text in headers.items()],
    )  # fmt: skip


async def test_receipts_are_answered_and_copies_alike(site: Site) -> None:
    await site.program("A", 30)
    await site.program("B", 30)
    requests = [message(f"p-{number}", "A", "B") for number in range(10)]
    async with site.issuer():
        await site.publish(requests)
        answered(requests, await site.came("message-render.reply", 10))
        reports = [failed(one.request_id, f"p-{number}") for number, one in enumerate(requests[:4])]
        reports += [failed(one.request_id, f"p-{4 + n}", "after_handoff") for n, one in enumerate(requests[4:7])]
        reports += [delivered(one.request_id, f"p-{7 + n}") for n, one in enumerate(requests[7:])]
        await site.publish(reports)
        replies = await site.came(REPLY, 10)
        await site.publish(reports)
        twice = await site.came(REPLY, 20)
    assert len(replies) == 20
    assert all(len(one) == 1 for one in copies(twice).values())
    of = {data_of(one)["request_id"]: data_of(one) for one in twice}
    found = [
        [(code["program"], code["outcome"], code["reason"]) for code in of[str(one.request_id)]["codes"]]
        for one in requests
    ]
    both = [[(program, *ended) for program in "AB"] for ended in (
        ("returned", "before_handoff"), ("quarantined", "after_handoff"), ("kept", "delivered"),
    )]  # fmt: skip
    assert found == [both[0]] * 4 + [both[1]] * 3 + [both[2]] * 3
    for name in "AB":
        stock = await site.stock(name)
        assert (stock.pooled, stock.attached) == (24, 6)
    assert await audit(site.database) == []


async def test_what_cannot_be_read_or_known_is_neither_lost_nor_in_the_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReceiptHandler, "retry_delay_s", 0.2)
    await site.program("A", 10)
    [request] = messages(1, "A")
    unread = [
        report(
            "send-failed", {"request_id": "no", "profile_id": "p-0", "stage": "before_handoff", "reason": "bounced"}
        ),
        report("send-lost", {"profile_id": "p-0"}),
        failed(request.request_id, "p-0", reason="whatever"),
    ]
    structured = failed(request.request_id, "p-0")
    headers = {name.removeprefix("ce_"): value.decode() for name, value in structured.headers}
    event = {**headers, "data": json.loads(structured.value)}
    structured = structured._replace(value=json.dumps(event).encode(), headers=[("content-type", STRUCTURED)])
    async with site.issuer():
        # Before the request: the report waits for it in the retry topic.
        await site.publish([*unread, structured], 0)
        letters = await site.came(DLQ, 3)
        await site.came(RETRY, 1)
        await site.publish([request])
        [reply] = await site.came(REPLY, 1)
        await until_committed(site, TOPIC, GROUP)
        await until_committed(site, RETRY, f"{GROUP}-retry")
    reasons = [dict(one.headers)["codewell_reason"] for one in letters]
    assert reasons == [b"invalid_event", b"unknown_type", b"invalid_event"]
    assert [one.value for one in letters] == [one.value for one in unread]
    assert [code["outcome"] for code in data_of(reply)["codes"]] == ["returned"]
    assert dict(reply.headers)["content-type"].startswith(b"application/cloudevents+json")
    assert (await site.stock("A")).attached == 0
    assert await audit(site.database) == []


async def test_i3_no_batch_of_receipts_passes_the_one_before_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next batch is settled while the one before is being sent, and that one fails."""
    outage = Outage(monkeypatch)
    await site.program("A", 40)
    requests = [message(f"p-{number}", "A") for number in range(40)]
    reports = [failed(one.request_id, f"p-{number}") for number, one in enumerate(requests)]
    async with site.issuer(batch_size_max=4):
        await site.publish(requests)
        await site.came("message-render.reply", 40)
        outage.begin(sends=1)
        await site.publish(reports, 1)
        replies = await site.came(REPLY, 40)
        await until_committed(site, TOPIC, GROUP)
    sent = copies(replies)
    assert {data_of(one)["request_id"] for one in replies} == {str(one.request_id) for one in requests}
    assert all(len(different) == 1 for different in sent.values())
    assert (await site.stock("A")).attached == 0
    assert await audit(site.database) == []
