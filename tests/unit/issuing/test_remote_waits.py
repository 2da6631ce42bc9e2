"""A request for an empty remote program waits, but not for ever, and its refusal says whose fault it was."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from codewell.issuing.decide import decide
from codewell.issuing.decision import Decision
from codewell.issuing.model import LockedStock, Request
from codewell.issuing.waits import Wait
from codewell.pool.program_rules import Source
from tests.support.factories import NOW, message, rules, step, stock

SECOND = timedelta(seconds=1)
REMOTE: dict[str, Any] = {"codes_from": "remote", "campaign_can_create": True, "room": 5}


def decided(request: Request, *stocks: LockedStock, **changed: Any) -> Decision:
    programs = {"SPRING": rules(**{**REMOTE, **changed}), "MINTED": rules("MINTED", id=2)}
    return decide([request], programs, dict(enumerate(stocks, start=1)), {}, NOW, lambda *_: "PREVIEW")


def reasons(decision: Decision) -> list[tuple[str, str]]:
    [row] = decision.rows
    assert (decision.ordered, decision.unmade, decision.busy, decision.taken) == ([], {}, {}, {})
    return [(one["program"], one["reason"]) for one in json.loads(row.refusals or "[]")]


def waiting(until: datetime | None, **data: Any) -> Request:
    return message("SPRING", **data)._replace(wait=None if until is None else Wait(until))


@pytest.mark.parametrize(
    "request_",
    [waiting(None), waiting(NOW + SECOND), waiting(None, deadline=NOW + SECOND)],
)
@pytest.mark.parametrize("changed", [{}, {"room": 0, "on_order": 3}])
def test_it_waits_while_codes_may_come(request_: Request, changed: dict[str, Any]) -> None:
    decision = decided(request_, stock(0), **changed)
    assert (decision.ordered, decision.rows, decision.unmade) == ([0], [], {})


def test_it_waits_no_longer_than_it_may() -> None:
    assert reasons(decided(waiting(NOW), stock(0))) == [("SPRING", "remote_failed")]
    # Codes that are there are given though it has waited too long: it has no deadline of its own.
    assert decided(waiting(NOW - SECOND), stock(1)).rows[0].code == "C0"


def test_a_deadline_that_passed_is_the_services_fault_only_where_it_was_waited_for() -> None:
    late = {"deadline": NOW}
    assert reasons(decided(waiting(None, **late), stock(0))) == [("SPRING", "deadline_passed")]
    assert reasons(decided(waiting(NOW, **late), stock(0))) == [("SPRING", "remote_failed")]
    # Its codes have come since, too late.
    assert reasons(decided(waiting(NOW, **late), stock(1))) == [("SPRING", "deadline_passed")]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"room": 0}, "maximum_reached"),
        ({"campaign_can_create": False}, "pool_empty"),
        ({"campaign_can_create": False, "scenario_can_create": True}, "pool_empty"),
        ({"campaign_can_create": False, "room": 0, "on_order": 3}, "pool_empty"),
    ],
)
@pytest.mark.parametrize("until", [None, NOW, NOW + SECOND])
def test_where_no_codes_come_nobody_waits(changed: dict[str, Any], reason: str, until: datetime | None) -> None:
    assert reasons(decided(waiting(until), stock(0), **changed)) == [("SPRING", reason)]


def test_a_source_waits_by_its_own_switch() -> None:
    assert decided(step("SPRING"), stock(0), scenario_can_create=True).ordered == [0]
    assert reasons(decided(step("SPRING"), stock(0))) == [("SPRING", "pool_empty")]


def test_of_several_programs_all_are_waited_for_or_the_request_is_refused() -> None:
    both = message("SPRING", "MINTED")
    assert decided(both, stock(0), stock(1)).ordered == [0]
    assert reasons(decided(both, stock(0), stock(0))) == [("MINTED", "maximum_reached")]
    # What others have locked is looked at again before anything else is waited for.
    assert decided(both, stock(0), stock(0, elsewhere=1)).busy == {2: [0]}
    assert decided(both, stock(0, elsewhere=1), stock(1)).busy == {1: [0]}


def test_what_can_be_made_is_made_before_the_service_is_waited_for() -> None:
    programs = {
        "SPRING": rules(**REMOTE),
        "MINTED": rules("MINTED", id=2, campaign_can_create=True, room=1),
    }
    stocks = {1: stock(0), 2: stock(0)}
    decision = decide([message("SPRING", "MINTED")], programs, stocks, {}, NOW, lambda *_: "PREVIEW")
    assert decision.unmade == {(2, Source.CAMPAIGN): [0]}
