"""Data of a claim: requests, locked codes, assignments, answer rows and the decision."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import chain, repeat
from typing import NamedTuple
from uuid import UUID

from codewell.pool.program_rules import ProgramRules, Source
from schemas.events import MessageRender, ScenarioStep


class ManualRequest(NamedTuple):
    """A manual request: attach one code of a program to a profile."""

    profile_id: str
    program: str
    preview: bool = False
    deadline: datetime | None = None

    @property
    def program_names(self) -> tuple[str, ...]:
        """The short name as a tuple, as in the other kinds of request."""
        return (self.program,)


RequestEvent = MessageRender | ScenarioStep | ManualRequest


class Request(NamedTuple):
    """One request for codes. The id is its idempotency key: a second request with the same id is the same request."""

    id: UUID
    event: RequestEvent
    names: tuple[str, ...]
    """The event's `program_names`, computed once."""
    give_up_at: datetime | None = None
    """Time limit of the wait for a remote service; None before that wait begins."""

    @property
    def source(self) -> Source:
        """The source whose switch decides whether codes may be made for this request."""
        match self.event:
            case MessageRender():
                return Source.CAMPAIGN
            case ScenarioStep():
                return Source.SCENARIO
            case ManualRequest():
                return Source.PERSON


class PooledCode(NamedTuple):
    """One code that can be attached. `fields` is JSON text, or None for no custom fields."""

    block_id: int
    position: int
    text: str
    expires_at: datetime | None
    fields: str | None


PooledCodeFields = tuple[int, int, str, datetime | None, str | None]
"""A PooledCode or an equal plain tuple, which is cheaper to build."""


class Lot(NamedTuple):
    """Codes of one locked block. All have the same expiry and the same custom fields."""

    block_id: int
    positions: Sequence[int]
    texts: Sequence[str]
    """In the order of `positions`."""
    expires_at: datetime | None
    fields: str | None


class LockedStock:
    """Codes of one program that a claim has locked, in the order in which it gives them.

    Raises ValueError when a lot does not have one text for each position.
    """

    def __init__(self, lots: Sequence[Lot], elsewhere: int) -> None:
        if any(len(lot.texts) != len(lot.positions) for lot in lots):
            raise ValueError("A block has not the texts that its counters say it has.")
        self._lots = lots
        self._drawn = sum(len(lot.positions) for lot in lots)
        # A lazy C-level zip over each lot's columns avoids a Python step for each code: this is the hot path.
        columns = (
            zip(repeat(lot.block_id), lot.positions, lot.texts, repeat(lot.expires_at), repeat(lot.fields))
            for lot in lots
        )
        self._codes: Iterator[PooledCodeFields] = chain.from_iterable(columns)
        self.left = self._drawn
        self.elsewhere = elsewhere
        """Codes in blocks that other workers have locked. They may still be available once those locks are released."""

    @property
    def taken(self) -> int:
        """How many codes were given."""
        return self._drawn - self.left

    def take(self) -> PooledCodeFields:
        """Remove and return the next code. Callers check `left` first: a request gets all of its codes or none."""
        self.left -= 1
        return next(self._codes)

    def moved(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield (block id, (position after the last given code, codes given)) for each block that gave any."""
        taken = self.taken
        for lot in self._lots:
            given = min(taken, len(lot.positions))
            if given == 0:
                return
            taken -= given
            yield lot.block_id, (lot.positions[given - 1] + 1, given)


class AssignmentKey(NamedTuple):
    """Key of an assignment: a profile in the scope of a program, a campaign, a scenario or a step."""

    program_id: int
    profile_id: str
    scope: str


EVERYBODY = ""


def assignment_key(program: ProgramRules, event: RequestEvent) -> AssignmentKey:
    """The key under which the program reuses the profile's code for this request.

    A message is scoped by its campaign as a scenario's step is by its scenario; a message has no finer scope. Manual
    requests have a scope of their own unless the scope is the whole program.
    """
    if program.shared:
        return AssignmentKey(program.id, EVERYBODY, "")
    match program.reuse, event:
        case "profile", _:
            scope = ""
        case "step", ScenarioStep():
            # A hash, because two ids and the profile's could exceed the maximum size of an index row.
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
    """One row of the table `answer`: one attached or preview code, or the refusal of a whole request.

    `again` marks a reused code; `fields` and `refusals` are JSON text.
    """

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
    """Time of the decision, by the database's clock."""


class Decision(NamedTuple):
    """Writes of a claim, and the requests that it could not decide yet."""

    rows: list[AnswerRow]
    taken: dict[int, tuple[int, int]]
    """Block id -> (position after the last given code, codes given)."""
    assignments: dict[AssignmentKey, PooledCode]
    """New assignments: the code that each key gets from now on."""
    busy: dict[int, list[int]]
    """Program id -> indexes of requests whose remaining codes are all locked by other workers."""
    unmade: dict[tuple[int, Source], list[int]]
    """(program id, source) -> indexes of requests for which the claim may make codes itself."""
    ordered: list[int]
    """Indexes of requests that wait for codes from a remote service."""
