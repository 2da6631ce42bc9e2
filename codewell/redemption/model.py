"""Data of redemption: what a till asks for, a program's rules for it, and a code's uses and holds."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from codewell.codes.lookup import CodeFacts
from schemas.till import HOLD_DEFAULT

Step = Literal["activate", "hold", "release", "deactivate", "pay", "undo", "undo_paid"]
"""What to do with a code. The last three come from an order's event: it was paid; it was cancelled or refunded, without
or with a payment before."""


class TillRequest(NamedTuple):
    """One step for one code."""

    step: Step
    code: str
    profile_id: str | None = None
    """The customer who uses or holds it."""
    order_id: str | None = None
    context: str | None = None
    """The caller's own note of where this was, such as the name of a till."""
    ttl: timedelta = HOLD_DEFAULT
    """How long a hold lasts."""


class TillRules(NamedTuple):
    """A program as redemption reads it; `now` is the database's time."""

    name: str
    switched_on: bool
    valid_from: datetime | None
    shared: bool
    per_code: int | None
    """How often a code may be used. None: no limit."""
    per_profile: int | None
    """How often one profile may use a code. None: no limit."""
    holder_only: bool
    refund: str
    now: datetime

    @property
    def needs_profile(self) -> bool:
        """Whether a use must name its profile: it is limited for each profile, or only holders may use codes."""
        limit = self.per_profile
        return self.holder_only or (limit is not None and (self.per_code is None or self.per_code > limit))


@dataclass(slots=True)
class Use:
    """A use of a code, or a hold that may become one: a row of code_use. `id` None: not stored yet."""

    id: int | None
    order_id: str | None
    profile_id: str | None
    context: str | None
    per_code: int | None
    taken_at: datetime
    held_until: datetime | None
    used_at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str | None = None
    is_changed: bool = False
    has_new_profile: bool = False

    def give_to(self, profile_id: str | None) -> None:
        """Let it be this profile's."""
        self.has_new_profile |= profile_id != self.profile_id
        self.profile_id = profile_id

    def holds(self, now: datetime) -> bool:
        """Whether it is a hold that lives."""
        return self.ended_at is None and self.used_at is None and self.held_until is not None and self.held_until > now


@dataclass(slots=True)
class CodeTally:
    """What counts of a code whose row is locked. Decisions change it; then its changes are written.

    It has the uses and holds that the requests of one batch are about, not all of the code.
    """

    facts: CodeFacts
    uses: int
    activated_at: datetime | None
    holds: int = 0
    """Living holds, of any order."""
    of_order: dict[str, Use] = field(default_factory=dict)
    """By order, its use or hold that has not ended; or the last one that has."""
    lone: list[Use] = field(default_factory=list)
    """Uses that name no order, the newest first, and one more that does if there are no others."""
    of_profile: Counter[str] = field(default_factory=Counter)
    """By profile, how many living uses and holds it has."""
    holders: set[str] = field(default_factory=set)
    """Profiles that have the code, of those that were asked for."""
    changed: list[Use] = field(default_factory=list)
    is_changed: bool = False
    undoes_unrecorded: bool = False
    """Whether an activation from before uses were recorded is undone."""

    def change(self, use: Use) -> None:
        """Note that this use has to be written."""
        self.is_changed = True
        if not use.is_changed:
            use.is_changed = True
            self.changed.append(use)
