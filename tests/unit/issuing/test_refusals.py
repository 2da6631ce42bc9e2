import json
import re
from datetime import timedelta
from typing import Any

import pytest

from codewell.issuing.decide import decide
from codewell.issuing.decision import Decision
from codewell.issuing.model import LockedStock, Request
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_sentence
from tests.support.factories import NOW, message, rules, step, stock


def decided(request: Request, programs: list[ProgramRules], stocks: dict[int, LockedStock]) -> Decision:
    return decide([request], {p.name: p for p in programs}, stocks, {}, NOW, lambda program, _: f"P-{program.name}")


def refusals(decision: Decision) -> list[tuple[str, str]]:
    """The (program, reason) pairs of a decision that is one refusal and nothing else."""
    [row] = decision.rows
    assert (row.ordinal, row.program_id, row.block_id, row.position) == (0, None, None, None)
    assert (row.code, row.expires_at, row.fields, row.again) == (None, None, None, False)
    assert (decision.taken, decision.assignments, decision.busy, decision.unmade) == ({}, {}, {}, {})
    return [(refusal["program"], refusal["reason"]) for refusal in json.loads(row.refusals or "")]


@pytest.mark.parametrize(
    ("changed", "reason", "sentence"),
    [
        ({"active": False}, "program_inactive", "SPRING is switched off or removed."),
        (
            {"valid_from": NOW + timedelta(microseconds=1)},
            "program_not_started",
            "The validity period of SPRING has not begun.",
        ),
        ({"valid_until": NOW}, "program_ended", "The validity period of SPRING has ended."),
        ({"room": 1}, "pool_empty", "SPRING has no code left and campaigns may not create any."),
        (
            {"room": 1, "scenario_can_create": True},
            "pool_empty",
            "SPRING has no code left and campaigns may not create any.",
        ),
        (
            {"room": 1, "campaign_can_create": True, "codes_from": "import"},
            "pool_empty",
            "SPRING has no code left and campaigns may not create any.",
        ),
        (
            {"room": 0, "campaign_can_create": True},
            "maximum_reached",
            "SPRING has no code left and holds as many as it may ever have.",
        ),
        # Whoever may not create any learns it too when there never will be any.
        ({"room": 0}, "maximum_reached", "SPRING has no code left and holds as many as it may ever have."),
    ],
)
def test_each_reason_and_its_sentence(changed: dict[str, Any], reason: str, sentence: str) -> None:
    request = message("SPRING")

    decision = decided(request, [rules(**changed)], {1: stock(0)})

    assert refusals(decision) == [("SPRING", reason)]
    assert decision.rows[0].request_id == request.id
    [refusal] = json.loads(decision.rows[0].refusals or "")
    assert refusal.keys() == {"program", "reason", "detail"}
    fact, remedy = refusal["detail"][: len(sentence)], refusal["detail"][len(sentence) :]
    assert fact == sentence
    # What to do about it follows.
    assert re.fullmatch(r" [A-Z][^.]+\.", remedy)


def test_scenarios_are_named_where_scenarios_may_not_create() -> None:
    [row] = decided(step("SPRING"), [rules(room=1, campaign_can_create=True)], {1: stock(0)}).rows

    assert "scenarios may not create any" in (row.refusals or "")


def test_a_program_that_nobody_made() -> None:
    decision = decided(message("NOPE"), [], {})

    assert refusals(decision) == [("NOPE", "program_unknown")]
    assert "No program has the short name NOPE." in (decision.rows[0].refusals or "")


def test_a_deadline_that_passed_refuses_every_program_whatever_else_is_wrong() -> None:
    request = message("SPRING", "NOPE", deadline=NOW)

    decision = decided(request, [rules(active=False)], {1: stock(1)})

    assert refusals(decision) == [("SPRING", "deadline_passed"), ("NOPE", "deadline_passed")]
    assert "The deadline of the request had passed before it was decided." in (decision.rows[0].refusals or "")


def test_a_deadline_to_come_refuses_nothing() -> None:
    decision = decided(message("SPRING", deadline=NOW + timedelta(microseconds=1)), [rules()], {1: stock(1)})

    assert [row.code for row in decision.rows] == ["C0"]


@pytest.mark.parametrize("preview", [False, True])
def test_one_bad_program_refuses_the_others_too(preview: bool) -> None:
    stocks = {1: stock(5), 2: stock(5)}
    programs = [rules("GOOD", id=1), rules("OVER", id=2, valid_until=NOW)]

    decision = decided(message("GOOD", "OVER", "NOPE", preview=preview), programs, stocks)

    assert refusals(decision) == [("OVER", "program_ended"), ("NOPE", "program_unknown")]
    assert (stocks[1].left, stocks[2].left) == (5, 5)


def test_one_empty_program_refuses_the_others_too() -> None:
    stocks = {1: stock(5), 2: stock(0), 3: stock(0)}
    programs = [rules("GOOD", id=1), rules("EMPTY", id=2, room=1), rules("FULL", id=3)]

    decision = decided(message("GOOD", "EMPTY", "FULL"), programs, stocks)

    assert refusals(decision) == [("EMPTY", "pool_empty"), ("FULL", "maximum_reached")]
    assert stocks[1].left == 5


def test_nobody_waits_for_one_program_when_another_will_refuse() -> None:
    programs = [rules("BUSY", id=1), rules("UNMADE", id=2, room=1, campaign_can_create=True), rules("EMPTY", id=3)]
    stocks = {1: stock(0, elsewhere=1), 2: stock(0), 3: stock(0)}

    assert refusals(decided(message("BUSY", "UNMADE", "EMPTY"), programs, stocks)) == [("EMPTY", "maximum_reached")]


def test_rules_are_judged_before_stock() -> None:
    assert refusals(decided(message("SPRING"), [rules(active=False)], {1: stock(0)})) == [
        ("SPRING", "program_inactive")
    ]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"valid_from": NOW, "valid_until": NOW + timedelta(microseconds=1)}, None),
        ({"valid_from": NOW + timedelta(microseconds=1)}, "program_not_started"),
        ({"valid_from": NOW - timedelta(days=2), "valid_until": NOW}, "program_ended"),
        ({"valid_until": NOW, "active": False}, "program_inactive"),
    ],
)
def test_the_period_holds_its_first_moment_and_not_its_last(changed: dict[str, Any], reason: str | None) -> None:
    assert closed_reason(rules(**changed), NOW) == reason


def test_a_remote_service_that_failed_is_named() -> None:
    assert (
        refusal_sentence("SPRING", "remote_failed", Source.CAMPAIGN)
        == "The remote service of SPRING gave no code in time. Check the service, and ask again."
    )
