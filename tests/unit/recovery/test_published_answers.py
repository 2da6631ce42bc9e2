"""Which records of a reply topic are answers: others may write there too, and stop no comparison with the database."""

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from codewell.recovery.published_answers import parse_answer
from schemas.events import CODES_ATTACHED

CODE: dict[str, Any] = {"program": "SPRING", "code": "A", "expires_at": None, "fields": {}}
ANSWER = {"request_id": "0198f3a0-0000-7000-8000-00000000000a", "profile_id": "p-1", "outcome": "attached"}


def record(**changed: Any) -> ConsumerRecord:
    value = json.dumps({**ANSWER, "codes": [CODE], **changed}).encode()
    return ConsumerRecord("r", 0, 7, 0, 0, b"p", value, None, 1, len(value), (("ce_type", CODES_ATTACHED.encode()),))


def test_an_answer() -> None:
    answer = parse_answer(record(profile_id=r"p-\u0000\\u0000"))
    assert answer is not None
    assert (answer.profile_id, answer.codes[0].text) == (r"p-\u0000\\u0000", "A")


@pytest.mark.parametrize(
    "changed", [{"profile_id": "p\0"}, {"codes": [{**CODE, "code": "\0"}]}, {"profile_id": "\ud800"}]
)
def test_what_postgres_does_not_take_is_no_answer(changed: dict[str, Any]) -> None:
    assert parse_answer(record(**changed)) is None
