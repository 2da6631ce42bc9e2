"""Steps that are taken together: where their codes are, and what is decided of each."""

from collections.abc import Sequence
from typing import NamedTuple, Self, TypeAlias

from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.typed import Meant
from codewell.errors import CodeUnknown, CodewellError, ProgramRefused
from codewell.redemption import queries
from codewell.redemption.decide import decide
from codewell.redemption.model import CodeTally, TillRequest, TillRules
from codewell.redemption.queries import Place
from schemas.program import State


class Applied(NamedTuple):
    """A request that was applied: the code's facts after all, and whether it changed anything."""

    facts: CodeFacts
    is_new: bool


Outcome: TypeAlias = Applied | CodewellError | None
"""Of one request: that it is applied, the error against it, or None: the code has just moved, so try again."""


class Decided(NamedTuple):
    """What was decided of some requests, to be written."""

    outcomes: list[Outcome]
    """In the order of the requests."""
    tallies: dict[Place, CodeTally]
    shared: bool


class Located(NamedTuple):
    """A request and where its code is."""

    request: TillRequest
    at: LocatedCode
    place: Place
    """The key of the code's rows."""

    @classmethod
    def of(cls, request: TillRequest, at: LocatedCode) -> Self:
        """A request for the code at this location."""
        return cls(request, at, Place(at.block["id"], at.position))


def with_unknown(meant: Sequence[Meant], decided: Decided) -> Decided:
    """What was decided of the codes that were found, with an error for each other one, in the order of the texts."""
    outcomes = iter(decided.outcomes)
    return decided._replace(outcomes=[CodeUnknown(text) if at is None else next(outcomes) for text, at in meant])


def located(requests: Sequence[TillRequest], meant: Sequence[Meant]) -> list[Located]:
    """The requests whose codes were found, by the codes' own texts."""
    return [
        Located.of(one if one.code == text else one._replace(code=text), at)
        for one, (text, at) in zip(requests, meant, strict=True)
        if at is not None
    ]


async def decide_tallied(
    codes: ProgramCodes, rules: TillRules, tallies: dict[Place, CodeTally], requests: Sequence[Located]
) -> Decided:
    """Decide requests in their order by what counts of their codes."""
    decided = [_decided(rules, tallies.get(one.place), one.request) for one in requests]
    await _add_ends_of_holds(codes, rules, tallies)
    facts = {place: _after(tally) for place, tally in tallies.items()}
    outcomes: list[Outcome] = [
        Applied(facts[one.place], known) if isinstance(known, bool) else known
        for one, known in zip(requests, decided, strict=True)
    ]
    return Decided(outcomes, tallies, rules.shared)


def _decided(rules: TillRules, tally: CodeTally | None, request: TillRequest) -> bool | ProgramRefused | None:
    """Whether the request changes anything, or the reason against it; None for a code that has moved."""
    if tally is None:
        return None
    try:
        return decide(rules, tally, request)
    except ProgramRefused as error:
        return error


async def _add_ends_of_holds(codes: ProgramCodes, rules: TillRules, tallies: dict[Place, CodeTally]) -> None:
    """Set when the last hold of each changed code ends, in its facts."""
    unknown: list[Place] = []
    for place, tally in tallies.items():
        if not tally.is_changed:
            continue
        living = [use.held_until for use in tally.of_order.values() if use.holds(rules.now) and use.held_until]
        tally.facts = tally.facts._replace(held_until=max(living, default=None))
        if len(living) < tally.holds:
            unknown.append(place)
    if not unknown:
        return
    # Orders hold them that the requests do not name.
    known = [use.id for place in unknown for use in tallies[place].of_order.values() if use.id is not None]
    for place, until in (await queries.other_holds(codes.connection, rules.now, unknown, known)).items():
        facts = tallies[place].facts
        tallies[place].facts = facts._replace(held_until=max(until, facts.held_until or until))


def _after(tally: CodeTally) -> CodeFacts:
    """The code's facts once the tally is written."""
    facts = tally.facts
    if not tally.is_changed:
        return facts
    state: State = facts.state
    if state in {"attached", "held", "activated"}:
        held: State = "held" if facts.held_until is not None else "attached"
        state = held if tally.activated_at is None else "activated"
    return facts._replace(state=state, uses=tally.uses, activated_at=tally.activated_at)
