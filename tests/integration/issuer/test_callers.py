"""Callers that wait for a reply: on their partition, with their extensions, and also when their request is invalid."""

import json
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from prometheus_client import REGISTRY

from codewell.client.exchange import OutgoingRequest
from tests.support.sender_records import data_of, message, step, structured, with_headers
from tests.support.site import Site

ANSWERS = "campaigns.answers"


def waiting(site: Site, request: OutgoingRequest, partition: bytes | None = None) -> OutgoingRequest:
    """The request of a caller that waits in its own topic, as ReplyingKafkaTemplate of Spring sends it."""
    asked = [("kafka_replyTopic", f"{site.prefix}{ANSWERS}".encode()), ("kafka_correlationId", b"\x00\xff 7")]
    if partition is not None:
        asked.append(("kafka_replyPartition", partition))
    return with_headers(request, *asked)


def callers_topic(site: Site) -> AbstractAsyncContextManager[None]:
    return site.own_topic(f"{site.prefix}{ANSWERS}", partitions=3)


def unknown_partitions() -> float:
    return REGISTRY.get_sample_value("codewell_reply_partitions_unknown_total") or 0.0


def by_request(records: list[ConsumerRecord]) -> dict[str, ConsumerRecord]:
    return {data_of(record)["request_id"]: record for record in records}


async def test_an_answer_goes_to_the_partition_that_its_caller_reads(site: Site) -> None:
    await site.program("A", 10)
    before = unknown_partitions()
    requests = [waiting(site, message("p", "A"), bytes((0, 0, 0, partition))) for partition in (0, 1, 2)]
    as_event = waiting(site, structured(step("p", "NOBODY")), b"\0\0\0\2")
    # A topic that has no such partition gets the answer where it would be without the header.
    beyond = [waiting(site, message("p", "A"), one) for one in (b"\0\0\0\3", b"\x7f\xff\xff\xff")]
    async with callers_topic(site), site.issuer(reply_topics=f"{site.prefix}{ANSWERS}"):
        await site.publish([*requests, *beyond], 1)
        await site.publish([as_event], 0)
        replies = by_request(await site.came(ANSWERS, 6))
    assert [replies[str(one.request_id)].partition for one in requests] == [0, 1, 2]
    assert replies[str(as_event.request_id)].partition == 2
    assert [replies[str(one.request_id)].partition for one in beyond] == [1, 1]
    assert all(data_of(replies[str(one.request_id)])["outcome"] == "attached" for one in beyond)
    assert unknown_partitions() == before + 2


async def test_an_invalid_request_is_refused_to_its_caller(site: Site) -> None:
    await site.program("A", 10)
    good = waiting(site, message("p", "A"))
    without_type = good._replace(headers=[header for header in good.headers if header[0] != "ce_type"])
    no_reader = message("p", "A")._replace(value=b"{")
    wrong_partition = waiting(site, message("p", "A"), b"2")
    not_json = waiting(site, structured(message("p", "A")))._replace(value=b"\xff")
    invalid = [without_type, wrong_partition, not_json]
    async with callers_topic(site), site.issuer(reply_topics=f"{site.prefix}{ANSWERS}"):
        await site.publish([*invalid, no_reader], 1)
        letters = list(await site.came("message-render.dlq", 4))
        replies = list(await site.came(ANSWERS, 3))
        # The request that is put right is answered, under the id of its answer.
        await site.publish([good], 1)
        *_, answer = await site.came(ANSWERS, 4)
    assert data_of(answer)["outcome"] == "attached"
    reasons = {letter.value: dict(letter.headers) for letter in letters}
    for request, reply in zip(invalid, replies, strict=True):
        said = reasons[request.value] if request is not without_type else dict(letters[0].headers)
        data = data_of(reply)
        assert (data["outcome"], data["refusals"]) == (
            "refused",
            [
                {
                    "program": None,
                    "reason": "invalid_request",
                    "detail": f"{said['codewell_reason'].decode()}: {said['codewell_detail'].decode()}",
                }
            ],
        )
        assert dict(reply.headers)["kafka_correlationId"] == b"\x00\xff 7"
        assert (reply.key, reply.partition) == (request.key, 1)
    assert len({event_id(reply) for reply in [*replies, answer]}) == 4
    assert (await site.stock("A")).attached == 1


def event_id(record: ConsumerRecord) -> str:
    headers = dict(record.headers)
    found: str = headers["ce_id"].decode() if "ce_id" in headers else json.loads(record.value)["id"]
    return found


async def test_a_refusal_to_a_caller_is_the_same_again_after_a_crash(site: Site) -> None:
    bad = waiting(site, message("p", "A"))._replace(value=b"{")
    group = f"{site.prefix}codewell-issuer"
    consumer = AIOKafkaConsumer(bootstrap_servers=site.bootstrap, group_id=group, enable_auto_commit=False)
    async with callers_topic(site), consumer:
        async with site.issuer(reply_topics=f"{site.prefix}{ANSWERS}"):
            await site.publish([bad], 0)
            await site.came(ANSWERS, 1)
        # As after a crash before the commit.
        partition = TopicPartition(f"{site.prefix}message-render", 0)
        consumer.assign([partition])
        await consumer.commit({partition: 0})
        async with site.issuer(reply_topics=f"{site.prefix}{ANSWERS}"):
            replies = await site.came(ANSWERS, 2)
    first, again = replies
    assert (first.value, first.headers, first.key) == (again.value, again.headers, again.key)


async def test_extensions_come_back_in_both_modes(site: Site) -> None:
    await site.program("A", 10)
    plain = message("p", "A")
    given: dict[str, Any] = {"partitionkey": "p", "correlationid": "flow 7", "causationid": "order-1"}
    binary = with_headers(plain, *((f"ce_{name}", text.encode()) for name, text in given.items()))
    late = with_headers(message("p", "A"), ("ce_expirytime", b"2020-01-01T00:00:00Z"))
    as_event = structured(message("p", "A"))
    as_event = as_event._replace(value=json.dumps({**json.loads(as_event.value), **given}).encode())
    async with site.issuer():
        await site.publish([binary, late, as_event], 0)
        replies = by_request(await site.came("message-render.reply", 3))
    headers = dict(replies[str(binary.request_id)].headers)
    assert {name: headers[f"ce_{name}"].decode() for name in given} == given | {"causationid": str(binary.request_id)}
    event = json.loads(replies[str(as_event.request_id)].value)
    assert {name: event[name] for name in given} == given | {"causationid": str(as_event.request_id)}
    refused = replies[str(late.request_id)]
    assert data_of(refused)["refusals"][0]["reason"] == "deadline_passed"
    assert dict(refused.headers)["ce_expirytime"] == b"2020-01-01T00:00:00Z"
