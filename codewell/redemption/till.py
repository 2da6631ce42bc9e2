"""Uses, holds, releases and takes back codes: one or many of a program in one transaction.

Each code's row in code_state is locked first, so that of any number of tills only as many succeed as the program
allows. Everything is read and decided after that. A code without such a row may take a shorter way (`untouched`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.codes import lookup
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.profiles.deciding_lock import hold_deciding_lock
from codewell.redemption import queries, untouched
from codewell.redemption.batch import Applied, Decided, Located, Outcome, decide_tallied, located, with_unknown
from codewell.redemption.model import CodeTally, Step, TillRequest, TillRules
from codewell.redemption.queries import Asked, Counting, Place
from schemas.till import HOLD_DEFAULT

_USING: Final[frozenset[Step]] = frozenset({"activate", "hold", "pay", "undo_paid"})


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
        [outcome] = await _apply_untouched(codes, request) or await _apply_locked(codes, request)
        if isinstance(outcome, CodewellError):
            raise outcome
        if outcome is not None:
            return outcome


async def _apply_untouched(codes: ProgramCodes, request: TillRequest) -> list[Outcome] | None:
    if codes.connection.is_in_transaction():
        return None
    decided = await untouched.decide_all(codes, [request])
    return decided.outcomes if decided is not None and await untouched.write(codes, decided) else None


async def _apply_locked(codes: ProgramCodes, request: TillRequest) -> list[Outcome]:
    async with codes.connection.transaction():
        await hold_deciding_lock(codes.connection)
        return await apply_all(codes, [request])


async def apply_all(codes: ProgramCodes, requests: Sequence[TillRequest]) -> list[Outcome]:
    """Decide requests as `decide_all` does, and write what was decided. Returns the outcomes."""
    decided = await decide_all(codes, requests)
    await write(codes, decided)
    return decided.outcomes


async def apply_located(codes: ProgramCodes, requests: Sequence[Located]) -> list[Outcome]:
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
    decided = await _decide_located(codes, located(requests, meant))
    return with_unknown(meant, decided)


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
    return await decide_tallied(codes, rules, tallies, requests)


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
