"""Events that say what happened elsewhere, and the answers to them."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, StringConstraints

from schemas import patterns
from schemas.event_parts import Event, Id, ShortName, UuidText

FailReason = Literal["rendering", "rejected", "suppressed", "cancelled", "bounced", "undeliverable"]
# What a receipt says, in one word: of the failed ones where it failed, and whether the provider tries again.
ReceiptKind = Literal["before_handoff", "not_permanent", "permanent", "delivered", "opened", "clicked"]


class SendFailed(Event):
    """The message of a request was not delivered.

    `before_handoff`: no provider got it, so no customer has seen its codes. `permanent` false: the provider tries
    again.
    """

    request_id: UuidText
    profile_id: Id
    stage: Literal["before_handoff", "after_handoff"]
    reason: FailReason
    permanent: bool = True
    at: AwareDatetime | None = None

    @property
    def kind(self) -> ReceiptKind:
        """The receipt in one word."""
        if self.stage == "before_handoff":
            return self.stage
        return "permanent" if self.permanent else "not_permanent"


class SendDelivered(Event):
    """The message of a request arrived, or its customer opened it or followed a link in it."""

    request_id: UuidText
    profile_id: Id
    stage: Literal["delivered", "opened", "clicked"]
    at: AwareDatetime | None = None

    @property
    def kind(self) -> ReceiptKind:
        """The receipt in one word."""
        return self.stage


OrderState = Literal["paid", "cancelled", "refunded"]


class OrderChanged(Event):
    """An order of the shop was paid, cancelled or refunded.

    `at`: when. Of events with times the latest says what the order is; without, a payment is the first of all, and the
    others are the last.
    """

    order_id: Annotated[str, StringConstraints(pattern=patterns.ORDER_ID)]
    state: OrderState
    at: AwareDatetime | None = None


ReturnOutcome = Literal["returned", "quarantined", "voided", "kept"]
ReturnReason = Literal[
    "before_handoff",
    "after_handoff",
    "returns_stopped",
    "not_permanent",
    "delivered",
    "opened",
    "clicked",
    "used",
    "held",
    "deleted",
    "detached",
    "expired",
    "shared",
    "assigned",
    "preview",
    "before",
    "quarantine_over",
    "program_keeps",
    "program_voids",
    "unknown_request",
    "other_profile",
    "request_refused",
]


class ReturnedCode(Event):
    """What became of one code, and why. `due_at`: when its quarantine is over."""

    program: ShortName
    code: str
    outcome: ReturnOutcome
    reason: ReturnReason
    due_at: AwareDatetime | None


class CodesReturned(Event):
    """The answer to a receipt: what became of each code of the request, in the order of its programs.

    `reason` is null, or says why no code is concerned: `unknown_request`, `other_profile` or `request_refused`.
    """

    request_id: UuidText
    profile_id: Id
    receipt: ReceiptKind
    codes: tuple[ReturnedCode, ...]
    reason: ReturnReason | None
