"""Receipts over HTTP: what senders report about their messages, and what became of the codes."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from schemas import patterns
from schemas.events import Id, ShortName
from schemas.reports import ReceiptKind, ReturnOutcome, ReturnReason
from schemas.strict_model import StrictModel

RECEIPTS_MAX: Final = 1_000


class SendReceipt(StrictModel):
    """A report about the message of a request.

    `before_handoff`: no provider got it. `not_permanent`, `permanent`: it failed after the handoff, and the provider
    tries again or not. The others: it arrived.
    """

    request_id: Annotated[str, Field(pattern=patterns.UUID)]
    profile_id: Id
    receipt: ReceiptKind


class SendReceipts(StrictModel):
    """Receipts to settle, in the order in which they came."""

    receipts: Annotated[tuple[SendReceipt, ...], Field(min_length=1, max_length=RECEIPTS_MAX)]


class ReturnedCodeFacts(StrictModel):
    """What became of a code, and why. `due_at`: when its quarantine is over."""

    program: ShortName
    code: str
    outcome: ReturnOutcome
    reason: ReturnReason
    due_at: AwareDatetime | None


class SettledReceipt(SendReceipt):
    """A receipt with what became of the codes of its request, in the order of the request's programs.

    `reason` null, or why no code is concerned: `unknown_request` (send it again later), `other_profile` or
    `request_refused`.
    """

    codes: list[ReturnedCodeFacts]
    reason: ReturnReason | None


class SettledReceipts(StrictModel):
    """The receipts in the order of the call."""

    receipts: list[SettledReceipt]
