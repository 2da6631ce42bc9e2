"""Records that break something behind the decoder: each ends somewhere, the partition goes on, the issuer lives."""

import json
import random
import ssl
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from structlog.testing import capture_logs

from codewell.client.exchange import OutgoingRequest
from codewell.infra.telemetry.masking import mask
from codewell.issuing import reply
from codewell.issuing.claim import Claims
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import Request
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from services.issuer import batch_publisher
from services.issuer.decode import Decoder
from services.issuer.received_request import AnyRequest
from tests.support.client_faults import until_committed
from tests.support.sender_records import answered, data_of, message, messages, step, with_headers
from tests.support.site import Site

LONG_CODE = "券" * 190
PLACEHOLDER = "{loyalty.LONG.promocode}"


class NotUtf8(str):
    """A header's name that other clients may write, and Kafka takes."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff" + super().encode(encoding, errors)


async def ends(site: Site, bad: OutgoingRequest, *good: OutgoingRequest) -> ConsumerRecord:
    """Wait until the good requests are answered and the bad one is answered or buried; give what became of it."""
    replies = await site.came(f"{bad.topic}.reply", len(good))
    if str(bad.request_id) in {data_of(one)["request_id"] for one in replies}:
        replies = await site.came(f"{bad.topic}.reply", len(good) + 1)
        [end] = [one for one in replies if data_of(one)["request_id"] == str(bad.request_id)]
        answered([*good, bad], replies)
    else:
        [end] = await site.came(f"{bad.topic}.dlq", 1)
        answered(good, await site.all_of(f"{bad.topic}.reply"))
    await until_committed(site, bad.topic)
    return end


async def publish_raw(site: Site, requests: list[OutgoingRequest]) -> None:
    """Publish to partition 0 in one batch, with headers' names as they are."""
    batch = site.producer.create_batch()
    assert DefaultRecordBatchBuilder is not _DefaultRecordBatchBuilderPy
    batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 1_000_000)
    for one in requests:
        assert batch.append(timestamp=None, key=one.key, value=one.value, headers=one.headers) is not None
    batch.close()
    await (await site.producer.send_batch(batch, f"{site.prefix}{requests[0].topic}", partition=0))


async def test_a_header_whose_name_is_not_utf8(site: Site) -> None:
    await site.program("A", 100)
    before, bad, after, elsewhere = (message(f"p-{number}", "A") for number in range(4))
    behind = messages(20, "A")
    async with site.issuer():
        await publish_raw(site, [before, with_headers(bad, (NotUtf8("name"), b"value")), *behind])
        await site.publish([after], 0)
        await site.publish([elsewhere], 1)
        await until_committed(site)
    # It costs nothing that Kafka keeps in one batch with it.
    answered([before, *behind, after, elsewhere], await site.all_of("message-render.reply"))
    [letter] = await site.all_of("message-render.dlq")
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (bad.key, bad.value)
    assert headers["codewell_reason"] == b"invalid_event"
    assert headers["codewell_detail"] == b"The record cannot be read: a header's name is not UTF-8."
    assert (headers["codewell_topic"].decode(), headers["codewell_offset"]) == (f"{site.prefix}message-render", b"1")
    assert headers["\\xffname"] == b"value"


@pytest.mark.parametrize("kind", ["rendered", "correlation"])
async def test_an_answer_that_is_larger_than_kafka_takes(site: Site, kind: str) -> None:
    await site.program("A", 10)
    await site.program("LONG", 10, source={"kind": "template", "template": LONG_CODE + "{string 10}"})
    before, after = message("p-1", "A"), message("p-2", "A")
    large = message("p", "LONG", template=PLACEHOLDER * (10_000 if kind == "rendered" else 1_000))
    if kind == "correlation":
        # The request fits its topic, and its answer is larger by the codes.
        padding = await site.record_bytes_max("message-render") - len(large.value) - 2_000
        large = with_headers(large, ("kafka_correlationId", b"x" * padding))
    async with site.issuer():
        await site.publish([before, large, after], 0)
        end = await ends(site, large, before, after)
    headers = dict(end.headers)
    if end.topic.endswith(".dlq"):
        assert headers["codewell_reason"] in {b"too_large", b"invalid_event"}
        # Nobody is given a code that he is never told of.
        assert (await site.stock("LONG")).attached == 0
    else:
        assert data_of(end)["outcome"] == "attached"


async def test_ids_that_are_too_long_for_an_index_together(site: Site) -> None:
    await site.program("A", 10, reuse="step")
    random.seed(7)

    def long_id() -> str:
        return "".join(chr(random.randrange(0x20000, 0x2A6DF)) for _ in range(256))

    bad = step(long_id(), "A", scenario_id=long_id(), step_id=long_id())
    before, after = step("p-1", "A"), step("p-2", "A")
    async with site.issuer():
        await site.publish([before, bad, after], 0)
        await ends(site, bad, before, after)


@pytest.mark.parametrize("step", ["read", "decide", "answer"])
async def test_a_mistake_of_ours_costs_one_request_and_no_issuer(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It would end each issuer that the partition comes to, one after the other."""
    await site.program("A", 100)
    bad, *good = messages(5, "A")
    real_read, real_attach, real_event = Decoder.decode, Claims.attach, reply.answer_event

    def read(decoder: Decoder, record: ConsumerRecord) -> AnyRequest:
        if record.key == bad.key:
            raise KeyError(record.key)
        return real_read(decoder, record)

    async def attach(claims: Claims, requests: Sequence[Request]) -> ClaimResult:
        if bad.request_id in {request.id for request in requests}:
            raise KeyError(bad.key)
        return await real_attach(claims, requests)

    def event(request: Request, *given: Any) -> tuple[str, str]:
        if request.id == bad.request_id:
            raise KeyError(bad.key)
        return real_event(request, *given)

    def fail_for_all(*_: Any) -> Any:
        # Which request it fails for is found by reading or answering each by itself.
        raise KeyError(bad.key)

    broken = {
        "read": (Decoder, "decode", read),
        "decide": (Claims, "attach", attach),
        "answer": (batch_publisher, "answer_event", event),
    }
    monkeypatch.setattr(*broken[step])
    if step == "read":
        monkeypatch.setattr(Decoder, "decode_plain", fail_for_all)
    if step == "answer":
        monkeypatch.setattr(batch_publisher, "plain_answers", fail_for_all)
    with capture_logs([mask]) as logs:
        async with site.issuer():
            await site.publish([bad, *good], 0)
            end = await ends(site, bad, *good)
    assert dict(end.headers)["codewell_reason"] == b"undecidable"
    assert bad.key.decode() not in str(logs)


@pytest.mark.parametrize(
    "error", [ssl.SSLCertVerificationError("it has expired"), asyncpg.ClientConfigurationError("there is no such file")]
)
async def test_a_database_that_is_not_trusted_for_a_while_is_nothing_that_a_request_did(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await site.program("A", 10)
    asked = messages(3, "A")
    real, failures = Claims.attach, iter([error, error])

    async def attach(claims: Claims, requests: Sequence[Request]) -> ClaimResult:
        for one in failures:
            raise one
        return await real(claims, requests)

    monkeypatch.setattr(Claims, "attach", attach)
    async with site.issuer():
        await site.publish(asked, 0)
        answered(asked, await site.came("message-render.reply", 3))
    assert await site.all_of("message-render.dlq") == []


@pytest.mark.parametrize("named", [False, True])
async def test_an_answer_whose_codes_say_more_than_a_topic_takes(site: Site, named: bool) -> None:
    names = [f"P{number}" for number in range(16 if not named else 4)]
    long = {f"f{number}": "\u0001" * 600 if not named else "ж" * 2_000 for number in range(64)}
    for name in names:
        made = await site.program(name, fields=[{"name": field} for field in long])
        await fill.generate(site.database, Minters(None), made.id, 1, json.dumps(long))
    await site.program("A", 10)
    before, after = message("p-1", "A"), message("p-2", "A")
    large = message("p", *names)
    answers = f"{site.prefix}answers"
    async with site.own_topic(answers, 1):
        if named:
            large = with_headers(large, ("kafka_replyTopic", answers.encode()))
        async with site.issuer(reply_topics=answers):
            await site.publish([before, large, after], 0)
            end = await ends(site, large, before, after)
    assert dict(end.headers)["codewell_reason"] == b"too_large"
