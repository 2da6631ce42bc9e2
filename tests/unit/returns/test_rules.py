"""What becomes of a code whose sender reports on its message."""

from datetime import timedelta
from typing import Any, cast

import pytest

from codewell.returns.rules import Before, CodeNow, ProgramReturns, Verdict, end_quarantine, judge
from schemas.reports import ReceiptKind, ReturnReason
from tests.support.factories import NOW

AFTER = timedelta(days=3)
REUSE = ProgramReturns("SPRING", "reuse", AFTER, shared=False, stopped=False)
DUE = NOW + AFTER


def decided(kind: ReceiptKind, code: CodeNow | None = None, before: Before | None = None, **program: Any) -> Verdict:
    return judge(kind, code or CodeNow(), before or Before(), REUSE._replace(**program), NOW)


@pytest.mark.parametrize("returns", ["reuse", "void", "keep"])
def test_who_can_have_seen_it_decides(returns: str) -> None:
    assert decided("before_handoff", returns=returns) == Verdict("returned", "before_handoff", moves=True)
    assert decided("permanent", returns=returns) == Verdict("quarantined", "after_handoff", DUE)
    assert decided("not_permanent", returns=returns) == Verdict("kept", "not_permanent")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (CodeNow(preview=True), "preview"),
        (CodeNow(again=True), "assigned"),
        (CodeNow(everybodys=True), "shared"),
        (CodeNow(used=True), "used"),
        (CodeNow(used=True, held=True), "held"),
        (CodeNow(deleted=True), "deleted"),
        (CodeNow(moved=True), "detached"),
        (CodeNow(expired=True), "expired"),
        (CodeNow(assigned=True), "assigned"),
    ],
)
@pytest.mark.parametrize("kind", ["before_handoff", "not_permanent", "permanent"])
def test_what_somebody_has_or_had_is_kept(code: CodeNow, reason: ReturnReason, kind: ReceiptKind) -> None:
    assert decided(kind, code) == Verdict("kept", reason)
    if reason != "preview":
        assert end_quarantine(code, REUSE) == Verdict("kept", reason)


def test_a_program_that_shares_its_code_keeps_it() -> None:
    assert decided("before_handoff", shared=True) == Verdict("kept", "shared")
    assert end_quarantine(CodeNow(), REUSE._replace(shared=True)) == Verdict("kept", "shared")


def test_while_returns_are_stopped_codes_wait() -> None:
    assert decided("before_handoff", stopped=True) == Verdict("quarantined", "returns_stopped", DUE)
    assert decided("permanent", stopped=True) == Verdict("quarantined", "returns_stopped", DUE)
    assert decided("not_permanent", stopped=True) == Verdict("kept", "not_permanent")


@pytest.mark.parametrize("kind", ["before_handoff", "not_permanent", "permanent"])
def test_what_arrived_stays_and_nothing_comes_back_twice(kind: ReceiptKind) -> None:
    assert decided(kind, before=Before("quarantined", DUE, "delivered")) == Verdict("kept", "delivered")
    assert decided(kind, before=Before("quarantined", DUE)) == Verdict("quarantined", "before", DUE)
    assert decided(kind, CodeNow(moved=True), Before("returned")) == Verdict("returned", "before")
    assert decided(kind, CodeNow(deleted=True), Before("voided")) == Verdict("voided", "before")


def test_the_last_word_of_a_provider_counts() -> None:
    assert decided("permanent", before=Before("kept")) == Verdict("quarantined", "after_handoff", DUE)


@pytest.mark.parametrize("kind", ["delivered", "opened", "clicked"])
def test_a_message_that_arrived_keeps_its_code(kind: ReceiptKind) -> None:
    assert decided(kind) == Verdict("kept", cast("ReturnReason", kind))
    assert decided(kind, before=Before("quarantined", DUE)) == Verdict("kept", cast("ReturnReason", kind))
    assert decided(kind, before=Before("returned")) == Verdict("returned", "before")
    assert decided(kind, CodeNow(preview=True)) == Verdict("kept", "preview")


def test_the_program_says_what_becomes_of_a_code_after_its_quarantine() -> None:
    assert end_quarantine(CodeNow(), REUSE) == Verdict("returned", "quarantine_over", moves=True)
    assert end_quarantine(CodeNow(), REUSE._replace(returns="void")) == Verdict("voided", "program_voids")
    assert end_quarantine(CodeNow(), REUSE._replace(returns="keep")) == Verdict("kept", "program_keeps")
