"""Which records of a reply topic are answers: others may write there too, and stop no comparison with the database."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from codewell.recovery.published_answers import parse_answer
from schemas.events import CODES_ATTACHED

CODE: dict[str, Any] = {"program": "SPRING", "code": "A", "expires_at": None, "fields": {}}
ANSWER = {"request_id": "0198f3a0-0000-7000-8000-00000000000a", "profile_id": "p-1", "outcome": "attached"}


def record(time: bytes = b"", **changed: Any) -> ConsumerRecord:
    value = json.dumps({**ANSWER, "codes": [CODE], **changed}).encode()
    headers = (("ce_type", CODES_ATTACHED.encode()), ("ce_time", time))
    return ConsumerRecord("r", 0, 7, 0, 0, b"p", value, None, 1, len(value), headers)


def test_an_answer() -> None:
    answer = parse_answer(record(profile_id=r"p-\u0000\\u0000"))
    assert answer is not None
    assert (answer.profile_id, answer.codes[0].text) == (r"p-\u0000\\u0000", "A")


@pytest.mark.parametrize(
    "changed", [{"profile_id": "p\0"}, {"codes": [{**CODE, "code": "\0"}]}, {"profile_id": "\ud800"}]
)
def test_what_postgres_does_not_take_is_no_answer(changed: dict[str, Any]) -> None:
    assert parse_answer(record(**changed)) is None


def test_the_time_of_the_decision_is_the_events() -> None:
    answer = parse_answer(record(time=b"2026-12-01T10:00:00.000007Z"))
    assert answer is not None
    assert answer.decided_at == datetime(2026, 12, 1, 10, 0, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize("time", [b"2026-12-01T10:00:00", b"0001-01-01T00:00:00+14:00", b"Z", b"\xff"])
def test_a_time_that_no_issuer_writes_is_no_answers(time: bytes) -> None:
    assert parse_answer(record(time=time)) is None


def test_the_answer_to_a_dead_letter_is_none_that_was_decided() -> None:
    refusals = [{"program": None, "reason": "invalid_request", "detail": "invalid_event: x."}]
    assert parse_answer(record(outcome="refused", refusals=refusals)) is None
    decided = [{"program": "SPRING", "reason": "pool_empty", "detail": "x."}]
    assert parse_answer(record(outcome="refused", refusals=decided)) is not None
