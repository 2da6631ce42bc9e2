"""What a claim works with: requests, the programs they name, the codes in hand, and the answers."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import chain, repeat
from typing import NamedTuple
from uuid import UUID

from codewell.pool.program_rules import ProgramRules, Source
from schemas.events import MessageRender, ScenarioStep


class ManualRequest(NamedTuple):
    """What a person wants when attaching one code of a program to a profile."""

    profile_id: str
    program: str
    preview: bool = False
    deadline: datetime | None = None

    @property
    def program_names(self) -> tuple[str, ...]:
        """The one program wanted, in the form that all kinds of request share."""
        return (self.program,)


RequestEvent = MessageRender | ScenarioStep | ManualRequest


class Request(NamedTuple):
    """One request for codes. Its id names it for ever: the same id again is the same request."""

    id: UUID
    event: RequestEvent
    names: tuple[str, ...]
    """The event's `program_names`, worked out once."""
    give_up_at: datetime | None = None
    """When it stops waiting for a remote service; None until it has begun to."""

    @property
    def source(self) -> Source:
        """Whose switch decides whether codes may be made for this request."""
        match self.event:
            case MessageRender():
                return Source.CAMPAIGN
            case ScenarioStep():
                return Source.SCENARIO
            case ManualRequest():
                return Source.PERSON


class PooledCode(NamedTuple):
    """One code that can be given. `fields` is JSON text, or None for no fields."""

    block_id: int
    position: int
    text: str
    expires_at: datetime | None
    fields: str | None


PooledCodeFields = tuple[int, int, str, datetime | None, str | None]
"""A Code's fields, or the Code itself."""


class Lot(NamedTuple):
    """Codes of one block that a claim has locked. All of them have one end and the same fields."""

    block_id: int
    positions: Sequence[int]
    texts: Sequence[str]
    """By position."""
    expires_at: datetime | None
    fields: str | None


class LockedStock:
    """The codes of one program that a claim has locked, in the order in which they are given."""

    def __init__(self, lots: Sequence[Lot], elsewhere: int) -> None:
        if any(len(lot.texts) != len(lot.positions) for lot in lots):
            raise ValueError("A block has not the texts that its counters say it has.")
        self._lots = lots
        self._drawn = sum(len(lot.positions) for lot in lots)
        # Made one by one from a lot's columns without a step in Python, for most of what a claim does is to give them.
        columns = (
            zip(repeat(lot.block_id), lot.positions, lot.texts, repeat(lot.expires_at), repeat(lot.fields))
            for lot in lots
        )
        self._codes: Iterator[PooledCodeFields] = chain.from_iterable(columns)
        self.left = self._drawn
        self.elsewhere = elsewhere
        """Codes in blocks that other workers have locked. They can't be known to be gone until those let go."""

    @property
    def taken(self) -> int:
        """How many were given."""
        return self._drawn - self.left

    def take(self) -> PooledCodeFields:
        """The next code. Callers look at `left` first, as a request gets all of its codes or none."""
        self.left -= 1
        return next(self._codes)

    def moved(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """By block, the position after the last one given and how many were given, where any were."""
        taken = self.taken
        for lot in self._lots:
            given = min(taken, len(lot.positions))
            if given == 0:
                return
            taken -= given
            yield lot.block_id, (lot.positions[given - 1] + 1, given)


class AssignmentKey(NamedTuple):
    """Whose code is given again, and within what: the program, one campaign or one step."""

    program_id: int
    profile_id: str
    scope: str


EVERYBODY = ""


def assignment_key(program: ProgramRules, event: RequestEvent) -> AssignmentKey:
    """The key under which the program gives this profile the same code again.

    A campaign is to a message what a scenario is to a step; a message has no finer step than its campaign. What is
    attached by hand is given again by hand.
    """
    if program.shared:
        return AssignmentKey(program.id, EVERYBODY, "")
    match program.reuse, event:
        case "profile", _:
            scope = ""
        case "step", ScenarioStep():
            # Two ids and the profile's would be more than one row of an index may have.
            step = f"{event.scenario_id}\x1f{event.step_id}".encode()
            scope = f"step:{blake2b(step, digest_size=16).hexdigest()}"
        case _, ScenarioStep():
            scope = f"scenario:{event.scenario_id}"
        case _, MessageRender():
            scope = f"campaign:{event.campaign_id}"
        case _, ManualRequest():
            scope = "hand"
    return AssignmentKey(program.id, event.profile_id, scope)


class AnswerRow(NamedTuple):
    """One row of the answer table: a code that was given, or the refusal of a whole request."""

    request_id: UUID
    ordinal: int
    program_id: int | None
    block_id: int | None
    position: int | None
    again: bool
    preview: bool
    profile_id: str
    code: str | None
    expires_at: datetime | None
    fields: str | None
    refusals: str | None
    answered_at: datetime
    """When it was decided, by the database's clock."""


class Decision(NamedTuple):
    """What a claim writes, and what it could not decide yet."""

    rows: list[AnswerRow]
    taken: dict[int, tuple[int, int]]
    """Block id -> (position after the last one taken, how many codes were given)."""
    assignments: dict[AssignmentKey, PooledCode]
    """Codes that from now on their profile has."""
    busy: dict[int, list[int]]
    """Program id -> indexes of requests for which it has stock, all locked by other workers."""
    unmade: dict[tuple[int, Source], list[int]]
    """(program id, source) -> indexes of requests for which codes may be made in place."""
    ordered: list[int]
    """Indexes of requests whose codes are to come from a remote service."""
