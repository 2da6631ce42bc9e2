"""Fallbacks: a program that gives no code lets its request try the next one, for all of its programs or for none."""

import json
from datetime import timedelta
from typing import Any

import pytest

from codewell.issuing.decide import decide
from codewell.issuing.decision import Decision
from codewell.issuing.model import LockedStock, Request
from codewell.issuing.reply import answer_event
from codewell.issuing.waits import Wait
from codewell.pool.program_rules import ProgramRules
from codewell.usage.usage_key import UsageKey
from schemas.events import CodesAttached
from tests.support.factories import NOW, message, rules, stock

SECOND = timedelta(seconds=1)
ALL = ["pool_empty", "maximum_reached", "remote_failed"]


def chain(*names: str, on: list[str] = ALL, after_s: float | None = None) -> str:
    return json.dumps([names, on, after_s])


SPRING = rules("SPRING", id=1, fallback=chain("FILE", "FIXED"))
FILE = rules("FILE", id=2)
FIXED = rules("FIXED", id=3, shared=True)
REMOTE: dict[str, Any] = {"codes_from": "remote", "campaign_can_create": True, "room": 5}


def rounds(
    request: Request, *programs: ProgramRules, stocks: dict[int, LockedStock], now: Any = NOW
) -> tuple[list[Request], Decision]:
    """Decide the request until it is redirected no more: the requests that it became, and the last decision."""
    by_name = {program.name: program for program in programs}
    every = {program.id: stock(0) for program in programs} | stocks
    became: list[Request] = []
    while True:
        named = {name: by_name[name] for name in request.names if name in by_name}
        mine = {program.id: every[program.id] for program in named.values()}
        decision = decide([request], named, mine, {}, now, lambda *_: "PREVIEW")
        if not decision.redirected:
            return became, decision
        assert decision.rows == []
        request = decision.redirected[0]
        became.append(request)


def refusals(decision: Decision) -> list[tuple[str, str]]:
    [row] = decision.rows
    assert (row.link, row.asked_program_id, decision.taken) == (None, None, {})
    return [(one["program"], one["reason"]) for one in json.loads(row.refusals or "[]")]


def test_the_next_program_that_has_codes_gives_one() -> None:
    request = message("SPRING", template="Use {loyalty.SPRING.promocode}")
    became, decision = rounds(request, SPRING, FILE, FIXED, stocks={3: stock(1, block_id=30)})

    assert [one.names for one in became] == [("FILE",), ("FIXED",)]
    [row] = decision.rows
    assert (row.program_id, row.asked_program_id, row.link, row.code) == (3, 1, 2, "C0")
    assert decision.fallbacks == {(1, 2): 1}
    assert decision.usage == {UsageKey(3, "campaign", "attached"): 1, UsageKey(1, "campaign", "fallback_second"): 1}
    answer = CodesAttached.model_validate_json(answer_event(request, [row], {1: "SPRING", 3: "FIXED"})[1])
    assert (answer.codes[0].program, answer.codes[0].from_, answer.codes[0].fallback) == ("SPRING", "FIXED", 2)
    assert answer.rendered == "Use C0"


def test_a_program_with_codes_gives_its_own() -> None:
    became, decision = rounds(message("SPRING"), SPRING, FILE, FIXED, stocks={1: stock(1), 2: stock(1)})
    assert (became, decision.rows[0].program_id, decision.rows[0].link) == ([], 1, None)
    assert decision.fallbacks == {}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"active": False}, "program_inactive"),
        ({"valid_until": NOW}, "program_ended"),
        ({"valid_from": NOW + SECOND}, "program_not_started"),
        ({"fallback": chain("FILE", on=["pool_empty"])}, "maximum_reached"),
    ],
)
def test_other_reasons_are_refused_at_once(changed: dict[str, Any], reason: str) -> None:
    spring = SPRING._replace(**changed)
    became, decision = rounds(message("SPRING"), spring, FILE, stocks={2: stock(1)})
    assert became == []
    assert refusals(decision) == [("SPRING", reason)]


@pytest.mark.parametrize("closed", [None, FILE._replace(active=False), FILE._replace(valid_until=NOW)])
def test_a_fallback_that_is_closed_or_gone_is_passed_over(closed: ProgramRules | None) -> None:
    programs = [SPRING, FIXED] if closed is None else [SPRING, closed, FIXED]
    _, decision = rounds(message("SPRING"), *programs, stocks={3: stock(1)})
    assert (decision.rows[0].program_id, decision.rows[0].link) == (3, 2)


def test_where_none_gives_a_code_the_asked_program_says_why() -> None:
    spring = SPRING._replace(room=5)
    became, decision = rounds(message("SPRING"), spring, FILE, FIXED, stocks={})
    assert len(became) == 2
    assert refusals(decision) == [("SPRING", "pool_empty")]
    [told] = json.loads(decision.rows[0].refusals or "[]")
    assert told["detail"].endswith("Its fallbacks gave no code either: FILE, FIXED.")
    assert decision.usage == {UsageKey(1, "campaign", "pool_empty"): 1}


def test_all_programs_of_a_request_give_a_code_or_none_does() -> None:
    gift = rules("GIFT", id=4)
    both = message("SPRING", "GIFT")
    _, decision = rounds(both, SPRING, FILE, FIXED, gift, stocks={2: stock(1), 4: stock(1)})
    assert [(row.ordinal, row.program_id, row.link) for row in decision.rows] == [(0, 2, 1), (1, 4, None)]
    # GIFT has no code, before SPRING is redirected or after it.
    _, decision = rounds(both, SPRING, FILE, FIXED, gift, stocks={2: stock(1)})
    assert refusals(decision) == [("GIFT", "maximum_reached")]
    [redirected], _ = rounds(both, SPRING, FILE, gift, stocks={2: stock(1), 4: stock(1)})
    _, decision = rounds(redirected, SPRING, FILE, gift, stocks={2: stock(1), 4: stock(0)})
    assert refusals(decision) == [("GIFT", "maximum_reached")]


def test_two_programs_with_one_fallback_get_two_of_its_codes() -> None:
    gift = rules("GIFT", id=4, fallback=chain("FILE"))
    both = message("SPRING", "GIFT")
    _, decision = rounds(both, SPRING._replace(fallback=chain("FILE")), FILE, gift, stocks={2: stock(2)})
    assert [(row.code, row.asked_program_id) for row in decision.rows] == [("C0", 1), ("C1", 4)]
    assert decision.taken == {1: (2, 2)}
    # With one code left there is none for the second.
    _, decision = rounds(both, SPRING._replace(fallback=chain("FILE")), FILE, gift, stocks={2: stock(1)})
    assert refusals(decision) == [("GIFT", "maximum_reached")]


def test_two_programs_may_share_the_code_of_their_fallback() -> None:
    gift = rules("GIFT", id=4, fallback=chain("FIXED"))
    spring = SPRING._replace(fallback=chain("FIXED"))
    _, decision = rounds(message("SPRING", "GIFT"), spring, FIXED, gift, stocks={3: stock(1)})
    assert [(row.code, row.again, row.asked_program_id) for row in decision.rows] == [("C0", False, 1), ("C0", True, 4)]
    assert decision.taken == {1: (1, 1)}


def test_locked_codes_are_waited_for_before_a_fallback_is_asked() -> None:
    became, decision = rounds(message("SPRING"), SPRING, FILE, stocks={1: stock(0, elsewhere=1), 2: stock(1)})
    assert (became, decision.busy, decision.rows) == ([], {1: [0]}, [])


def test_a_remote_service_is_waited_for_no_longer_than_it_may() -> None:
    spring = SPRING._replace(**REMOTE, fallback=chain("FILE", after_s=2.5))
    for wait in (None, Wait(NOW + SECOND, NOW - 2 * SECOND)):
        _, decision = rounds(message("SPRING")._replace(wait=wait), spring, FILE, stocks={2: stock(1)})
        assert decision.ordered == [0]
    waited = message("SPRING")._replace(wait=Wait(NOW + SECOND, NOW - 2.5 * SECOND))
    _, decision = rounds(waited, spring, FILE, stocks={2: stock(1)})
    assert decision.rows[0].link == 1
    # A fallback that is remote has its own codes to give by then, or none.
    _, decision = rounds(waited, spring, FILE._replace(**REMOTE), stocks={})
    assert refusals(decision) == [("SPRING", "remote_failed")]
    # Where the asked program has no service to wait for, its last fallback has all the time there is.
    off = SPRING._replace(room=5, fallback=chain("FILE", after_s=2.5))
    _, decision = rounds(waited, off, FILE._replace(**REMOTE), stocks={})
    assert decision.ordered == [0]


def test_each_program_of_a_request_is_waited_for_by_its_own_limit() -> None:
    spring = SPRING._replace(**REMOTE, fallback=chain("FILE", after_s=1))
    gift, later = rules("GIFT", id=4, **REMOTE), rules("LATER", id=5, **REMOTE, fallback=chain("FILE", after_s=3))
    asked = message("SPRING", "GIFT", "LATER")._replace(wait=Wait(NOW + SECOND, NOW - 2 * SECOND))

    def decided(request: Request, **given: int) -> Decision:
        stocks = {2: stock(given.get("file", 0)), 4: stock(given.get("gift", 0)), 5: stock(given.get("later", 0))}
        return rounds(request, spring, FILE, gift, later, stocks=stocks)[1]

    assert decided(asked, file=2).ordered == [0]
    assert decided(asked, file=2, gift=1).ordered == [0]
    rows = decided(asked, file=1, gift=1, later=1).rows
    assert [(row.program_id, row.link) for row in rows] == [(2, 1), (4, None), (5, None)]
    asked = asked._replace(wait=Wait(NOW + SECOND, NOW - 3 * SECOND))
    assert decided(asked, file=2).ordered == [0]
    rows = decided(asked, file=2, gift=1).rows
    assert [(row.program_id, row.link) for row in rows] == [(2, 1), (4, None), (2, 1)]
    asked = asked._replace(wait=Wait(NOW, NOW - 4 * SECOND))
    assert refusals(decided(asked, file=2)) == [("GIFT", "remote_failed")]


def test_after_the_deadline_no_fallback_is_asked() -> None:
    spring = SPRING._replace(**REMOTE)
    waited = message("SPRING", deadline=NOW)._replace(wait=Wait(NOW))
    became, decision = rounds(waited, spring, FILE, stocks={2: stock(1)})
    assert became == []
    assert refusals(decision) == [("SPRING", "remote_failed")]


def test_a_request_that_waits_is_as_it_was_asked() -> None:
    request = message("SPRING")
    [redirected], decision = rounds(request, SPRING, FILE._replace(**REMOTE), stocks={})
    assert decision.ordered == [0]
    assert redirected.as_asked == request


def test_a_preview_asks_no_fallback() -> None:
    became, decision = rounds(message("SPRING", preview=True), SPRING, FILE, stocks={})
    assert (became, decision.rows[0].code, decision.rows[0].link) == ([], "PREVIEW", None)
