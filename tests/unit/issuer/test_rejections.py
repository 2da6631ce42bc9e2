"""Dead letters whose sender waits for an answer: it is told why, and what cannot be read is null."""

import json
from typing import Any
from uuid import UUID

import pytest
from aiokafka import ConsumerRecord

from codewell.issuing.reply import answer_id
from schemas.events import CODES_REFUSED, VALUE_BYTES_MAX, CodesRefused
from services.issuer.rejections import rejection
from services.issuer.unreadable_record import UnreadableRecord
from tests.support.records import (
    ALLOWED,
    MESSAGE,
    REQUEST_ID,
    STRUCTURED,
    Headers,
    decoded_headers,
    envelope,
    headers,
    message,
    record,
)

WAITS = [("kafka_replyTopic", ALLOWED.encode()), ("kafka_correlationId", b"\xff 7")]
WHY = UnreadableRecord("invalid_event", "The header ce_type is missing.")
REFUSAL = {
    "program": None,
    "reason": "invalid_request",
    "detail": "invalid_event: The header ce_type is missing.",
}


def rejected(given: ConsumerRecord) -> tuple[dict[str, Any], dict[str, bytes]]:
    answer = rejection(given, WHY, frozenset({ALLOWED}))
    assert answer is not None
    assert answer.options.topic == ALLOWED
    return json.loads(answer.value), dict(decoded_headers(answer.headers))


def test_a_caller_in_binary_mode_is_answered() -> None:
    data, given = rejected(record(message(), [*headers(ce_correlationid=b"flow"), *WAITS]))

    assert data == {
        "request_id": REQUEST_ID,
        "profile_id": "p-1001",
        "outcome": "refused",
        "refusals": [REFUSAL],
    }
    CodesRefused.model_validate(data, strict=False)
    assert given == {
        "ce_id": answer_id("message-render:1:42").encode(),
        "ce_specversion": b"1.0",
        "ce_source": b"/codewell/issuer",
        "ce_type": CODES_REFUSED.encode(),
        "ce_time": b"1970-01-01T00:00:00Z",
        "ce_dataschema": b"urn:codewell:schema:dev.codewell.codes-refused.v1",
        "content-type": b"application/json",
        "kafka_correlationId": b"\xff 7",
        "ce_correlationid": b"flow",
        "ce_causationid": REQUEST_ID.encode(),
    }
    assert given["ce_id"].decode() != answer_id(UUID(REQUEST_ID))


@pytest.mark.parametrize("content_type", [STRUCTURED, [("content-type", b"application/json")], []])
def test_a_caller_in_structured_mode_is_answered_in_it(content_type: Headers) -> None:
    event, given = rejected(record(envelope(correlationid="flow"), [*content_type, *WAITS]))

    assert given == {"content-type": STRUCTURED[0][1], "kafka_correlationId": b"\xff 7"}
    assert (event["type"], event["time"], event["correlationid"]) == (CODES_REFUSED, "1970-01-01T00:00:00Z", "flow")
    assert (event["data"]["request_id"], event["data"]["profile_id"]) == (REQUEST_ID, "p-1001")


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (None, []),
        (b"", headers(ce_id=b"1")),
        (b"{", headers(ce_id=None)),
        (b"[" * 10_000, headers(ce_id=b"\xff")),
        (b'{"profile_id": 5}', []),
        (b'{"profile_id": "a\\u0000"}', []),
        (b'{"profile_id": "\\ud800"}', []),
        (envelope(id=5, data=[MESSAGE]), STRUCTURED),
        (b"5", STRUCTURED),
        (b" " * VALUE_BYTES_MAX + message(), headers(ce_id=b"x" * 36)),
    ],
)
def test_ids_that_cannot_be_read_are_null(value: bytes | None, given: Headers) -> None:
    answer, _ = rejected(record(value, [*given, *WAITS]))

    data = answer.get("data", answer)
    assert (data["request_id"], data["profile_id"], data["refusals"]) == (None, None, [REFUSAL])


@pytest.mark.parametrize(
    "given",
    [
        [],
        WAITS[:1],
        WAITS[1:],
        [("kafka_replyTopic", b"elsewhere"), WAITS[1]],
        [WAITS[0], ("kafka_correlationId", b"x" * 5_000)],
        [WAITS[0], ("kafka_correlationId", None)],
    ],
)
def test_other_senders_get_no_answer(given: Headers) -> None:
    assert rejection(record(message(), [*headers(), *given]), WHY, frozenset({ALLOWED})) is None


@pytest.mark.parametrize(("given", "partition"), [(b"\0\0\0\2", 2), (b"2", None), (b"\xff\xff\xff\xff", None)])
def test_wrong_options_of_a_caller_are_left_out(given: bytes, partition: int | None) -> None:
    asked = [*headers(ce_partitionkey=b"x" * 5_000), *WAITS, ("kafka_replyPartition", given)]

    answer = rejection(record(message(), asked), WHY, frozenset({ALLOWED}))

    assert answer is not None
    assert (answer.options.partition, answer.options.extensions) == (partition, ())
