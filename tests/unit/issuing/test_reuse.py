from datetime import timedelta
from hashlib import blake2b
from typing import Any

import pytest

from codewell.issuing.assignment_keys import assignment_key
from codewell.issuing.decide import decide
from codewell.issuing.decision import Decision
from codewell.issuing.model import AssignmentKey, LockedStock, PooledCode, Request
from codewell.pool.program_rules import ProgramRules
from tests.support.factories import NOW, message, rules, step, stock


def decided(
    requests: list[Request],
    program: ProgramRules,
    stocks: dict[int, LockedStock],
    held: dict[AssignmentKey, PooledCode] | None = None,
) -> Decision:
    return decide(requests, {program.name: program}, stocks, held or {}, NOW, lambda *_: "PREVIEW")


def codes(decision: Decision) -> list[tuple[str | None, bool]]:
    return [(row.code, row.again) for row in decision.rows]


@pytest.mark.parametrize(
    ("reuse", "expected"),
    [
        ("request", ["C0", "C1", "C2", "C3", "C4", "C5", "C6"]),
        ("profile", ["C0", "C0", "C0", "C0", "C0", "C0", "C1"]),
        ("campaign", ["C0", "C0", "C1", "C2", "C2", "C3", "C4"]),
        # A message has no finer step than its campaign.
        ("step", ["C0", "C0", "C1", "C2", "C3", "C4", "C5"]),
    ],
)
def test_within_what_a_profile_gets_its_code_again(reuse: str, expected: list[str]) -> None:
    requests = [
        message("SPRING", campaign_id="a"),
        message("SPRING", campaign_id="a", message_id="m-2"),
        message("SPRING", campaign_id="b"),
        step("SPRING", scenario_id="a", step_id="1"),
        step("SPRING", scenario_id="a", step_id="2"),
        step("SPRING", scenario_id="b", step_id="1"),
        message("SPRING", campaign_id="a", profile_id="p-2"),
    ]

    decision = decided(requests, rules(reuse=reuse), {1: stock(9)})

    assert [code for code, _ in codes(decision)] == expected
    assert [again for _, again in codes(decision)] == [code in expected[:place] for place, code in enumerate(expected)]
    assert decision.taken == {1: (len(set(expected)), len(set(expected)))}
    assert len(decision.assignments) == (0 if reuse == "request" else len(set(expected)))


def test_a_shared_code_goes_to_everybody_from_every_source() -> None:
    requests = [message("SPRING", profile_id="p-1"), step("SPRING", profile_id="p-2"), message("SPRING")]
    program = rules(shared=True, reuse="campaign")

    decision = decided(requests, program, {1: stock(5)})

    assert codes(decision) == [("C0", False), ("C0", True), ("C0", True)]
    assert [row.profile_id for row in decision.rows] == ["p-1", "p-2", "p-1"]
    assert list(decision.assignments) == [AssignmentKey(1, "", "")]


def test_what_a_profile_holds_needs_no_stock() -> None:
    held = {AssignmentKey(1, "p-1", ""): PooledCode(9, 4, "HELD", NOW + timedelta(seconds=1), '{"a": 1}')}

    decision = decided([message("SPRING")], rules(reuse="profile"), {1: stock(0)}, held)

    [row] = decision.rows
    assert (row.code, row.block_id, row.position, row.again) == ("HELD", 9, 4, True)
    assert (row.expires_at, row.fields) == (NOW + timedelta(seconds=1), '{"a": 1}')
    assert (decision.taken, decision.assignments) == ({}, {})


def test_a_code_whose_life_ended_is_replaced() -> None:
    key = AssignmentKey(1, "p-1", "")
    held = {key: PooledCode(9, 4, "OLD", NOW, None)}

    decision = decided([message("SPRING"), message("SPRING")], rules(reuse="profile"), {1: stock(5)}, held)

    assert codes(decision) == [("C0", False), ("C0", True)]
    assert decision.assignments == {key: PooledCode(1, 0, "C0", None, None)}


def test_an_ended_code_and_an_empty_pool_refuse() -> None:
    held = {AssignmentKey(1, "p-1", ""): PooledCode(9, 4, "OLD", NOW, None)}

    [row] = decided([message("SPRING")], rules(reuse="profile"), {1: stock(0)}, held).rows

    assert "maximum_reached" in (row.refusals or "")


def test_a_holding_lives_as_long_as_the_code_that_was_given() -> None:
    program = rules(reuse="profile", ttl=timedelta(days=1), ttl_from="attachment")

    decision = decided([message("SPRING"), message("SPRING")], program, {1: stock(5)})

    assert [row.expires_at for row in decision.rows] == [NOW + timedelta(days=1)] * 2
    assert [code.expires_at for code in decision.assignments.values()] == [NOW + timedelta(days=1)]


def test_the_rest_of_a_request_is_new_where_one_program_gives_again() -> None:
    programs = {"A": rules("A", id=1, reuse="profile"), "B": rules("B", id=2)}
    held = {AssignmentKey(1, "p-1", ""): PooledCode(9, 4, "HELD", None, None)}

    decision = decide([message("A", "B")], programs, {1: stock(0), 2: stock(1)}, held, NOW, lambda *_: "")

    assert codes(decision) == [("HELD", True), ("C0", False)]


@pytest.mark.parametrize(
    ("changed", "message_scope", "step_scope"),
    [
        ({"reuse": "profile"}, "", ""),
        ({"reuse": "campaign"}, "campaign:c", "scenario:c"),
        ({"reuse": "step"}, "campaign:c", "step:" + blake2b(b"c\x1fs", digest_size=16).hexdigest()),
    ],
)
def test_the_scope_of_a_holding(changed: dict[str, Any], message_scope: str, step_scope: str) -> None:
    program = rules(**changed)

    assert assignment_key(program, message("SPRING", campaign_id="c").event) == (1, "p-1", message_scope)
    assert assignment_key(program, step("SPRING", scenario_id="c", step_id="s").event) == (1, "p-1", step_scope)


def test_scopes_of_different_steps_never_meet() -> None:
    program = rules(reuse="step")

    scopes = {
        assignment_key(program, step("SPRING", scenario_id=scenario, step_id=place).event).scope
        for scenario, place in [("a", "b"), ("astep:", "b"), ("a", "step:b"), ("astep:b", "b"), ("scenario:a", "b")]
    }

    assert len(scopes) == 5
