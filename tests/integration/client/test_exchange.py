"""The client's side of the topics: requests out, answers in, as the command line and the demo use it."""

import json
from uuid import UUID

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from codewell.client.exchange import Exchange, ReceivedAnswer, open_exchange, publish_program_changed
from codewell.errors import StackUnavailable
from codewell.infra.kafka.clients import started_producer
from schemas.events import CODES_ATTACHED, CODES_REFUSED, PROGRAM_CHANGED
from services.standalone.ports import free_port
from tests.support.running import LIMIT_S
from tests.support.sender_records import message, step, structured
from tests.support.site import Site

QUIET_S = 0.3


async def collect(opened: Exchange, count: int) -> dict[str, ReceivedAnswer]:
    """So many answers, by the topic they came from and their request."""
    found: dict[str, ReceivedAnswer] = {}
    async for answer in opened.answers(LIMIT_S):
        found[answer.data["request_id"]] = answer
        if len(found) == count:
            break
    return found


async def test_answers_of_both_topics_and_modes_are_read(site: Site) -> None:
    await site.program("A", 10)
    requests = [message("p-1", "A"), step("p-2", "A"), structured(message("p-3", "NOBODY"))]
    async with open_exchange(site.bootstrap, site.prefix) as opened, site.issuer():
        await opened.publish(requests)
        found = await collect(opened, 3)
    answers = [found[str(request.request_id)] for request in requests]
    assert [answer.type for answer in answers] == [CODES_ATTACHED, CODES_ATTACHED, CODES_REFUSED]
    assert [answer.data["profile_id"] for answer in answers] == ["p-1", "p-2", "p-3"]
    assert all(UUID(answer.event_id).version == 5 for answer in answers)
    assert len({answer.event_id for answer in answers}) == 3
    assert [answer.record.topic.rpartition(".")[0] for answer in answers] == [
        site.prefix + name for name in ("message-render", "scenario-step", "message-render")
    ]


async def test_records_that_are_no_answers_are_skipped(site: Site) -> None:
    request = message("p-1", "NOBODY")
    async with open_exchange(site.bootstrap, site.prefix) as opened:
        for value in (b"not json", b"[]", b'{"hello": "world"}', None):
            await site.put("message-render.reply", value, [])
            await site.put("message-render.reply", value, [("content-type", b"application/json"), ("ce_id", b"e-1")])
        headers = [("content-type", b"application/cloudevents+json"), ("ce_type", b"x")]
        await site.put("message-render.reply", b'{"id": "e-1"}', headers)
        async with site.issuer():
            await opened.publish([request])
            assert (await collect(opened, 1)).keys() == {str(request.request_id)}


async def test_answers_end_when_none_has_come_for_a_while(site: Site) -> None:
    async with open_exchange(site.bootstrap, site.prefix) as opened:
        await opened.publish([message("p", "A")])
        assert [answer async for answer in opened.answers(QUIET_S)] == []


async def test_answers_from_before_are_read_only_where_asked_for(site: Site) -> None:
    early, late = message("p-1", "NOBODY"), message("p-2", "NOBODY")
    async with site.issuer():
        await site.publish([early])
        await site.came("message-render.reply", 1)
        async with (
            open_exchange(site.bootstrap, site.prefix) as from_now,
            open_exchange(site.bootstrap, site.prefix, from_start=True) as from_start,
        ):
            await from_now.publish([late])
            assert (await collect(from_now, 1)).keys() == {str(late.request_id)}
            assert (await collect(from_start, 2)).keys() == {str(early.request_id), str(late.request_id)}


async def test_a_kafka_that_is_not_there_is_named() -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    with pytest.raises(StackUnavailable, match=bootstrap):
        async with open_exchange(bootstrap, ""):
            raise AssertionError


async def test_what_kafka_refuses_is_not_taken_for_a_kafka_that_is_away(site: Site) -> None:
    large = message("p", "A", unknown="x" * 5_000_000)
    with pytest.raises(MessageSizeTooLargeError):
        async with open_exchange(site.bootstrap, site.prefix) as opened:
            await opened.publish([large])


async def test_a_program_is_announced_as_the_contract_says(site: Site) -> None:
    program = await site.program("SPRING")
    async with started_producer(site.bootstrap) as producer:
        assert await publish_program_changed(producer, site.prefix, program.id, program.name)
    [record] = await site.came("program-changed", 1)
    assert record.key == str(program.id).encode()
    assert json.loads(record.value) == {"program_id": program.id, "name": "SPRING"}
    headers = dict(record.headers)
    assert (headers["ce_type"], headers["ce_specversion"]) == (PROGRAM_CHANGED.encode(), b"1.0")
    assert UUID(headers["ce_id"].decode())
