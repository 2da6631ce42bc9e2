"""Each check of the ledger finds the violation that it is there for, in a log of events made by hand."""

import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import ConsumerRecord

from torture.checker import look_at_producers
from torture.ledger import Ledger, Rule

_REQUESTS: Final = "message-render"
_ANSWERS: Final = "message-render.reply"
_RULES: Final = {
    "ONE": Rule(shared=False, reuse="request", pattern=re.compile("[A-Z]{2}"), may_refuse=False, fallback=("OTHER",)),
    "OTHER": Rule(shared=False, reuse="profile", pattern=None, may_refuse=True),
    "ALL": Rule(shared=True, reuse="request", pattern=None, may_refuse=True),
}


def record(topic: str, key: str, value: object, offset: int = 0, **headers: str) -> ConsumerRecord:
    raw = json.dumps(value).encode()
    named = [(name, text.encode()) for name, text in headers.items()]
    return ConsumerRecord(topic, 0, offset, 0, 0, key.encode(), raw, None, len(key), len(raw), named)


def request(number: int, profile_id: str = "p-1", *programs: str) -> ConsumerRecord:
    data = {"profile_id": profile_id, "campaign_id": "c", "programs": programs or ("ONE",)}
    return record(_REQUESTS, profile_id, data, number, ce_id=f"r-{number}")


def answer(number: int, profile_id: str = "p-1", key: str | None = None, **codes: str) -> ConsumerRecord:
    given = [{"program": program, "code": code} for program, code in (codes or {"ONE": "AB"}).items()]
    data = {"request_id": f"r-{number}", "profile_id": profile_id, "outcome": "attached", "codes": given}
    return record(_ANSWERS, key or profile_id, data)


def refusal(number: int, program: str = "ONE") -> ConsumerRecord:
    refusals = [{"program": program, "reason": "pool_empty"}]
    data = {"request_id": f"r-{number}", "profile_id": "p-1", "outcome": "refused", "refusals": refusals}
    return record(_ANSWERS, "p-1", data)


def by_fallback(number: int, giver: str) -> ConsumerRecord:
    given = [{"program": "ONE", "code": "X", "from": giver, "fallback": 1}]
    data = {"request_id": f"r-{number}", "profile_id": "p-1", "outcome": "attached", "codes": given}
    return record(_ANSWERS, "p-1", data)


def ledger_of(*records: ConsumerRecord) -> Ledger:
    ledger = Ledger("", _RULES)
    for one in records:
        ledger.take(one)
    return ledger


def checks(ledger: Ledger) -> list[tuple[str, str]]:
    return [(one.promise, one.check) for one in ledger.violations]


_IN_ORDER: Final = (
    request(0), request(1, "p-2", "OTHER", "ALL"), request(2, "p-3", "ALL"), request(3, "p-1", "OTHER"),
    request(4, "p-1"), record(_REQUESTS, "", "bad", 5, poison_id="x"),
    answer(0), answer(0), answer(1, "p-2", OTHER="X", ALL="S"), answer(2, "p-3", ALL="S"), refusal(3, "OTHER"),
    answer(4, ONE="CD"),
    record("message-render.dlq", "", "bad", poison_id="x", codewell_reason="invalid"),
)  # fmt: skip
_STORED: Final = (
    ("r-0", "ONE", "AB", "p-1"), ("r-1", "OTHER", "X", "p-2"), ("r-1", "ALL", "S", "p-2"), ("r-2", "ALL", "S", "p-3"),
    ("r-3", None, None, "p-1"), ("r-4", "ONE", "CD", "p-1"),
)  # fmt: skip


def test_a_log_in_order_has_no_violations() -> None:
    ledger = ledger_of(*_IN_ORDER)
    ledger.committed(_REQUESTS, 0, 6)
    ledger.compare(_STORED)

    assert checks(ledger) == []
    assert ledger.waiting == 0


@pytest.mark.parametrize(
    ("records", "promise", "check"),
    [
        ([request(0), request(1, "p-2"), answer(0), answer(1, "p-2")], "I1", "a code in answers to two profiles"),
        ([request(0), request(1), answer(0), answer(1)], "I1", "a code in answers to two requests"),
        ([request(0), answer(0, "p-2")], "I1", "an answer has another profile"),
        ([request(0), answer(0, key="p-2")], "I1", "an answer has another profile"),
        ([request(0), answer(0), answer(0, ONE="CD")], "I2", "a request has two answers"),
        ([request(0), answer(0), refusal(0)], "I2", "a request has two answers"),
        (
            [request(0, "p-1", "OTHER"), request(1, "p-1", "OTHER"), answer(0, OTHER="X"), answer(1, OTHER="Y")],
            "I2", "a profile has two codes where it keeps one",
        ),
        ([answer(0)], "I3", "an answer to nobody"),
        ([request(0, "p-1", "ONE", "ALL"), answer(0)], "I3", "an answer has other programs"),
        ([request(0), refusal(0)], "I3", "refused without a cause"),
        ([request(0), refusal(0, "NOPE")], "I3", "refused without a cause"),
        ([record("message-render.dlq", "p-1", {}, ce_id="r-0")], "I3", "a good request is a dead letter"),
        (
            [_IN_ORDER[5], record("message-render.dlq", "", "worse", poison_id="x", codewell_reason="bad")],
            "I3", "a dead letter is not what came",
        ),
        ([_IN_ORDER[5], record("message-render.dlq", "", "bad", poison_id="x")], "I3",
         "a dead letter has no reason"),
        ([request(0), answer(0, ONE="abc")], "I4", "a code does not fit its template"),
        (
            [request(0, "p-1", "ALL"), request(1, "p-1", "ALL"), answer(0, ALL="S"), answer(1, ALL="T")],
            "I4", "a shared code is not one",
        ),
        ([request(0), by_fallback(0, "ALL")], "I6", "a code of no fallback"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_log_is_found(records: Sequence[ConsumerRecord], promise: str, check: str) -> None:
    assert checks(ledger_of(*records)) == [(promise, check)]


def test_an_offset_past_a_request_or_a_retry_without_its_outcome_is_found() -> None:
    retry: Any = {"ce_id": "r-1", "codewell_attempt": "1"}
    ledger = ledger_of(request(0), request(1), answer(0), record("message-render.retry", "p-1", {}, 0, **retry))
    # What waits in the retry topic is no longer the first topic's.
    ledger.committed(_REQUESTS, 0, 2)
    assert checks(ledger) == []
    ledger.committed("message-render.retry", 0, 1)
    assert checks(ledger) == [("I3, I7", "offset past unfinished work")]

    ledger = ledger_of(request(0), request(1), answer(0))
    ledger.committed(_REQUESTS, 0, 1)
    assert checks(ledger) == []
    ledger.committed(_REQUESTS, 0, 2)
    assert checks(ledger) == [("I3, I7", "offset past unfinished work")]


_OTHER_CODES: Final = ("I1", "stored codes are not those in the answer")


@pytest.mark.parametrize(
    ("place", "stored", "found"),
    [
        (0, [("r-0", "ONE", "ZZ", "p-1")], [_OTHER_CODES]),
        # That of another request of the same profile.
        (0, [("r-0", "ONE", "CD", "p-1")], [_OTHER_CODES]),
        (0, [("r-0", None, None, "p-1")], [_OTHER_CODES]),
        (4, [("r-3", "OTHER", "Y", "p-1")], [_OTHER_CODES]),
        (1, [], [_OTHER_CODES]),
        (3, [("r-2", "ALL", "S", "p-9")],
         [("I1", "a stored code is of another profile than the one in the answer")]),
        (0, [], [("I1", "answered and not stored")]),
        (0, [_STORED[0], ("r-9", "ONE", "EF", "p-1")], [("I3", "stored and never answered")]),
    ],
)  # fmt: skip
def test_stored_answers_that_are_not_those_in_kafka_are_found(
    place: int, stored: list[Any], found: list[tuple[str, str]]
) -> None:
    ledger = ledger_of(*_IN_ORDER)

    ledger.compare([*_STORED[:place], *stored, *_STORED[place + 1 :]])

    assert checks(ledger) == found


def test_a_producer_that_is_not_idempotent_is_found_and_files_without_answers_too(tmp_path: Path) -> None:
    ledger = ledger_of(request(0), answer(0))
    log = tmp_path / "message-render.reply-0" / "0.log"
    log.parent.mkdir()
    for producer_id, found in ((7, []), (-1, ["answers of a producer that is not idempotent"])):
        log.write_bytes(struct.pack(">qiib26xq", 0, 49, 0, 2, producer_id) + bytes(10))
        look_at_producers(ledger, [tmp_path], "")
        assert [one.check for one in ledger.violations] == found
    ledger.violations.clear()
    look_at_producers(ledger, [tmp_path / "elsewhere"], "")
    assert [one.check for one in ledger.violations] == ["answers are not in the brokers' files"]
