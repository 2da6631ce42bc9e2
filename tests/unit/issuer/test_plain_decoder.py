"""The quick decoder of most records takes nothing that the usual one refuses, and reads what that reads."""

import json
from typing import Any, Final

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from codewell.infra.kafka.batch_reader import ParsedRecord
from codewell.infra.kafka.partition_records import FaultyRecord, Record
from schemas.events import MESSAGE_RENDER, SCENARIO_STEP, VALUE_BYTES_MAX
from schemas.plain_events import PlainRender
from services.issuer.received_request import ReceivedRequest
from services.issuer.reply_options import NO_OPTIONS
from services.issuer.unreadable_record import UnreadableRecord
from tests.support.records import ALLOWED, MESSAGE, REQUEST_ID, STEP, Headers, decoder, headers

RENDERS: Final = TopicPartition("message-render", 1)
STEPS: Final = TopicPartition("scenario-step", 1)
OF_RECORD: Final = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers")
FIELDS: Final = ("profile_id", "preview", "deadline", "program_names")

header_changes: st.SearchStrategy[dict[str, bytes | None]] = st.dictionaries(
    st.sampled_from([
        "ce_id", "ce_type", "ce_specversion", "content-type", "kafka_replyTopic", "kafka_correlationId",
        "ce_expirytime", "codewell_attempt", "ce_source", "other",
    ]),
    st.none() | st.sampled_from([
        REQUEST_ID.encode(), REQUEST_ID.replace("-", "").encode(), b"0198f3a0-0000-7000-8000-0000000000-a",
        b"0198f3a00000-7000-8000-0000000-0000a", "0198f3a0-0000-7000-8000-0000000000Ü".encode(), b"",
        MESSAGE_RENDER.encode(), SCENARIO_STEP.encode(), b"1.0", b"0.3", ALLOWED.encode(), b"application/json",
        b"application/json; charset=UTF-8", b"application/cloudevents+json", b"2026-12-01T12:00:00Z", b"5",
    ]),
    max_size=2,
)  # fmt: skip
data_changes: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["profile_id", "programs", "program", "preview", "deadline", "template", "other"]),
    st.sampled_from(["p-2", "Zo\u00eb", "", ["A"], ["A", "B", "A"], ["A B"], [], True, None, "{loyalty.A.promocode}"]),
    max_size=1,
)  # fmt: skip
values = st.sampled_from([None, b"", b"[]", b"{", b'"\\"', b"\xef\xbb\xbf{}"])


@st.composite
def parsed(draw: st.DrawFn, data: dict[str, Any], event_type: str) -> ParsedRecord:
    """A record that is almost always a request, changed a little more often than not."""
    shown: bytes | None = json.dumps(data | draw(data_changes), ensure_ascii=draw(st.booleans())).encode()
    if draw(st.integers(0, 9)) == 0:
        shown = draw(values)
    given_headers: Headers = list((dict(headers(event_type)) | draw(header_changes)).items())
    return ParsedRecord(42, 1, b"p", shown, given_headers)


def whole(record: Record) -> ReceivedRequest | None:
    """The request as the usual decoder reads it; None for one that it refuses."""
    try:
        return decoder().decode(record)
    except UnreadableRecord:
        return None


@given(st.booleans().flatmap(lambda steps: st.tuples(
    st.just(STEPS if steps else RENDERS),
    st.lists(parsed(STEP if steps else MESSAGE, SCENARIO_STEP if steps else MESSAGE_RENDER), max_size=4),
)))  # fmt: skip
def test_what_is_read_is_what_the_usual_decoder_reads(drawn: tuple[TopicPartition, list[ParsedRecord]]) -> None:
    tp, raws = drawn
    records = [Record(tp, raw) for raw in raws]
    for record, plain in zip(records, decoder().decode_plain(records), strict=True):
        if plain is None:
            continue
        usual = whole(record)
        assert usual is not None
        assert (plain.structured, plain.options) == (False, NO_OPTIONS)
        assert [getattr(plain.record, name) for name in OF_RECORD] == [getattr(record, name) for name in OF_RECORD]
        assert (usual.structured, usual.options) == (False, NO_OPTIONS)
        (id_, event, *rest), (usual_id, usual_event, *usual_rest) = plain.request, usual.request
        assert (id_, rest) == (usual_id, usual_rest)
        assert [getattr(event, name) for name in FIELDS] == [getattr(usual_event, name) for name in FIELDS]


def test_most_records_are_read() -> None:
    value = json.dumps(MESSAGE).encode()
    others = json.dumps(MESSAGE | {"programs": ["A", "B", "A"]}).encode()
    timed = [*headers(), ("ce_time", b"2026-12-01T12:00:00Z")]
    raws = [
        ParsedRecord(1, 1, b"p", value, list(headers())),
        ParsedRecord(2, 1, b"p", others, list(headers())),
        ParsedRecord(3, 1, b"p", value, timed),
        ParsedRecord(4, 1, b"p", value, list(headers())),
    ]

    found = decoder().decode_plain([Record(RENDERS, raw) for raw in raws])

    assert [one and one.request.names for one in found] == [("SPRING",), ("A", "B"), ("SPRING",), ("SPRING",)]
    assert all(isinstance(one.request.event, PlainRender) for one in found if one)


@pytest.mark.parametrize("checked", ["ce_type", "ce_specversion", "content-type"])
def test_values_that_tell_a_plain_event_are_looked_at_in_each_record(checked: str) -> None:
    usual = dict(headers()) | {"ce_specversion": b"1.0", "content-type": b"application/json"}
    timed = [usual | {"ce_time": f"2026-12-01T12:00:0{second}Z".encode()} for second in range(4)]
    timed[2][checked] = b"another"
    value = json.dumps(MESSAGE).encode()
    records = [Record(RENDERS, ParsedRecord(1, 1, b"p", value, list(one.items()))) for one in timed]

    found = decoder().decode_plain(records)

    assert found[2] is None
    assert [found[at].record.headers for at in (0, 1, 3)] == [records[at].headers for at in (0, 1, 3)]  # type: ignore[union-attr]


@pytest.mark.parametrize("first", [True, False])
def test_other_headers_than_those_of_the_record_before_are_looked_at(first: bool) -> None:
    value = json.dumps(MESSAGE).encode()
    usual, option = (
        [(name, b"1"), *headers()] if first else [*headers(), (name, b"1")] for name in ("other", "kafka_replyTopic")
    )
    raws = [ParsedRecord(1, 1, b"p", value, one) for one in (usual, option, usual[::-1])]

    plain, with_option, reversed_ = decoder().decode_plain([Record(RENDERS, raw) for raw in raws])

    assert plain is not None
    assert with_option is None
    assert reversed_ is not None
    assert reversed_.record.headers == tuple(usual[::-1])


def test_a_faulty_record_is_left_to_the_usual_decoder() -> None:
    raw = ParsedRecord(1, 1, b"p", json.dumps(MESSAGE).encode(), list(headers()))
    faulty = FaultyRecord("message-render", 1, 2, 0, 0, b"p", raw.value, None, 1, 1, raw.headers, "it is cut")

    found = decoder().decode_plain([Record(RENDERS, raw), faulty])

    assert found == [None, None]


def test_a_value_that_is_too_large_is_left_to_the_usual_decoder() -> None:
    values = [json.dumps(MESSAGE).encode().ljust(VALUE_BYTES_MAX + more) for more in (0, 1)]
    raws = [ParsedRecord(1, 1, b"p", value, list(headers())) for value in values]

    largest, larger = decoder().decode_plain([Record(RENDERS, raw) for raw in raws])

    assert largest is not None
    assert larger is None
