"""What a request says about its answer: partition, correlation, and the CloudEvents extensions."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.events import MESSAGE_RENDER
from services.issuer.received_request import ReceivedRequest
from services.issuer.unreadable_record import UnreadableRecord
from tests.support.records import ALLOWED, REQUEST_ID, STRUCTURED, decoder, envelope, headers, message, record

TO_OWN_TOPIC: dict[str, Any] = {"kafka_replyTopic": ALLOWED.encode()}


def read(**given: bytes | None) -> ReceivedRequest:
    return decoder().decode(record(message(), headers(MESSAGE_RENDER, **given)))


def read_structured(**attributes: object) -> ReceivedRequest:
    return decoder().decode(record(envelope(**attributes), STRUCTURED))


@pytest.mark.parametrize(
    ("given", "partition"), [(b"\0\0\0\0", 0), (b"\0\0\1\2", 258), (b"\x7f\xff\xff\xff", 2**31 - 1)]
)
def test_a_reply_partition_is_four_bytes_big_endian(given: bytes, partition: int) -> None:
    assert read(**TO_OWN_TOPIC, kafka_replyPartition=given).options.partition == partition


@pytest.mark.parametrize("given", [b"", b"3", b"\0\0\0", b"\0\0\0\0\3", b"\xff\xff\xff\xff", b"\x80\0\0\0"])
def test_a_reply_partition_that_is_no_number(given: bytes) -> None:
    with pytest.raises(UnreadableRecord, match=r"kafka_replyPartition .* 4 bytes, big endian\.") as raised:
        read(**TO_OWN_TOPIC, kafka_replyPartition=given)
    assert raised.value.reason == "invalid_event"


def test_a_reply_partition_counts_for_the_named_topic_only() -> None:
    assert read(kafka_replyPartition=b"\0\0\0\1").options.partition is None
    assert read(kafka_replyPartition=b"nonsense").options.partition is None
    assert read(**TO_OWN_TOPIC, kafka_replyPartition=None).options.partition is None


def test_extensions_are_given_back_and_the_request_is_the_cause() -> None:
    given = {
        "partitionkey": "p-1001",
        "expirytime": "2026-12-01T10:00:00Z",
        "correlationid": 'flow 7 \u2028 "ü"',
        "causationid": "order-1",
    }
    wanted = (*[pair for pair in given.items() if pair[0] != "causationid"], ("causationid", REQUEST_ID))

    binary = read(**{f"ce_{name}": text.encode() for name, text in given.items()})

    assert binary.options.extensions == wanted
    assert read_structured(**given).options.extensions == wanted


@pytest.mark.parametrize("name", ["correlationid", "causationid"])
def test_either_attribute_of_the_correlation_extension_names_the_cause(name: str) -> None:
    assert dict(read(**{f"ce_{name}": b"x"}).options.extensions)["causationid"] == REQUEST_ID
    assert dict(read_structured(**{name: "x"}).options.extensions)["causationid"] == REQUEST_ID


def test_extensions_that_are_no_texts_are_ignored() -> None:
    given = {"partitionkey": 5, "expirytime": None, "correlationid": "", "causationid": {"a": 1}}

    assert read_structured(**given).options.extensions == ()
    assert read(ce_partitionkey=b"", ce_correlationid=None).options.extensions == ()


@pytest.mark.parametrize("name", ["kafka_correlationId", "ce_partitionkey", "ce_correlationid"])
def test_what_is_given_back_has_a_limit(name: str) -> None:
    read(**{name: b"x" * 4096})
    with pytest.raises(UnreadableRecord, match="more than 4096 bytes") as raised:
        read(**{name: b"x" * 4097})
    assert raised.value.reason == "too_large"


def test_a_causation_id_of_any_length_is_not_given_back() -> None:
    assert read(ce_causationid=b"x" * 100_000).options.extensions == (("causationid", REQUEST_ID),)


def test_the_expiry_time_is_the_deadline_where_the_data_has_none() -> None:
    expiry = datetime(2026, 12, 1, 10, tzinfo=UTC)
    own = "2026-11-30T10:00:00Z"

    assert read(ce_expirytime=b"2026-12-01T11:00:00+01:00").request.event.deadline == expiry
    assert read_structured(expirytime="2026-12-01T10:00:00Z").request.event.deadline == expiry
    kept = decoder().decode(record(message(deadline=own), headers(ce_expirytime=b"2026-12-01T10:00:00Z")))
    assert kept.request.event.deadline == datetime.fromisoformat(own)


@pytest.mark.parametrize("text", [b"soon", b"2026-12-01", b"2026-12-01T10:00:00", b"\xff", b"2026-13-01T10:00:00Z"])
def test_an_expiry_time_that_is_no_time(text: bytes) -> None:
    with pytest.raises(UnreadableRecord, match="expirytime must be a time with its zone") as raised:
        read(ce_expirytime=text)
    assert raised.value.reason == "invalid_event"
