"""Records that are requests: both modes of CloudEvents, what is read from them, and what is ignored."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from codewell.pool.program_rules import Source
from schemas.events import MESSAGE_RENDER, SCENARIO_STEP, MessageRender, ScenarioStep
from services.issuer.decode import Decoder
from tests.support.records import (
    ALLOWED,
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

DEEP_BUT_READABLE = 150


def test_a_message_in_binary_mode_is_read() -> None:
    value = message(message_id="m-1", preview=True, deadline="2026-12-01T12:00:00+02:00")

    received = decoder().decode(record(value, headers()))

    assert received.request.id == UUID(REQUEST_ID)
    assert received.request.source is Source.CAMPAIGN
    assert received.request.event == MessageRender(
        profile_id="p-1001",
        campaign_id="spring",
        message_id="m-1",
        programs=("SPRING",),
        preview=True,
        deadline=datetime(2026, 12, 1, 10, tzinfo=UTC),
    )
    assert (received.structured, received.options.topic, received.options.correlation_id) == (False, None, None)


def test_a_step_is_read_from_its_own_topic() -> None:
    received = decoder().decode(record(json.dumps(STEP).encode(), headers(SCENARIO_STEP), "scenario-step"))

    assert received.request.source is Source.SCENARIO
    assert received.request.event == ScenarioStep(
        profile_id="p-1001", scenario_id="welcome", step_id="s-3", program="SPRING"
    )


@pytest.mark.parametrize(
    "value",
    [
        envelope(),
        envelope(data=None, data_base64=base64(json.dumps(MESSAGE).encode())),
        envelope(traceparent="00-ab-cd-01", partitionkey=5, time="yesterday", dataschema=None, subject={"a": []}),
        envelope(data=MESSAGE | {"unknown": json.loads("[" * DEEP_BUT_READABLE + "]" * DEEP_BUT_READABLE)}),
    ],
    ids=["data", "data_base64", "unknown attributes", "unknown field"],
)
@pytest.mark.parametrize("content_type", [STRUCTURED[0][1], b"application/cloudevents+json"])
def test_a_message_in_structured_mode_is_read(value: bytes, content_type: bytes) -> None:
    received = decoder().decode(record(value, [("content-type", content_type)]))

    assert received.request.id == UUID(REQUEST_ID)
    assert received.request.event == MessageRender(profile_id="p-1001", campaign_id="spring", programs=("SPRING",))
    assert received.structured


@pytest.mark.parametrize(
    "value",
    [
        with_field("null"),
        with_field('"\\u0000 and a pair: \\ud83c\\udf81"'),
        with_field("[" * DEEP_BUT_READABLE + "]" * DEEP_BUT_READABLE),
        b" " + message() + b"\r\n",
        message(data={"profile_id": 5}, Programs=[]),
    ],
)
def test_unknown_fields_and_white_space_decide_nothing(value: bytes) -> None:
    event = decoder().decode(record(value, headers())).request.event

    assert (event.profile_id, event.program_names) == ("p-1001", ("SPRING",))


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (
            {"programs": None, "template": "{loyalty.A.promocode}", "preview": None, "message_id": None},
            "message-render",
        ),
        ({"preview": None, "deadline": None}, "scenario-step"),
    ],
)
def test_null_is_as_if_it_were_left_out(given: dict[str, object], kind: str) -> None:
    value, event_type = (MESSAGE, MESSAGE_RENDER) if kind == "message-render" else (STEP, SCENARIO_STEP)

    received = decoder().decode(record(json.dumps(value | given).encode(), headers(event_type), kind))

    assert not received.request.event.preview
    assert received.request.names == (("A",) if kind == "message-render" else ("SPRING",))


@pytest.mark.parametrize("given", [headers(), STRUCTURED, [("content-type", b"application/json")]])
def test_a_byte_order_mark_is_skipped(given: Headers) -> None:
    value = message() if "ce_id" in dict(given) else envelope()

    assert decoder().decode(record(b"\xef\xbb\xbf" + value, given)).request.id == UUID(REQUEST_ID)


def test_a_byte_order_mark_in_base64_is_skipped() -> None:
    value = envelope(data=None, data_base64=base64(b"\xef\xbb\xbf" + message()))

    assert decoder().decode(record(value, STRUCTURED)).request.id == UUID(REQUEST_ID)


@pytest.mark.parametrize(
    "given", [[], [("content-type", b"application/json")], [("content-type", None)], [("ce_traceparent", b"00-ab")]]
)
def test_a_structured_event_is_known_by_its_attributes(given: Headers) -> None:
    received = decoder().decode(record(envelope(), given))

    assert (received.request.id, received.structured) == (UUID(REQUEST_ID), True)


def test_the_headers_of_binary_mode_win_over_attributes_in_the_data() -> None:
    value = message(specversion="1.0", id="x", type="y", source="z")

    received = decoder().decode(record(value, [*headers(), ("content-type", b"application/json")]))

    assert (received.request.id, received.structured) == (UUID(REQUEST_ID), False)


def test_unknown_headers_and_extensions_decide_nothing() -> None:
    given = [*headers(ce_time=b"\xff", ce_traceparent=b"00-ab", partition=None), ("content-type", b"application/json")]

    received = decoder().decode(record(message(), given))

    assert received.request.id == UUID(REQUEST_ID)


def test_an_id_in_capitals_is_the_same_request() -> None:
    given = headers(ce_id=REQUEST_ID.upper().encode())

    assert decoder().decode(record(message(), given)).request.id == UUID(REQUEST_ID)


@pytest.mark.parametrize("correlation_id", [b"order 7", b"\xff\x00 not a text", b""])
def test_wishes_for_the_answer_are_kept(correlation_id: bytes) -> None:
    given = headers(kafka_replyTopic=ALLOWED.encode(), kafka_correlationId=correlation_id)

    received = decoder().decode(record(message(), given))

    assert (received.options.topic, received.options.correlation_id) == (ALLOWED, correlation_id)


def test_headers_without_a_value_wish_for_nothing() -> None:
    given = [*headers(kafka_replyTopic=None, kafka_correlationId=None), ("content-type", None)]

    received = decoder().decode(record(message(), given))

    assert (received.structured, received.options.topic, received.options.correlation_id) == (False, None, None)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"programs": ["B", "A", "B"]}, ("B", "A")),
        ({"programs": ["A"], "template": "{loyalty.B.promocode} {loyalty.A.promocode}"}, ("A", "B")),
        ({"programs": [], "template": "{{loyalty.A.promocode}}"}, ("A",)),
        ({"template": "{LOYALTY.B.promocode} {loyal}"}, ("SPRING",)),
        ({"programs": [f"P{n}" for n in range(16)]}, tuple(f"P{n}" for n in range(16))),
    ],
)
def test_programs_are_wanted_once_in_the_order_of_the_request(given: dict[str, object], wanted: tuple[str]) -> None:
    assert decoder().decode(record(message(**given), headers())).request.event.program_names == wanted


@pytest.mark.parametrize("profile_id", ["x" * 256, "käufer 7/é", "🎁" * 256, " "])
def test_a_profile_id_may_be_any_short_text(profile_id: str) -> None:
    assert decoder().decode(record(message(profile_id=profile_id), headers())).request.event.profile_id == profile_id


def test_until_when_it_waits_is_read_where_the_issuer_wrote_it() -> None:
    until, since = b"2026-12-01T10:00:00.5+00:00", b"2026-12-01T09:59:59+00:00"
    written = headers(codewell_give_up_at=until, codewell_waits_since=since)
    types = {"message-render": MESSAGE_RENDER, "message-render.retry": MESSAGE_RENDER}
    reader = Decoder(types, frozenset())
    wait = reader.decode(record(message(), written, "message-render.retry")).request.wait
    ends_at = datetime(2026, 12, 1, 10, 0, 0, 500_000, tzinfo=UTC)
    assert wait == (ends_at, datetime(2026, 12, 1, 9, 59, 59, tzinfo=UTC))
    # A sender that writes it wishes in vain.
    assert reader.decode(record(message(), written)).request.wait is None
    # The release before wrote only when it ends.
    written = headers(codewell_give_up_at=until)
    assert reader.decode(record(message(), written, "message-render.retry")).request.wait == (ends_at, None)
    for nonsense in (b"", b"soon", b"\xff", b"2026-12-01T10:00:00"):
        spoiled = record(message(), headers(codewell_give_up_at=nonsense), "message-render.retry")
        assert reader.decode(spoiled).request.wait is None
