"""Data of a claim: requests, locked codes, assignments, answer rows and the decision."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

from codewell.issuing.fallbacks import Link
from codewell.issuing.waits import Wait
from codewell.pool.program_rules import ProgramRules, Source
from schemas.events import MessageRender, ScenarioStep
from schemas.plain_events import PlainRender, PlainStep


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


MessageEvent = MessageRender | PlainRender
StepEvent = ScenarioStep | PlainStep
RequestEvent = MessageEvent | StepEvent | ManualRequest


class Request(NamedTuple):
    """One request for codes. The id is its idempotency key: a second request with the same id is the same request."""

    id: UUID
    event: RequestEvent
    names: tuple[str, ...]
    """The event's `program_names`, computed once."""
    wait: Wait | None = None
    """The wait for a remote service or the generator; None before it begins."""
    links: tuple[Link | None, ...] | None = None
    """For each name the fallback that it is, or None; None for a request that tries no fallback."""

    def redirected(self, links: Mapping[int, Link]) -> "Request":
        """The request with these links in the places (ordinals) of its programs."""
        names, present = list(self.names), list(self.links or [None] * len(self.names))
        for ordinal, link in links.items():
            names[ordinal], present[ordinal] = link.program, link
        return self._replace(names=tuple(names), links=tuple(present))

    @property
    def as_asked(self) -> "Request":
        """The request without fallbacks: they are found anew when it is decided again."""
        return self if self.links is None else self._replace(names=self.event.program_names, links=None)

    @property
    def source(self) -> Source:
        """The source whose switch decides whether codes may be made for this request."""
        match self.event:
            case MessageRender() | PlainRender():
                return Source.CAMPAIGN
            case ScenarioStep() | PlainStep():
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

    def lives_at(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or self.expires_at > now


_EXPIRES_AT: Final = attrgetter("expires_at")


def all_live(codes: Iterable[PooledCode], now: datetime) -> bool:
    """Whether none of them has expired."""
    soonest = min(filter(None, map(_EXPIRES_AT, codes)), default=None)
    return soonest is None or soonest > now


as_code: Final = partial(tuple.__new__, PooledCode)
"""Makes one of a tuple of its fields, in half of the constructor's time."""

PooledCodeFields = tuple[int, int, str, datetime | None, str | None]
"""A PooledCode or an equal plain tuple, which is cheaper to build."""


class LockedBlock(NamedTuple):
    """A block that a claim has locked."""

    id: int
    kind: str
    version: int
    first: int
    next: int
    size: int
    left: int
    holes: int
    expires_at: datetime | None
    fields: str | None
    row: int = 0
    """The version of its row (`xmin`): the transaction that wrote it last."""


class LockedPrograms(NamedTuple):
    """Existing programs by short name, the blocks locked for each, the database's time, and which requests are too old.

    A request with an id before `oldest` may have had an answer that has left the database. `rows` are the versions of
    the programs' rows, which each change of a row makes others; `transaction` is that of the rows that this one writes.
    `programs` and `blocks` are in the same order.
    """

    now: datetime
    oldest: UUID | None
    programs: dict[str, ProgramRules]
    blocks: dict[str, list[LockedBlock]]
    rows: dict[str, int]
    transaction: int


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

    __slots__ = ("_codes", "_drawn", "_lots", "elsewhere", "left")

    def __init__(self, lots: Sequence[Lot], elsewhere: int) -> None:
        drawn = 0
        for _, positions, texts, _, _ in lots:
            size = len(positions)
            if len(texts) != size:
                raise ValueError("A block has not the texts that its counters say it has.")
            drawn += size
        self._lots = lots
        self._drawn = drawn
        self._codes: Iterator[PooledCodeFields] | None = None
        self.left = drawn
        self.elsewhere = elsewhere
        """Codes in blocks that other workers have locked. They may still be available once those locks are released."""

    @property
    def taken(self) -> int:
        """How many codes were given."""
        return self._drawn - self.left

    def take(self) -> PooledCodeFields:
        """Remove and return the next code. Callers check `left` first: a request gets all of its codes or none."""
        if self._codes is None:
            # A lazy C-level zip over each lot's columns avoids a Python step for each code: this is the hot path.
            columns = (
                zip(repeat(lot.block_id), lot.positions, lot.texts, repeat(lot.expires_at), repeat(lot.fields))
                for lot in self._lots
            )
            self._codes = islice(chain.from_iterable(columns), self.taken, None)
        self.left -= 1
        return next(self._codes)

    def take_lots(self, count: int) -> Sequence[Lot]:
        """As `count` times `take`, at once: the codes by block."""
        skipped = self._drawn - self.left
        self.left -= count
        self._codes = None
        if count == self._drawn:
            return self._lots
        lots = []
        for lot in self._lots:
            size = len(lot.positions)
            part = slice(skipped, min(size, skipped + count))
            skipped = max(0, skipped - size)
            if part.start < part.stop:
                lots.append(Lot(lot.block_id, lot.positions[part], lot.texts[part], lot.expires_at, lot.fields))
                count -= part.stop - part.start
        return lots

    def moved(self) -> list[tuple[int, tuple[int, int]]]:
        """(block id, (position after the last given code, codes given)) of each block that gave any."""
        taken = self._drawn - self.left
        moved = []
        for block_id, positions, _, _, _ in self._lots:
            if taken <= 0:
                break
            given = min(taken, len(positions))
            taken -= given
            if given:
                moved.append((block_id, (positions[given - 1] + 1, given)))
        return moved


class AssignmentKey(NamedTuple):
    """Key of an assignment: a profile in the scope of a program, a campaign, a scenario or a step."""

    program_id: int
    profile_id: str
    scope: str


as_key: Final = partial(tuple.__new__, AssignmentKey)
"""As `as_code`."""


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
    asked_program_id: int | None = None
    """The program that was asked, where the code is from a fallback."""
    link: int | None = None
    """Which of the asked program's fallbacks `program_id` is, from 1."""


class Run(NamedTuple):
    """Codes of one block that plain requests got (`take_runs`), each the next one, as columns in their order."""

    ids: Sequence[UUID]
    profile_ids: Sequence[str]
    program_id: int
    block_id: int
    positions: Sequence[int]
    texts: Sequence[str]
    expires_at: datetime | None
    fields: str | None
    answered_at: datetime
    scope: str | None = None
    """In which each profile's code is assigned to it from now on; None where `Runs.assignments` says so, or nothing."""

    def answer(self, number: int) -> list[AnswerRow]:
        """The row of one request, by its number in the columns."""
        return [
            AnswerRow(
                self.ids[number], 0, self.program_id, self.block_id, self.positions[number], False, False,
                self.profile_ids[number], self.texts[number], self.expires_at, self.fields, None, self.answered_at,
            )
        ]  # fmt: skip


class AgainRun(NamedTuple):
    """Codes of one program that plain requests got because their profiles have them, as columns in their order."""

    ids: Sequence[UUID]
    profile_ids: Sequence[str]
    program_id: int
    codes: Sequence[PooledCode]
    answered_at: datetime

    def answer(self, number: int) -> list[AnswerRow]:
        """The row of one request, by its number in the columns."""
        block_id, position, text, expires_at, fields = self.codes[number]
        return [
            AnswerRow(
                self.ids[number], 0, self.program_id, block_id, position, True, False,
                self.profile_ids[number], text, expires_at, fields, None, self.answered_at,
            )
        ]  # fmt: skip
