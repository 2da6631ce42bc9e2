"""Who may use or hold a code, by the pure rules: repeated and late steps, and events of orders in any order."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from codewell.codes.lookup import CodeFacts, CodePlace
from codewell.errors import ProgramRefused
from codewell.redemption.decide import decide
from codewell.redemption.model import CodeTally, Step, TillRequest, TillRules, Use

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)


def rules(**changed: Any) -> TillRules:
    ready = TillRules("SPRING", True, None, False, 1, 1, False, "give_back", NOW)
    return ready._replace(**changed)


def tally(*uses: Use, **facts: Any) -> CodeTally:
    known = CodeFacts("AB-12", "attached", "p-1", NOW, None, None, None, CodePlace(0, 1, 0), NOW)
    used = sum(use.used_at is not None and use.ended_at is None for use in uses)
    code = CodeTally(known._replace(uses=used, **facts), used, facts.get("activated_at"))
    code.of_order = {use.order_id: use for use in uses if use.order_id is not None}
    code.holds = sum(use.holds(NOW) for use in uses)
    return code


def held(order_id: str = "o-1", until: datetime = LATER, **changed: Any) -> Use:
    return Use(1, order_id, None, None, 1, NOW, until, **changed)


def reason(rules: TillRules, code: CodeTally, step: Step, **given: Any) -> str | None:
    try:
        decide(rules, code, TillRequest(step, "AB-12", **given))
    except ProgramRefused as error:
        return error.reason
    return None


def test_a_refused_step_changes_nothing() -> None:
    refused: tuple[tuple[CodeTally, Step, str], ...] = (
        (tally(held("o-9")), "activate", "o-1"), (tally(held("o-9")), "hold", "o-1"), (tally(), "release", "o-1"),
        (tally(), "deactivate", "o-1"), (tally(state="expired"), "hold", "o-1"),
    )  # fmt: skip
    for given, step, order in refused:
        before = (given.uses, given.holds, given.activated_at, dict(given.of_order))
        assert reason(rules(), given, step, order_id=order) is not None
        assert (given.uses, given.holds, given.activated_at, dict(given.of_order)) == before
        assert not given.is_changed
        assert not given.changed


def test_a_hold_leaves_the_rest_to_others() -> None:
    code = tally(held("o-1"), held("o-2"))
    three = rules(per_code=3, per_profile=None)
    assert reason(three, code, "hold", order_id="o-3") is None
    assert reason(three, code, "hold", order_id="o-4") == "code_held"
    assert reason(three, code, "activate") == "code_held"
    assert reason(three, code, "activate", order_id="o-1") is None
    assert (code.uses, code.holds, code.activated_at) == (1, 2, None)


def test_a_lower_limit_lets_holds_be_used_and_nothing_else() -> None:
    code = tally(held("o-1"), held("o-2"), held("o-9", used_at=NOW))
    one = rules(per_code=1, per_profile=None)
    assert reason(one, code, "activate", order_id="o-1") == "code_used"
    assert reason(one, code, "deactivate", order_id="o-9") is None
    assert reason(one, code, "activate") == "code_held"
    assert reason(one, code, "activate", order_id="o-1") is None
    assert code.activated_at == NOW


def test_a_profile_uses_a_code_as_often_as_it_may() -> None:
    code = tally()
    twice = rules(per_code=None, per_profile=2)
    assert reason(twice, code, "activate") == "profile_required"
    assert reason(twice, code, "hold", order_id="o-1", profile_id="p-1") is None
    assert reason(twice, code, "activate", profile_id="p-1") is None
    assert reason(twice, code, "activate", profile_id="p-1") == "code_used_by_profile"
    # Its own hold counts once, as a hold and as a use; and somebody else may finish the order.
    assert reason(twice, code, "activate", order_id="o-1") is None
    assert reason(twice, code, "deactivate", order_id="o-1") is None
    assert reason(twice, code, "hold", order_id="o-2", profile_id="p-1") is None
    assert reason(twice, code, "activate", order_id="o-2", profile_id="p-2") is None
    assert code.of_profile == {"p-1": 1, "p-2": 1}


@pytest.mark.parametrize("refund", ["give_back", "keep_used"])
@pytest.mark.parametrize("undone", [1, 2])
def test_events_of_an_order_converge_in_any_order(refund: str, undone: int) -> None:
    """Paid, and cancelled or refunded or both: the code ends the same, however late the payment arrives."""
    ends = set()
    for order in permutations(["paid", *["undone"] * undone]):
        code = tally(held())
        seen: set[str] = set()
        for event in [*order, order[-1]]:
            seen.add(event)
            step: Step = "pay" if seen == {"paid"} else "undo" if seen == {"undone"} else "undo_paid"
            assert reason(rules(refund=refund), code, step, order_id="o-1") is None
        ends.add((code.uses, code.holds, code.activated_at))
    assert ends == {(0, 0, None) if refund == "give_back" else (1, 0, NOW)}


def test_a_paid_order_takes_what_it_held_if_it_is_free_and_not_what_it_gave_back() -> None:
    lapsed = held(until=NOW)
    assert reason(rules(), tally(lapsed), "pay", order_id="o-1") is None
    assert lapsed.used_at == NOW
    assert reason(rules(), tally(held(until=NOW), held("o-2")), "pay", order_id="o-1") == "code_held"
    assert reason(rules(), tally(held(until=NOW), held("o-2", used_at=NOW)), "pay", order_id="o-1") == "code_used"
    released = tally(held(ended_at=NOW, ended_by="call"))
    assert reason(rules(), released, "pay", order_id="o-1") is None
    assert not released.is_changed
