"""What becomes of a code when its sender reports what happened to the message. Pure."""

from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from schemas.reports import ReceiptKind, ReturnOutcome, ReturnReason

FAILED: Final[frozenset[ReceiptKind]] = frozenset(("before_handoff", "not_permanent", "permanent"))
_SEEN: Final[dict[ReceiptKind, ReturnReason]] = {"delivered": "delivered", "opened": "opened", "clicked": "clicked"}
FORGOTTEN: Final = "forgotten-"
"""How the id of a forgotten profile begins: the request id alone says that a report is right."""


class ProgramReturns(NamedTuple):
    """What a program says about codes that come back. `stopped`: an alert holds them up."""

    name: str
    returns: Literal["reuse", "void", "keep"]
    return_after: timedelta
    shared: bool
    stopped: bool


class CodeNow(NamedTuple):
    """A code of a request as it is now, with all its rows locked."""

    preview: bool = False
    again: bool = False
    """The profile had it already."""
    everybodys: bool = False
    """It is, or was, the shared code of its program."""
    used: bool = False
    held: bool = False
    deleted: bool = False
    moved: bool = False
    """It is in another block: it was taken from the profile."""
    expired: bool = False
    assigned: bool = False
    """The reuse policy gave it again, in an answer whose send did not fail."""


AS_GIVEN: Final = CodeNow()
"""Nothing has happened to the code since its profile got it, as to most."""


class Before(NamedTuple):
    """What earlier receipts about the same code led to. `outcome` is how it stands now; None: none failed."""

    outcome: ReturnOutcome | None = None
    due_at: datetime | None = None
    seen: ReceiptKind | None = None
    """The strongest report that the message arrived."""


NOTHING_BEFORE: Final = Before()


class Verdict(NamedTuple):
    """What becomes of a code."""

    outcome: ReturnOutcome
    reason: ReturnReason
    due_at: datetime | None = None
    moves: bool = False
    """It goes back to the pool now."""


def judge(kind: ReceiptKind, code: CodeNow, before: Before, program: ProgramReturns, now: datetime) -> Verdict:
    """Decide about one code of a request.

    No customer has seen a code that failed before the handoff; others wait. A copy of a receipt never comes here.
    """
    if code.preview:
        return Verdict("kept", "preview")
    if kind in _SEEN:
        return _arrived(_SEEN[kind], before)
    if before.seen is not None:
        return Verdict("kept", _SEEN[before.seen])
    if before.outcome in {"returned", "voided", "quarantined"}:
        return Verdict(before.outcome, "before", before.due_at if before.outcome == "quarantined" else None)
    mine = why_kept(code, shared=program.shared) or ("not_permanent" if kind == "not_permanent" else None)
    if mine is not None:
        return Verdict("kept", mine)
    return _failed(kind, program, now)


def _failed(kind: ReceiptKind, program: ProgramReturns, now: datetime) -> Verdict:
    if program.stopped:
        return Verdict("quarantined", "returns_stopped", now + program.return_after)
    if kind == "before_handoff":
        return Verdict("returned", "before_handoff", moves=True)
    return Verdict("quarantined", "after_handoff", now + program.return_after)


def end_quarantine(code: CodeNow, program: ProgramReturns) -> Verdict:
    """Decide about a code whose quarantine is over. `voided` counts as deleted."""
    mine = why_kept(code, shared=program.shared)
    if mine is not None:
        return Verdict("kept", mine)
    if program.returns == "keep":
        return Verdict("kept", "program_keeps")
    if program.returns == "void":
        return Verdict("voided", "program_voids")
    return Verdict("returned", "quarantine_over", moves=True)


def why_kept(code: CodeNow, *, shared: bool) -> ReturnReason | None:
    """Why a code stays with its profile, whatever failed; None if nothing speaks against its return."""
    if code is AS_GIVEN and not shared:
        return None
    reasons: tuple[tuple[bool, ReturnReason], ...] = (
        (shared or code.everybodys, "shared"),
        (code.again, "assigned"),
        (code.deleted, "deleted"),
        (code.held, "held"),
        (code.used, "used"),
        (code.moved, "detached"),
        (code.expired, "expired"),
        (code.assigned, "assigned"),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _arrived(reason: ReturnReason, before: Before) -> Verdict:
    """The message arrived after all: a code in quarantine leaves it, and one that has gone is the caller's to trace."""
    if before.outcome in {"returned", "voided"}:
        return Verdict(before.outcome, "before")
    return Verdict("kept", reason)
