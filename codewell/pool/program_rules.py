"""What a program's rules allow now, and why they allow nothing. Pure.

A request, a filler and a person who makes codes all ask here.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from schemas.events import Reason


class Source(StrEnum):
    """Who asks for codes. Each has a switch on the program that says whether codes may be made for it."""

    CAMPAIGN = "campaign"
    SCENARIO = "scenario"
    PERSON = "person"
    """Somebody who attaches a code by hand. No switch is theirs: they take what is in the pool."""


class ProgramRules(NamedTuple):
    """A program's rules and the state of its pool, as the database had them when the claim began."""

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
    """How many codes may still be made before the maximum."""
    pool_max: int
    pooled: int
    """Codes in unexpired open blocks, whoever has locked them."""
    version: int
    """The template version that new codes are minted from; previews too."""
    codes_max: int
    codes_from: str
    """Where codes come from: a `template`, a `remote` service, or `import` alone."""
    on_order: int
    """Codes that the remote service was asked for and has not brought. There is no room where they will be."""

    def can_create(self, source: Source) -> bool:
        """Whether codes may be made for this source without anyone asking."""
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
        """Whether the generator keeps its pool full, and there is room for more."""
        return self.room > 0 and (self.can_create(Source.CAMPAIGN) or self.can_create(Source.SCENARIO))

    @property
    def reuses_codes(self) -> bool:
        """Whether a profile may get a code that was given before."""
        return self.shared or self.reuse != "request"


def closed_reason(program: ProgramRules, now: datetime) -> Reason | None:
    """Why the program gives nothing at this time, or None while it may."""
    if not program.active:
        return "program_inactive"
    if program.valid_from is not None and now < program.valid_from:
        return "program_not_started"
    if program.valid_until is not None and now >= program.valid_until:
        return "program_ended"
    return None


def refusal_sentence(name: str, reason: Reason, source: Source) -> str:
    """The refusal as a sentence for a person."""
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
