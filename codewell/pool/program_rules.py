"""A program's rules: what they allow now, and the reason when they allow nothing. Pure.

Claims, fills and manual generation all use these rules.
"""

import json
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from schemas.events import Reason


class Source(StrEnum):
    """Origin of a request for codes. Campaigns and scenarios each have a can_create switch on the program."""

    CAMPAIGN = "campaign"
    SCENARIO = "scenario"
    PERSON = "person"
    """Manual attachment. It has no switch: it only takes codes from the pool."""


class ProgramRules(NamedTuple):
    """A program's rules and the state of its pool, as one statement read them."""

    id: int
    name: str
    active: bool
    valid_from: datetime | None
    valid_until: datetime | None
    campaign_can_create: bool
    scenario_can_create: bool
    shared: bool
    reuse: str
    ttl: timedelta | None
    ttl_from: str
    room: int
    """How many more codes the maximum allows."""
    pool_max: int
    """The mark, up to which generators fill the pool. 1 for a shared program, and 0 while its shared code lives."""
    pooled: int
    """Codes that can be attached, in locked blocks or not; 0 where a statement reads no pool."""
    version: int
    """The template version for new codes and previews."""
    codes_max: int
    codes_from: str
    """`template`, `remote` (a remote service) or `import` (imports only)."""
    on_order: int
    """Codes ordered for the pool from the remote service that have not arrived. `room` excludes all on order."""
    min_life_at_attach: timedelta | None
    """A pooled code with less life left is not attached."""
    fallback: str | None
    """Its fallbacks as JSON text, for `fallbacks_of`; None: it has none."""
    has_reservations: bool = False
    """Whether codes are set aside for campaigns or scenarios, which a claim then looks for."""

    def can_create(self, source: Source) -> bool:
        """Whether codes may be made automatically for this source."""
        if self.codes_from == "import":
            return False
        match source:
            case Source.CAMPAIGN:
                return self.campaign_can_create
            case Source.SCENARIO:
                return self.scenario_can_create
            case Source.PERSON:
                return False

    def lives_long_enough(self, expires_at: datetime | None, now: datetime) -> bool:
        """Whether a pooled code with this expiry may be attached at `now`, by its rest of life."""
        return expires_at is None or expires_at > now + (self.min_life_at_attach or timedelta(0))

    @property
    def is_filled(self) -> bool:
        """Whether generators fill the pool and the maximum allows more codes."""
        return self.room > 0 and (self.can_create(Source.CAMPAIGN) or self.can_create(Source.SCENARIO))

    @property
    def reuses_codes(self) -> bool:
        """Whether an answer may contain a code that was given before."""
        return self.shared or self.reuse != "request"


class Fallbacks(NamedTuple):
    """The programs whose codes are given where a program gives none."""

    programs: tuple[str, ...]
    """Short names, in the order in which they are asked."""
    reasons: frozenset[Reason]
    """The reasons for which they are asked."""
    after: timedelta | None
    """How long a request waits for a remote service before the next one is asked; None: as long as it may."""


@lru_cache(maxsize=1024)
def fallbacks_of(text: str) -> Fallbacks:
    """Parse `ProgramRules.fallback`."""
    programs, reasons, after_s = json.loads(text)
    return Fallbacks(tuple(programs), frozenset(reasons), None if after_s is None else timedelta(seconds=after_s))


def closed_reason(program: ProgramRules, now: datetime) -> Reason | None:
    """Why the program gives no codes at `now`; None if it may give codes."""
    if not program.active:
        return "program_inactive"
    if program.valid_from is not None and now < program.valid_from:
        return "program_not_started"
    if program.valid_until is not None and now >= program.valid_until:
        return "program_ended"
    return None


def refusal_sentence(name: str, reason: Reason, source: Source) -> str:
    """The refusal as English sentences for people: what is the case, and what to do."""
    switch = {
        Source.CAMPAIGN: "Switch campaign_can_create on, or add codes.",
        Source.SCENARIO: "Switch scenario_can_create on, or add codes.",
        Source.PERSON: "Generate or import codes first.",
    }[source]
    remedy = {
        "program_unknown": "Check its spelling.",
        "program_inactive": "Switch it on, or use another program.",
        "program_not_started": "Wait for it, or set valid_from earlier.",
        "program_ended": "Set valid_until later, or use another program.",
        "pool_empty": switch,
        "maximum_reached": "Raise codes_max.",
        "remote_failed": "Check the service, and ask again.",
        "deadline_passed": "Send a later one.",
        "request_too_old": "If it was never answered, send it with a new id.",
    }[reason]
    return f"{refusal_fact(name, reason, source)} {remedy}"


def refusal_fact(name: str, reason: Reason, source: Source) -> str:
    """The refusal as an English sentence without what to do about it."""
    whose = {Source.CAMPAIGN: "campaigns", Source.SCENARIO: "scenarios", Source.PERSON: "people"}[source]
    return {
        "program_unknown": f"No program has the short name {name}.",
        "program_inactive": f"{name} is switched off or removed.",
        "program_not_started": f"The validity period of {name} has not begun.",
        "program_ended": f"The validity period of {name} has ended.",
        "pool_empty": f"{name} has no code left and {whose} may not create any.",
        "maximum_reached": f"{name} has no code left and holds as many as it may ever have.",
        "remote_failed": f"The remote service of {name} gave no code in time.",
        "deadline_passed": "The deadline of the request had passed before it was decided.",
        "request_too_old": "The time in the request's id is before that of all requests that are still answered.",
    }[reason]
