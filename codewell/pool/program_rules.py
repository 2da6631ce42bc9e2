"""A program's rules: what they allow now, and the reason when they allow nothing. Pure.

Claims, fills and manual generation all use these rules.
"""

from datetime import datetime, timedelta
from enum import StrEnum
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
    pooled: int
    """Codes in unexpired open blocks, locked or not; 0 where a statement reads no pool."""
    version: int
    """The template version for new codes and previews."""
    codes_max: int
    codes_from: str
    """`template`, `remote` (a remote service) or `import` (imports only)."""
    on_order: int
    """Codes ordered from the remote service that have not arrived. `room` excludes them."""

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

    @property
    def is_filled(self) -> bool:
        """Whether generators fill the pool and the maximum allows more codes."""
        return self.room > 0 and (self.can_create(Source.CAMPAIGN) or self.can_create(Source.SCENARIO))

    @property
    def reuses_codes(self) -> bool:
        """Whether an answer may contain a code that was given before."""
        return self.shared or self.reuse != "request"


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
    """The refusal as an English sentence for people."""
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
    }[reason]
