from collections.abc import Mapping, Sequence
from datetime import timedelta

from codewell.issuing.decide import decide
from codewell.issuing.decision import Decision
from codewell.issuing.model import AnswerRow, AssignmentKey, LockedStock, Lot, PooledCode, Request
from codewell.pool.program_rules import ProgramRules, Source
from tests.support.factories import NOW, message, rules, step, stock


def decided(
    requests: Sequence[Request],
    programs: list[ProgramRules],
    stocks: Mapping[int, LockedStock],
    assignments: Mapping[AssignmentKey, PooledCode] | None = None,
) -> Decision:
    by_name = {program.name: program for program in programs}
    return decide(requests, by_name, stocks, assignments or {}, NOW, lambda program, _: f"PREVIEW-{program.name}")


def test_each_request_gets_the_next_code() -> None:
    requests = [message("SPRING", profile_id="p-1"), step("SPRING", profile_id="p-2")]

    decision = decided(requests, [rules()], {1: stock(5, block_id=7)})

    assert decision.rows == [
        AnswerRow(requests[0].id, 0, 1, 7, 0, False, False, "p-1", "C0", None, None, None, NOW),
        AnswerRow(requests[1].id, 0, 1, 7, 1, False, False, "p-2", "C1", None, None, None, NOW),
    ]
    assert decision.taken == {7: (2, 2)}
    assert (decision.assignments, decision.busy, decision.unmade) == ({}, {}, {})


def test_a_request_for_several_programs_gets_a_code_of_each_in_its_order() -> None:
    programs = [rules("A", id=1), rules("B", id=2), rules("C", id=3)]
    stocks = {1: stock(1, block_id=10), 2: stock(1, block_id=20), 3: stock(1, block_id=30)}
    request = message("C", "A", template="{loyalty.B.promocode} {loyalty.A.promocode}")

    decision = decided([request], programs, stocks)

    assert [(row.ordinal, row.program_id, row.block_id) for row in decision.rows] == [
        (0, 3, 30),
        (1, 1, 10),
        (2, 2, 20),
    ]
    assert decision.taken == {10: (1, 1), 20: (1, 1), 30: (1, 1)}


def test_positions_with_holes_between_them_move_the_block_past_the_last() -> None:
    stock = LockedStock([Lot(5, [3, 8], ["X3", "X8"], None, None)], elsewhere=0)

    decision = decided([message("SPRING"), message("SPRING")], [rules()], {1: stock})

    assert decision.taken == {5: (9, 2)}


def test_a_code_brings_its_own_expiry_and_fields() -> None:
    expires_at = NOW + timedelta(days=3)
    codes = {1: stock(1, expires_at=expires_at, fields='{"discount": "10"}')}

    [row] = decided([message("SPRING")], [rules(ttl=timedelta(days=30))], codes).rows

    assert (row.expires_at, row.fields) == (expires_at, '{"discount": "10"}')


def test_a_life_that_begins_with_attachment_ends_that_long_after_now() -> None:
    program = rules(ttl=timedelta(hours=2), ttl_from="attachment")

    [row] = decided([message("SPRING")], [program], {1: stock(1)}).rows

    assert row.expires_at == NOW + timedelta(hours=2)


def test_a_preview_takes_nothing() -> None:
    stocks = {1: stock(3)}
    program = rules(ttl=timedelta(days=1))

    [row] = decided([message("SPRING", preview=True)], [program], stocks).rows

    assert (row.code, row.preview, row.expires_at) == ("PREVIEW-SPRING", True, NOW + timedelta(days=1))
    assert (row.block_id, row.position, row.again) == (None, None, False)
    assert stocks[1].left == 3


def test_a_preview_needs_no_stock_and_no_holding() -> None:
    held = {AssignmentKey(1, "p-1", ""): PooledCode(1, 0, "HELD", None, None)}

    decision = decided([step("SPRING", preview=True)], [rules(reuse="profile")], {1: stock(0)}, held)

    assert [row.code for row in decision.rows] == ["PREVIEW-SPRING"]
    assert decision.assignments == {}


def test_a_preview_of_several_programs_shows_each() -> None:
    programs = [rules("A", id=1), rules("B", id=2)]

    decision = decided([message("B", "A", preview=True)], programs, {1: stock(0), 2: stock(0)})

    assert [(row.ordinal, row.code) for row in decision.rows] == [(0, "PREVIEW-B"), (1, "PREVIEW-A")]


def test_a_refused_preview_says_that_it_is_one() -> None:
    [row] = decided([message("SPRING", preview=True)], [rules(active=False)], {1: stock(1)}).rows

    assert row.preview
    assert "program_inactive" in (row.refusals or "")


def test_a_request_that_waits_holds_up_nobody_behind_it() -> None:
    programs = [rules("A", id=1), rules("B", id=2)]
    requests = [message("A", "B"), message("B"), message("A")]

    decision = decided(requests, programs, {1: stock(0, elsewhere=9), 2: stock(1, block_id=2)})

    assert [row.request_id for row in decision.rows] == [requests[1].id]
    assert decision.busy == {1: [0, 2]}
    assert decision.taken == {2: (1, 1)}


def test_what_can_be_made_is_counted_for_each_program_and_source() -> None:
    programs = [
        rules("A", id=1, room=5, campaign_can_create=True, scenario_can_create=True),
        rules("B", id=2, room=5, scenario_can_create=True),
    ]
    requests = [message("A"), step("A"), step("B"), message("A")]

    decision = decided(requests, programs, {1: stock(0), 2: stock(0)})

    assert decision.unmade == {(1, Source.CAMPAIGN): [0, 3], (1, Source.SCENARIO): [1], (2, Source.SCENARIO): [2]}
    assert (decision.rows, decision.busy, decision.taken) == ([], {}, {})


def test_stock_that_others_have_locked_is_waited_for_before_anything_is_made() -> None:
    programs = [rules("A", id=1, room=5, campaign_can_create=True), rules("B", id=2)]

    decision = decided([message("A", "B")], programs, {1: stock(0), 2: stock(0, elsewhere=1)})

    assert (decision.busy, decision.unmade) == ({2: [0]}, {})
