"""Fetches are encoded and decoded as aiokafka does field by field."""

import tracemalloc
from io import BytesIO

import pytest
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.struct import Struct
from hypothesis import given
from hypothesis import strategies as st

from codewell.infra.kafka.fetch_encoding import decode_response, encode_request

int16, int32, int64 = (st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (16, 32, 64))
names = st.text(max_size=20)
topics_wanted = st.lists(
    st.tuples(names, st.lists(st.tuples(int32, int32, int64, int64, int32), max_size=5)), max_size=3
)
forgotten = st.lists(st.tuples(names, st.lists(int32, max_size=3)), max_size=2)
partitions = st.tuples(
    int32, int16, int64, int64, int64,
    st.none() | st.lists(st.tuples(int64, int64), max_size=3), int32, st.none() | st.binary(max_size=40),
)  # fmt: skip
topics_found = st.lists(st.tuples(names, st.lists(partitions, max_size=5)), max_size=3)


def by_field(struct: Struct) -> bytes:
    """As `Struct.encode` does where it is not replaced."""
    return struct.SCHEMA.encode([getattr(struct, name) for name in struct.SCHEMA.names])  # type: ignore[no-any-return]


def response(topics: list[object]) -> FetchResponse_v11:
    return FetchResponse_v11(7, 0, 0, topics)


@given(topics_wanted, forgotten, names)
def test_a_request_is_encoded_as_field_by_field(topics: list[object], forgotten: list[object], rack: str) -> None:
    request = FetchRequest_v11(-1, 500, 1, 8_000_000, 1, 0, -1, topics, forgotten, rack)
    assert encode_request(request) == by_field(request)


@given(topics_found, st.binary(max_size=9))
def test_a_response_is_decoded_as_it_was_encoded(topics: list[object], header: bytes) -> None:
    data = BytesIO(header + by_field(response(topics)))
    data.seek(len(header))
    assert decode_response(FetchResponse_v11, data) == response(topics)


@given(topics_found, st.data())
def test_a_response_that_is_cut_is_refused(topics: list[object], data: st.DataObject) -> None:
    whole = by_field(response(topics))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="cut"):
        decode_response(FetchResponse_v11, BytesIO(whole[:cut]))


def test_only_the_records_of_a_response_are_copied() -> None:
    size = 1_000_000
    whole = by_field(response([("t", [(0, 0, 1, 1, 0, [], -1, bytes(size))])]))
    tracemalloc.start()
    try:
        # Aiokafka holds the bytes while it decodes them.
        decode_response(FetchResponse_v11, BytesIO(whole))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1.5 * size


def test_all_clients_use_them() -> None:
    request = FetchRequest_v11(-1, 500, 1, 8_000_000, 1, 0, -1, [], [], "")
    assert FetchRequest_v11.encode is encode_request
    assert request.encode() == by_field(request)
    assert FetchResponse_v11.decode.__func__ is decode_response
