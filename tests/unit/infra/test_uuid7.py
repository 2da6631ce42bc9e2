import time
from uuid import RFC_4122

from codewell.infra.uuid7 import uuid7


def test_version_and_variant_are_those_of_the_standard() -> None:
    for _ in range(1_000):
        request_id = uuid7()
        assert (request_id.version, request_id.variant) == (7, RFC_4122)


def test_the_first_48_bits_are_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    milliseconds = uuid7().int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= milliseconds <= after


def test_the_next_12_bits_are_the_fraction_of_the_millisecond() -> None:
    before = time.time_ns()
    request_id = uuid7()
    after = time.time_ns()

    nanoseconds = (request_id.int >> 80) * 1_000_000 + ((request_id.int >> 64 & 0xFFF) * 1_000_000 >> 12)
    # A step of the fraction is 245 ns, and rounding goes down.
    assert before - 245 <= nanoseconds <= after


def test_ids_made_one_after_the_other_are_in_order_and_differ() -> None:
    made = []
    for _ in range(200):
        made.append(uuid7())
        moment = time.time_ns()
        while time.time_ns() - moment < 1_000:
            pass

    assert len(set(made)) == len(made)
    assert made == sorted(made)
