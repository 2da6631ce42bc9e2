"""Records that are no requests: each gives a word of the contract, and a sentence that says what to mend."""

import gc
import json
import weakref
from typing import Any

import pytest

from schemas.events import MESSAGE_RENDER, SCENARIO_STEP, VALUE_BYTES_MAX
from services.issuer.batch import BatchProcessor
from services.issuer.unreadable_record import UnreadableRecord
from tests.support.records import (
    MESSAGE,
    REQUEST_ID,
    STEP,
    STRUCTURED,
    Headers,
    base64,
    decoder,
    envelope,
    headers,
    message,
    record,
    with_field,
)

NESTED = "[" * 1_000 + "]" * 1_000


def test_an_unreadable_record_is_freed_with_its_batch() -> None:
    """The error that is kept with it must not hold it in a cycle: many of them would fill the memory."""
    unused: Any = None
    processor = BatchProcessor("issue", decoder(), unused, unused, unused, unused)
    kept = record(b"no json", headers())
    batch = processor.decode([kept])
    assert len(batch.unreadable) == 1
    freed = weakref.ref(kept)
    gc.disable()
    try:
        del batch, kept
        assert freed() is None
    finally:
        gc.enable()


def unreadable(value: bytes | None, given: Headers, topic: str = "message-render") -> UnreadableRecord:
    with pytest.raises(UnreadableRecord) as raised:
        decoder().decode(record(value, given, topic))
    # It goes into a header, and to a person.
    assert raised.value.detail.encode()
    assert raised.value.detail.endswith(".")
    assert len(raised.value.detail) <= 600
    return raised.value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "The value is empty"),
        (b"", "The value is empty"),
        (b"hello", "not valid JSON"),
        (b"\xef\xbb\xbf\xef\xbb\xbf" + message(), "not valid JSON"),
        (b"\xef\xbb\xbf", "ends too early"),
        (b'{"profile_id": "\xff"}', "not UTF-8"),
        (message() + b"x", "too much"),
        (b'{"profile_id":', "ends too early"),
        (NESTED.encode(), "nested too deeply"),
        (with_field(NESTED), "nested too deeply"),
        (with_field("9" * 5_000), "a number is too large"),
        (with_field('"\\ud800"'), "escape sequence"),
        (b'{"profile_id": "\\ud800", "campaign_id": "c", "programs": ["A"]}', "escape sequence"),
    ],
)
def test_what_is_not_json(value: bytes | None, says: str) -> None:
    why = unreadable(value, headers())

    assert why.reason == "not_json"
    assert says in why.detail


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"programs": []}, "at least one program"),
        ({"programs": [], "template": "Hello!"}, "1 to 16 programs"),
        ({"programs": [f"P{n}" for n in range(17)]}, "at most 16"),
        ({"template": "".join(f"{{loyalty.P{n}.promocode}}" for n in range(16))}, "1 to 16 programs"),
        ({"programs": ["TWO WORDS"]}, "programs.0"),
        ({"programs": ["A\n"]}, "programs.0"),
        ({"programs": ["A" * 65]}, "programs.0"),
        ({"programs": "SPRING"}, "programs"),
        ({"programs": [7]}, "programs.0"),
        ({"profile_id": ""}, "profile_id"),
        ({"profile_id": "x" * 10_240}, "profile_id"),
        ({"profile_id": "a\0b"}, "profile_id"),
        ({"profile_id": "p\n"}, "profile_id"),
        ({"profile_id": 1001}, "profile_id"),
        ({"profile_id": None}, "profile_id"),
        ({"campaign_id": None}, "campaign_id"),
        ({"message_id": "\x7f"}, "message_id"),
        ({"template": ["a"]}, "template"),
        ({"preview": "yes"}, "preview"),
        ({"preview": 1}, "preview"),
        ({"programs": None}, "at least one program"),
        ({"deadline": "2026-12-01T10:00:00"}, "deadline: must name its time zone"),
        ({"deadline": "2026-12-01"}, "deadline"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": 1_764_583_200}, "deadline"),
        ({"deadline": "2026-02-30T10:00:00Z"}, "deadline"),
    ],
)
def test_a_field_that_is_wrong_is_named(changed: dict[str, object], says: str) -> None:
    why = unreadable(message(**changed), headers())

    assert why.reason == "invalid_event"
    assert says in why.detail


@pytest.mark.parametrize(
    "template",
    [
        "{loyalty.SPRING.promocode",
        "{loyalty.TWO WORDS.promocode}",
        "{loyalty..promocode}",
        "{loyalty.SPRING.promocode} {loyalty.}",
        "{loyalty." + "A" * 65 + ".promocode}",
    ],
)
def test_a_broken_placeholder_is_explained(template: str) -> None:
    why = unreadable(message(template=template), headers())

    assert why.reason == "invalid_event"
    assert "{loyalty.NAME.promocode}" in why.detail


@pytest.mark.parametrize("missing", ["profile_id", "scenario_id", "step_id", "program"])
def test_a_missing_field_is_named(missing: str) -> None:
    value = json.dumps({name: value for name, value in STEP.items() if name != missing}).encode()

    why = unreadable(value, headers(SCENARIO_STEP), "scenario-step")

    assert why.reason == "invalid_event"
    assert missing in why.detail


@pytest.mark.parametrize("value", [b"[]", b"null", b"5", b'"text"'])
def test_json_that_is_no_object(value: bytes) -> None:
    assert unreadable(value, headers()).reason == "invalid_event"


@pytest.mark.parametrize(
    "event_id",
    [
        None,
        b"",
        b"abc",
        b"\xff" * 16,
        b"{" + REQUEST_ID.encode() + b"}",
        b"urn:uuid:" + REQUEST_ID.encode(),
        REQUEST_ID.replace("-", "").encode(),
        REQUEST_ID.encode() + b"\n",
        b"0198f3a00-000-7000-8000-00000000000a",
        "\uff10198f3a0-0000-7000-8000-00000000000a".encode(),
        b"x" * 10_000,
    ],
)
def test_an_id_that_is_no_uuid(event_id: bytes | None) -> None:
    why = unreadable(message(), headers(ce_id=event_id))

    assert why.reason == "invalid_event"
    assert "ce_id" in why.detail or "UUID" in why.detail


def test_headers_that_are_missing_or_wrong() -> None:
    without_id = [header for header in headers() if header[0] != "ce_id"]
    assert "ce_id" in unreadable(message(), without_id).detail
    assert "ce_id" in unreadable(message(), []).detail
    assert "ce_id" in unreadable(message(specversion="1.0"), [("ce_type", MESSAGE_RENDER.encode())]).detail
    assert unreadable(message(), headers(ce_type=None)).reason == "invalid_event"
    for version in (b"0.3", b"\xff", None):
        why = unreadable(message(), headers(ce_specversion=version))
        assert (why.reason, "ce_specversion" in why.detail) == ("invalid_event", True)


@pytest.mark.parametrize("content_type", [b"application/cloudevents-batch+json", b"Application/CloudEvents+avro"])
def test_another_format_of_cloudevents_is_named(content_type: bytes) -> None:
    why = unreadable(b"[" + envelope() + b"]", [("content-type", content_type)])

    assert why.reason == "invalid_event"
    assert content_type.decode() in why.detail
    assert "application/cloudevents+json" in why.detail


def test_a_member_of_the_data_is_no_attribute_of_an_event() -> None:
    assert "ce_id" in unreadable(message(unknown={"specversion": "1.0"}), []).detail
    assert unreadable(b'{"specversion":', []).reason == "not_json"


@pytest.mark.parametrize(
    "event_type", [b"com.example.other", b"\xff\xfe", b"dev.codewell.message-render.v2", b"x" * 9999]
)
def test_an_unknown_type(event_type: bytes) -> None:
    why = unreadable(message(), headers(ce_type=event_type))

    assert why.reason == "unknown_type"
    assert "dev.codewell.message-render.v1" in why.detail


def test_a_type_of_the_other_topic() -> None:
    assert unreadable(message(), headers(), "scenario-step").reason == "unknown_type"
    assert unreadable(message(), headers(SCENARIO_STEP)).reason == "unknown_type"
    assert unreadable(envelope(), STRUCTURED, "scenario-step").reason == "unknown_type"


@pytest.mark.parametrize("size", [VALUE_BYTES_MAX + 1, 1_000_000])
@pytest.mark.parametrize("given", [headers(), STRUCTURED])
def test_a_value_over_the_limit(size: int, given: Headers) -> None:
    why = unreadable(b"{" + b" " * (size - 1), given)

    assert why.reason == "too_large"
    assert (str(size) in why.detail, str(VALUE_BYTES_MAX) in why.detail) == (True, True)


def test_a_value_at_the_limit_is_read() -> None:
    value = message() + b" " * (VALUE_BYTES_MAX - len(message()))

    assert decoder().decode(record(value, headers())).request.event.profile_id == MESSAGE["profile_id"]


@pytest.mark.parametrize("topic", [b"elsewhere", b"message-render.reply", b"", b"\xff", b"campaigns.answers "])
def test_a_reply_topic_that_is_not_allowed(topic: bytes) -> None:
    why = unreadable(message(), headers(kafka_replyTopic=topic, kafka_correlationId=b"1"))

    assert why.reason == "reply_topic_refused"


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b"\xff", "not_json", "not valid JSON"),
        (b"[]", "invalid_event", "object"),
        (envelope(specversion="0.3"), "invalid_event", "specversion"),
        (envelope(id=5), "invalid_event", "id"),
        (envelope(id="5"), "invalid_event", "UUID"),
        (envelope(source=""), "invalid_event", "source"),
        (envelope(type=""), "invalid_event", "type"),
        (envelope(type="com.example.other"), "unknown_type", "com.example.other"),
        (envelope(data=None), "invalid_event", "object"),
        (envelope(data="text"), "invalid_event", "object"),
        (envelope(data=MESSAGE | {"programs": []}), "invalid_event", "at least one program"),
        (envelope(data_base64="@@"), "invalid_event", "base64"),
        (envelope(data_base64=base64(b"hello")), "not_json", "not valid JSON"),
        (envelope(data_base64=base64(b"\xff")), "not_json", "not valid JSON"),
        (envelope()[:-1] + f', "unknown": {NESTED}}}'.encode(), "not_json", "nested too deeply"),
        (envelope()[:-1] + f', "data": {NESTED}}}'.encode(), "not_json", "nested too deeply"),
        (envelope()[:-1] + b', "unknown": "\\ud800"}', "not_json", "escape sequence"),
    ],
)
def test_a_structured_event_that_is_wrong(value: bytes, reason: str, says: str) -> None:
    why = unreadable(value, STRUCTURED)

    assert why.reason == reason
    assert says in why.detail
