"""Real records are what the AsyncAPI document says: requests that an issuer reads, and all that it publishes."""

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from jsonschema import Draft7Validator

from schemas import asyncapi
from schemas.asyncapi_examples import EXAMPLES
from tests.integration.issuer.conftest import site
from tests.support.sender_records import by_request, message, step, structured, with_headers
from tests.support.site import Site

__all__ = ["site"]

DOCUMENT = asyncapi.document()
MESSAGES = DOCUMENT["components"]["messages"]
REQUESTS = [(name, *example) for name in ("MessageRender", "ScenarioStep", "MessageRenderStructured",
                                          "ScenarioStepStructured") for example in EXAMPLES[name]]  # fmt: skip


def fits(record: ConsumerRecord, name: str) -> None:
    """Fail unless the record's headers and value are those that a message of the document describes."""
    headers = {key: value.decode("utf-8", "replace") for key, value in record.headers}
    parts = {"headers": headers} if name == asyncapi.DEAD_LETTER else {"headers": headers, "payload": value_of(record)}
    for part, value in parts.items():
        schema = {"$ref": f"#/components/messages/{name}/{part}", **DOCUMENT}
        Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER).validate(value)
    if name != asyncapi.DEAD_LETTER:
        assert headers.keys() <= MESSAGES[name]["headers"]["properties"].keys()
        if name.endswith("Structured"):
            assert value_of(record).keys() <= MESSAGES[name]["payload"]["properties"].keys()


def value_of(record: ConsumerRecord) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(record.value)
    return value


async def test_answers_are_as_described(site: Site) -> None:
    await site.program("A", 10)
    options = (
        ("kafka_correlationId", b"c-1"),
        ("ce_correlationid", b"c-2"),
        ("ce_partitionkey", b"p"),
        ("ce_expirytime", b"2030-01-01T00:00:00Z"),
    )
    for request, name in (
        (
            with_headers(message("p-1", "A", template="{loyalty.A.promocode} {loyalty.A.other}"), *options),
            "CodesAttached",
        ),
        (message("p-2", "A", preview=True), "CodesAttached"),
        (message("p-3", "NOT_THERE"), "CodesRefused"),
        (structured(message("p-4", "A")), "CodesAttachedStructured"),
        (structured(message("p-5", "NOT_THERE")), "CodesRefusedStructured"),
    ):
        before = len(await site.all_of("message-render.reply"))
        async with site.issuer():
            await site.publish([request])
            records = await site.came("message-render.reply", before + 1)
        fits(records[-1], name)


@pytest.mark.parametrize(("name", "title", "headers", "payload"), REQUESTS, ids=[f"{r[0]}: {r[1]}" for r in REQUESTS])
async def test_the_examples_of_requests_are_answered(
    site: Site, name: str, title: str, headers: dict[str, str], payload: dict[str, Any]
) -> None:
    topic = "message-render" if name.startswith("Message") else "scenario-step"
    sent = [(key, value.encode()) for key, value in headers.items() if key != "kafka_replyTopic"]
    async with site.issuer():
        await site.put(topic, json.dumps(payload).encode(), sent)
        [answer] = await site.came(f"{topic}.reply", 1)
    assert by_request([answer])


async def test_dead_letters_are_as_described(site: Site) -> None:
    async with site.issuer():
        await site.put("message-render", b"{", [("ce_id", b"x")])
        [letter] = await site.came("message-render.dlq", 1)
    fits(letter, asyncapi.DEAD_LETTER)


async def test_retries_are_as_described(site: Site) -> None:
    await site.program("A", 1)
    request = step("p-1", "A")
    async with site.database.transaction():
        await site.database.execute("SELECT FROM block FOR UPDATE")
        async with site.issuer():
            await site.publish([request])
            [record, *_] = await site.came("scenario-step.retry", 1)
    described = MESSAGES["ScenarioStep"]["headers"]["properties"]
    assert {key for key, _ in record.headers} <= described.keys()
