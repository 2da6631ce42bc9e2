"""Uses, holds, releases and takes back codes: one or many of a program in one transaction.

Each code's row in code_state is locked first, so that of any number of tills only as many succeed as the program
allows. Everything is read and decided after that.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.codes import lookup
from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown, CodewellError, ProgramRefused
from codewell.redemption import queries
from codewell.redemption.decide import decide
from codewell.redemption.model import CodeTally, Step, TillRequest, TillRules
from codewell.redemption.queries import Asked, Counting, Place
from schemas.program import State
from schemas.till import HOLD_DEFAULT

_USING: Final[frozenset[Step]] = frozenset({"activate", "hold", "pay", "undo_paid"})


class Applied(NamedTuple):
    """A request that was applied: the code's facts after all, and whether it changed anything."""

    facts: CodeFacts
    is_new: bool


class Decided(NamedTuple):
    """What was decided of some requests, to be written."""

    outcomes: list[Applied | CodewellError | None]
    """In the order of the requests: that it is applied, the error against it, or None (`decide_all`)."""
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


async def activate(
    codes: ProgramCodes, code: str, *, profile_id: str | None = None, order_id: str | None = None,
    context: str | None = None,
) -> CodeFacts:  # fmt: skip
    """Use (redeem) an attached code, for a profile and an order where they are given. The same order uses it once.

    Of any number of concurrent attempts as many succeed as the program allows. Raises CodeUnknown, and ProgramRefused
    with the reason against it.
    """
    return await _facts(codes, TillRequest("activate", code, profile_id, order_id, context))


async def hold(
    codes: ProgramCodes, code: str, order_id: str, *, profile_id: str | None = None, context: str | None = None,
    ttl: timedelta = HOLD_DEFAULT,
) -> CodeFacts:  # fmt: skip
    """Keep a use of an attached code for an order, for `ttl` or until the code expires; the same order renews it.

    Raises CodeUnknown, and ProgramRefused with the reason against it.
    """
    return await _facts(codes, TillRequest("hold", code, profile_id, order_id, context, ttl))


async def release(codes: ProgramCodes, code: str, order_id: str) -> CodeFacts:
    """End an order's hold. Raises CodeUnknown, and ProgramRefused if the order does not hold the code."""
    return await _facts(codes, TillRequest("release", code, None, order_id))


async def deactivate(codes: ProgramCodes, code: str, order_id: str | None = None) -> CodeFacts:
    """Take a use back: the order's, or else the last one that names no order, or the only one.

    Raises CodeUnknown, and ProgramRefused if there is none, or if there are several and no order is given.
    """
    return await _facts(codes, TillRequest("deactivate", code, None, order_id))


async def _facts(codes: ProgramCodes, request: TillRequest) -> CodeFacts:
    return (await apply(codes, request)).facts


async def apply(codes: ProgramCodes, request: TillRequest) -> Applied:
    """Apply one request in a transaction. Raises CodewellError with the reason against it."""
    while True:
        async with codes.connection.transaction():
            [outcome] = await apply_all(codes, [request])
        if isinstance(outcome, CodewellError):
            raise outcome
        if outcome is not None:
            return outcome


async def apply_all(codes: ProgramCodes, requests: Sequence[TillRequest]) -> list[Applied | CodewellError | None]:
    """Decide requests as `decide_all` does, and write what was decided. Returns the outcomes."""
    decided = await decide_all(codes, requests)
    await write(codes, decided)
    return decided.outcomes


async def apply_located(codes: ProgramCodes, requests: Sequence[Located]) -> list[Applied | CodewellError | None]:
    """As `apply_all`, for codes whose places are known."""
    decided = await _decide_located(codes, requests)
    await write(codes, decided)
    return decided.outcomes


async def write(
    codes: ProgramCodes, decided: Decided, responses: Mapping[TokenKey, StoredResponse] = MappingProxyType({})
) -> None:
    """Write what was decided in this transaction, and store responses under their idempotency keys.

    Raises asyncpg.UniqueViolationError of `idempotency_once` if one of the keys already has a response.
    """
    await queries.write(codes.connection, codes.program_id, decided.shared, decided.tallies, responses)


async def decide_all(codes: ProgramCodes, requests: Sequence[TillRequest]) -> Decided:
    """Decide requests in their order; nothing is written yet, but the codes are locked.

    The outcome None means that the code has just moved to another block: try again. Call it only in a transaction,
    which keeps the codes locked until it ends.
    """
    meant = await queries.find_and_lock(codes, [request.code for request in requests])
    texts = [one.text for one in meant]
    found = [one.at for one in meant]
    located = [
        Located.of(one if one.code == text else one._replace(code=text), at)
        for one, text, at in zip(requests, texts, found, strict=True)
        if at is not None
    ]
    decided = await _decide_located(codes, located)
    outcomes = iter(decided.outcomes)
    return decided._replace(
        outcomes=[CodeUnknown(text) if at is None else next(outcomes) for text, at in zip(texts, found, strict=True)]
    )


async def _decide_located(codes: ProgramCodes, requests: Sequence[Located]) -> Decided:
    if not requests:
        return Decided([], {}, shared=False)
    connection = codes.connection
    locked = await queries.locked_ones(connection, [one.at for one in requests])
    rules, counting = await queries.counting(connection, codes.program_id, [_asked(one) for one in requests])
    counted = list(zip(requests, counting, strict=True))
    tallies = _tallies(counted, locked)
    await _add_counting(codes, rules, tallies, counted)
    await _add_lone(codes, tallies, requests)
    decided = [_decided(rules, tallies.get(one.place), one.request) for one in requests]
    await _add_ends_of_holds(codes, rules, tallies)
    facts = {place: _after(tally) for place, tally in tallies.items()}
    outcomes: list[Applied | CodewellError | None] = [
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


def _asked(one: Located) -> Asked:
    request = one.request
    return Asked(*one.place, request.order_id, request.profile_id if request.step in _USING else None)


def _tallies(counted: Sequence[tuple[Located, Counting]], locked: Collection[Place]) -> dict[Place, CodeTally]:
    """What is known of each code. Those that have moved, or were attached after the lock, are left out: try again."""
    tallies: dict[Place, CodeTally] = {}
    for one, counting in counted:
        facts = lookup.fact(one.at, counting.code, one.request.code)
        if facts is not None and (one.place in locked or facts.profile_id is None):
            tallies[one.place] = CodeTally(facts, facts.uses, facts.activated_at)
    return tallies


async def _add_counting(
    codes: ProgramCodes, rules: TillRules, tallies: dict[Place, CodeTally],
    requests: Sequence[tuple[Located, Counting]],
) -> None:  # fmt: skip
    """Add what counts to the tallies, as far as the rules and the requests need it."""
    profiles: set[tuple[Place, str]] = set()
    uncounted: set[tuple[Place, str]] = set()
    for one, counting in requests:
        request, place = one.request, one.place
        tally = tallies.get(place)
        if tally is None:
            continue
        tally.holds = counting.holds
        if request.order_id is not None and counting.of_order is not None:
            tally.of_order.setdefault(request.order_id, counting.of_order)
        if not rules.needs_profile or request.step not in _USING:
            continue
        if request.profile_id is not None:
            profiles.add((place, request.profile_id))
            tally.of_profile[request.profile_id] = counting.of_profile or 0
        if counting.of_order is not None and counting.of_order.profile_id is not None:
            uncounted.add((place, counting.of_order.profile_id))
    # Profiles of holds that the requests do not name themselves.
    for (place, profile), count in (await queries.of_profiles(codes.connection, list(uncounted - profiles))).items():
        tallies[place].of_profile[profile] = count
    if rules.holder_only:
        await _add_holders(codes, rules, tallies, profiles | uncounted)


async def _add_lone(codes: ProgramCodes, tallies: dict[Place, CodeTally], requests: Sequence[Located]) -> None:
    alone = [one.place for one in requests if one.request.step == "deactivate" and one.request.order_id is None]
    for place, use in (await queries.lone(codes.connection, [one for one in alone if one in tallies])).items():
        if use.order_id is None or tallies[place].uses == 1:
            tallies[place].lone.append(use)


async def _add_holders(
    codes: ProgramCodes, rules: TillRules, tallies: dict[Place, CodeTally], asked: Collection[tuple[Place, str]]
) -> None:
    own = {(place, profile) for place, profile in asked if tallies[place].facts.profile_id == profile}
    others = [one for one in asked if rules.shared and one not in own]
    for place, profile in own | await queries.holders(codes.connection, others):
        tallies[place].holders.add(profile)


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
