"""Senders ask a running issuer: correlation, copies, time limits, reply topics, and failures."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from codewell_client import (
    AnswerTimeout,
    Attached,
    InvalidAnswer,
    KafkaUnavailable,
    MessageRender,
    PublishFailed,
    Reason,
    Refused,
    Request,
    ScenarioStep,
    Sender,
    replies,
)
from services.standalone.ports import free_port
from tests.support.running import LIMIT_S, until
from tests.support.site import Site

BRIEF_S = 0.3


def opened(site: Site, **given: Any) -> Sender:
    return Sender(site.bootstrap, topic_prefix=site.prefix, **given)


def message(profile: str, *programs: str, **given: Any) -> MessageRender:
    return MessageRender(profile_id=profile, campaign_id="spring", programs=programs, **given)


def step(profile: str, program: str, **given: Any) -> ScenarioStep:
    return ScenarioStep(profile_id=profile, scenario_id="welcome", step_id="s-3", program=program, **given)


def refusal_of(request: Request, reason: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A record that answers a request, as the issuer publishes it."""
    value = {"request_id": str(request.id), "profile_id": request.profile_id, "outcome": "refused",
             "refusals": [{"program": "A", "reason": reason, "detail": "No."}]}  # fmt: skip
    headers = [
        ("ce_id", b"e-1"),
        ("ce_type", b"dev.codewell.codes-refused.v1"),
        ("kafka_correlationId", str(request.id).encode()),
    ]
    return json.dumps(value).encode(), headers


async def test_codes_and_refusals_are_values(site: Site) -> None:
    await site.program("A", 10)
    await site.program("B", 10, ttl="P30D", fields=[{"name": "discount", "required": False, "save": True}])
    async with site.issuer(), opened(site) as sender:
        attached = await sender.ask(message("p-1", "B", template="Hello! {loyalty.A.promocode}"))
        refused = await sender.ask(step("p-2", "NOT_THERE"))
        preview = await sender.ask(message("p-3", "A", preview=True))
        late = await sender.ask(message("p-4", "A", deadline=datetime.now(UTC) - timedelta(seconds=1)))

    assert isinstance(attached, Attached)
    assert [one.program for one in attached.codes] == ["B", "A"]
    assert attached.rendered == f"Hello! {attached.code('A')}"
    assert attached.code("B").startswith("B-")
    [b, a] = attached.codes
    assert a.expires_at is None
    assert b.expires_at is not None
    assert b.expires_at.tzinfo is not None
    assert UUID(attached.event_id).version == 5
    assert attached.decided_at is not None
    assert abs(attached.decided_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert attached.unresolved == ()
    with pytest.raises(KeyError):
        attached.code("C")
    assert isinstance(refused, Refused)
    assert refused.reasons == {Reason.PROGRAM_UNKNOWN}
    assert (refused.profile_id, refused.refusals[0].program) == ("p-2", "NOT_THERE")
    assert isinstance(preview, Attached)
    assert preview.preview
    assert isinstance(late, Refused)
    assert late.reasons == {Reason.DEADLINE_PASSED}
    assert (await site.stock("A")).attached == 1


async def test_many_requests_are_in_flight_and_each_gets_its_own_answer(site: Site) -> None:
    await site.program("A", 600)
    requests = [message(f"p-{n}", "A") if n % 2 else step(f"p-{n}", "A") for n in range(500)]

    async def asked() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    async with site.issuer(), opened(site) as sender, opened(site) as other:
        found, others = await asyncio.gather(
            collect(sender, asked(), in_flight_max=100),
            collect(other, [message(f"q-{n}", "A") for n in range(100)]),
        )
    assert set(found) == set(requests)
    codes = []
    for request, answer in [*found.items(), *others.items()]:
        assert isinstance(answer, Attached)
        assert (answer.request_id, answer.profile_id) == (request.id, request.profile_id)
        codes.append(answer.code("A"))
    assert len(set(codes)) == 600


async def collect(sender: Sender, requests: Any, **given: Any) -> dict[Request, Any]:
    return {request: answer async for request, answer in sender.ask_many(requests, **given)}


async def test_a_request_that_timed_out_is_asked_again_with_the_same_id(site: Site) -> None:
    await site.program("A", 10)
    request = message("p-1", "A")
    async with opened(site) as sender:
        with pytest.raises(AnswerTimeout, match="may still be answered") as caught:
            await sender.ask(request, timeout_s=BRIEF_S)
        assert caught.value.request is request
        async with site.issuer():
            answer = await sender.ask(caught.value.request)
    # Another process, after a crash, has the id alone.
    async with site.issuer(), opened(site) as sender:
        again = await sender.ask(message("p-1", "A", id=request.id))

    assert isinstance(answer, Attached)
    assert answer == again
    assert (await site.stock("A")).attached == 1


async def test_one_request_asked_by_two_at_once_answers_both(site: Site) -> None:
    await site.program("A", 10)
    request = message("p-1", "A")
    async with site.issuer(), opened(site) as sender, opened(site) as other:
        answers = await asyncio.gather(sender.ask(request), sender.ask(request), other.ask(request))
    assert len({answer.event_id for answer in answers}) == 1
    assert (await site.stock("A")).attached == 1


async def test_a_request_without_an_answer_does_not_end_the_others(site: Site) -> None:
    await site.program("A", 10)
    requests = [message("p-1", "A"), message("p-2", "A", template="x" * 250_000), message("p-3", "A")]
    resource = ConfigResource(
        ConfigResourceType.TOPIC, f"{site.prefix}message-render", configs={"max.message.bytes": "100000"}
    )
    await site.admin.alter_configs([resource])
    async with opened(site) as sender:
        # One by one, as the broker refuses all of a batch.
        found = await collect(sender, requests, timeout_s=BRIEF_S, in_flight_max=1)
    assert [type(found[request]) for request in requests] == [AnswerTimeout, PublishFailed, AnswerTimeout]
    assert all(
        isinstance(result, AnswerTimeout | PublishFailed) and result.request is request
        for request, result in found.items()
    )


async def test_an_error_of_the_callers_requests_is_raised(site: Site) -> None:
    def requests() -> Any:
        yield message("p-1", "A")
        raise LookupError("the database of the caller")

    async with opened(site) as sender:
        with pytest.raises(LookupError, match="of the caller"):
            await collect(sender, requests(), timeout_s=BRIEF_S)


async def test_a_loop_that_is_left_early_leaves_nothing(site: Site) -> None:
    await site.program("A", 10)
    async with site.issuer(), opened(site) as sender:
        results = sender.ask_many((message(f"p-{n}", "A") for n in range(10)), in_flight_max=3)
        async for _ in results:
            break
        await results.aclose()
        # The fixture fails the test if a task is left; the sender can still be used.
        assert isinstance(await sender.ask(message("p-11", "A")), Attached)


async def test_answers_come_on_a_topic_of_the_senders_own(site: Site) -> None:
    await site.program("A", 10)
    topic = f"{site.prefix}answers-to-us"
    # What the client would refuse stands for what a later Codewell refuses.
    unread = message("p-1", "A")
    object.__setattr__(unread, "template", "{loyalty.A.promocode} {loyalty.}")
    async with site.own_topic(topic, 3), site.issuer(reply_topics=topic), opened(site, reply_topic=topic) as sender:
        answer = await sender.ask(message("p-1", "A"))
        broken = await sender.ask(unread)
        [record, _] = await site.came("answers-to-us", 2)
    assert isinstance(answer, Attached)
    assert json.loads(record.value)["request_id"] == str(answer.request_id)
    assert isinstance(broken, Refused)
    assert broken.reasons == {Reason.INVALID_REQUEST}
    assert await site.all_of("message-render.reply") == []


async def test_each_process_has_a_partition_of_one_topic(site: Site) -> None:
    await site.program("A", 50)
    topic = f"{site.prefix}answers-to-us"
    async with site.own_topic(topic, 3), site.issuer(reply_topics=topic):
        for partition in (2, 0):
            async with opened(site, reply_topic=topic, reply_partition=partition) as sender:
                found = await collect(sender, [message(f"p-{n}", "A") for n in range(10)])
            assert all(isinstance(answer, Attached) for answer in found.values())
        records = await site.came("answers-to-us", 20)
    assert sorted(record.partition for record in records) == [0] * 10 + [2] * 10


async def test_what_a_transaction_took_back_is_no_answer(site: Site) -> None:
    await site.program("A", 10)
    request = message("p-1", "A")
    value, headers = refusal_of(request, "pool_empty")
    forger = AIOKafkaProducer(bootstrap_servers=site.bootstrap, transactional_id=f"{site.prefix}forger")
    async with opened(site) as sender, forger:
        asking = asyncio.create_task(sender.ask(request))
        await forger.begin_transaction()
        await forger.send_and_wait(f"{site.prefix}message-render.reply", value, partition=0, headers=headers)
        await forger.abort_transaction()
        async with site.issuer():
            assert isinstance(await asking, Attached)


async def test_partitions_that_are_added_later_are_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "METADATA_AGE_MAX_MS", 100)
    monkeypatch.setattr(replies, "POLL_S", 0.05)
    topic = f"{site.prefix}message-render.reply"
    before, after = message("p-1", "A"), message("p-2", "A")
    async with opened(site) as sender:
        asking = [asyncio.create_task(sender.ask(request, timeout_s=LIMIT_S)) for request in (before, after)]
        await site.admin.create_partitions({topic: NewPartitions(3)})
        value, headers = refusal_of(after, "pool_empty")
        await until_published(site, topic, 2, value, headers)
        value, headers = refusal_of(before, "pool_empty")
        await site.put("message-render.reply", value, headers, partition=0)
        assert [type(await answer) for answer in asking] == [Refused, Refused]


async def until_published(
    site: Site, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    """Publish once the broker has the new partition."""

    async def is_there() -> bool:
        return partition in await fresh.partitions_for(topic)

    async with AIOKafkaProducer(bootstrap_servers=site.bootstrap, metadata_max_age_ms=50) as fresh:
        await until(is_there, "new partition")
        await fresh.send_and_wait(topic, value, partition=partition, headers=headers)


async def test_an_answer_that_can_not_be_read_is_an_error(site: Site) -> None:
    request = message("p-1", "A")
    _, headers = refusal_of(request, "pool_empty")
    async with opened(site) as sender:
        asking = asyncio.create_task(sender.ask(request))
        await until(lambda: published(site), "request")
        await site.put("message-render.reply", b'{"refusals": 1}', headers)
        with pytest.raises(InvalidAnswer, match="partition 0"):
            await asking


async def published(site: Site) -> bool:
    partitions = await site.producer.partitions_for(f"{site.prefix}message-render")
    return bool(partitions) and await site.uncommitted() > 0


async def test_a_kafka_that_is_away_is_named() -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    with pytest.raises(KafkaUnavailable, match=bootstrap):
        async with Sender(bootstrap):
            raise AssertionError


async def test_a_reply_topic_that_is_missing_is_named(site: Site) -> None:
    for given in (
        {"reply_topic": "not-there"},
        {"reply_topic": f"{site.prefix}message-render.reply", "reply_partition": 7},
    ):
        with pytest.raises(KafkaUnavailable, match=str(given["reply_topic"])):
            async with opened(site, **given):
                raise AssertionError


def test_a_reply_partition_needs_a_topic() -> None:
    with pytest.raises(ValueError, match="reply_topic"):
        Sender("127.0.0.1:9092", reply_partition=1)


async def test_a_sender_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Sender("127.0.0.1:9092").ask(message("p-1", "A"))
