"""Batches of records are as aiokafka's own reader, which checks the CRC, and its own builder have them."""

from unittest import mock

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from codewell.infra.kafka.record_encoding import Headers, RecordBatch, encode_headers, varint

NOW_S = 1_796_000_000.25
texts = st.binary(max_size=9) | st.sampled_from([b"x" * 63, b"x" * 64, b"x" * 8_191, b"x" * 8_192, b"x" * 1_000_000])
headers = st.lists(st.tuples(st.text(max_size=3), texts), max_size=3)
records = st.lists(st.tuples(texts | st.none(), texts | st.none(), headers), min_size=1, max_size=70)


@given(records)
def test_it_has_the_bytes_of_the_library(given_records: list[tuple[bytes | None, bytes | None, Headers]]) -> None:
    with mock.patch("time.time", return_value=NOW_S):
        batch, builder = RecordBatch(10**9), BatchBuilder(10**9, 0, is_transactional=False)
        for key, value, with_headers in given_records:
            assert batch.add(key, value, encode_headers(with_headers))
            builder.append(timestamp=int(NOW_S * 1000), key=key, value=value, headers=list(with_headers))
    for one in (batch, builder):
        one._set_producer_state(7, 1, 40)
    size = batch.size()

    encoded = bytes(batch._build())

    assert encoded == bytes(builder._build())
    assert len(encoded) == size
    assert DefaultRecordBatch(encoded).validate_crc()
    # What is sent again is the same.
    assert bytes(batch._build()) == encoded


def test_a_full_batch_takes_no_more_and_an_empty_one_takes_any() -> None:
    batch = RecordBatch(100)

    assert batch.add(b"k", b"v" * 1_000, encode_headers([]))
    assert not batch.add(b"k", b"v", encode_headers([]))
    assert batch.record_count() == 1


@given(st.lists(st.lists(st.tuples(texts, texts, headers), max_size=70), max_size=3))
def test_texts_of_bytes_have_the_bytes(parts: list[list[tuple[bytes, bytes, Headers]]]) -> None:
    with mock.patch("time.time", return_value=NOW_S):
        batch, by_texts = RecordBatch(10**9), RecordBatch(10**9)
    for part in parts:
        encoded = [(key, value, encode_headers(with_headers)) for key, value, with_headers in part]
        for record in encoded:
            batch.add(*record)
        latin = [
            (key.decode("latin-1"), value.decode("latin-1"), also.decode("latin-1")) for key, value, also in encoded
        ]
        assert by_texts.add_texts(latin) == len(part)

    assert (by_texts.size(), by_texts.record_count()) == (batch.size(), batch.record_count())
    assert by_texts._build() == batch._build()


def test_texts_without_room_are_left() -> None:
    batch = RecordBatch(2_100)

    assert batch.add_texts([("k", "v" * 3_000, "\0"), ("k", "v", "\0")]) == 1
    assert batch.add_texts([("k", "v", "\0")]) == 0
    assert batch.record_count() == 1


@pytest.mark.parametrize(("number", "encoded"), [(0, "00"), (-1, "01"), (1, "02"), (63, "7e"), (64, "8001")])
def test_numbers_are_in_zigzag_encoding(number: int, encoded: str) -> None:
    assert varint(number).hex() == encoded
