"""Numbers that others wrote: plain digits, and few enough to be a number of theirs."""

import pytest
from aiokafka import ConsumerRecord

from codewell.infra.digits import whole_number
from codewell.infra.kafka.record_time import record_time


@pytest.mark.parametrize(("text", "number"), [("0", 0), (b"17", 17), ("9" * 18, 10**18 - 1), ("007", 7)])
def test_digits_are_a_number(text: bytes | str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", [None, "", b"", "9" * 19, b"9" * 5_000, "²", "٣", "-1", "1.0", " 1", b"\xb2"])
def test_anything_else_is_none(text: bytes | str | None) -> None:
    assert whole_number(text) is None


@pytest.mark.parametrize("timestamp", [2**62, -(2**62), 10**15])
def test_a_timestamp_that_is_no_date(timestamp: int) -> None:
    record = ConsumerRecord("a", 0, 0, timestamp, 0, None, None, None, -1, -1, ())
    assert record_time(record).year == 1970
