"""Uses and holds of codes to which nothing has happened since they were attached, in two round trips.

The usual way locks the codes, reads what counts of them, and writes: five round trips with the transaction's ends. Such
a code has no row in code_state, and so no uses or holds either. It is read and decided without a lock; to write it adds
that row, which fails if another has added it first. Then nothing is written, and the usual way follows.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import asyncpg

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.codes import typed
from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.constraints import violates
from codewell.pool.program_conditions import SWITCHED_ON, USES_PER_CODE, USES_PER_PROFILE
from codewell.redemption import queries
from codewell.redemption.batch import Decided, Located, decide_tallied, located, with_unknown
from codewell.redemption.model import CodeTally, TillRequest, TillRules
from codewell.redemption.queries import Place

# Answers and states are looked up one by one: a join that is planned while the tables are small would read all of them.
_FIND: Final = f"""
    WITH found AS MATERIALIZED ({typed.BLOCKS_OF_MEANT})
    SELECT f.*, a.profile_id, a.answered_at, a.expires_at AS code_expires_at, a.fields AS code_fields,
           coalesce(a.expires_at <= statement_timestamp(), false) AS expired,
           NOT p.shared AND a.answered_at IS NOT NULL AND (
               SELECT true FROM code_state s WHERE s.block_id = f.id AND s.position = f.position) IS NULL AS untouched,
           p.name, {SWITCHED_ON} AS switched_on, p.valid_from, p.shared, {USES_PER_CODE} AS per_code,
           {USES_PER_PROFILE} AS per_profile, p.holder_only, p.refund, statement_timestamp() AS now
    FROM found f JOIN program p ON p.id = $1
    LEFT JOIN LATERAL (
        SELECT a.profile_id, a.answered_at, a.expires_at, a.fields FROM answer a
        WHERE a.block_id = f.id AND a.position = f.position AND NOT a.again AND a.block_id IS NOT NULL LIMIT 1
    ) a ON true
    """  # noqa: S608  constants
# Uses that were decided by another limit than the program has now are not written.
_WRITE: Final = f"""
    SELECT CASE WHEN EXISTS (SELECT FROM program p, unnest($13::integer[]) AS w (per_code)
                             WHERE p.id = $1 AND {USES_PER_CODE} IS DISTINCT FROM w.per_code) THEN false
                ELSE use_untouched({", ".join(f"${number}" for number in range(1, 25))}) END
    """  # noqa: S608  constants
# Postgres plans a statement anew so often before it keeps a plan.
_PLANNED_ANEW: Final = 5


async def warm_up(codes: ProgramCodes) -> None:
    """Run both statements for no code, which takes a new connection ten times as long as one that has run them."""
    for _ in range(_PLANNED_ANEW + 1):
        await typed.meant_by(codes, [], _FIND)
    await codes.connection.execute(_WRITE, codes.program_id, *([],) * 23)


async def decide_all(codes: ProgramCodes, requests: Sequence[TillRequest]) -> Decided | None:
    """Decide requests as `till.decide_all` does, without a lock; None where the usual way has to.

    That is for codes that are not attached or to which something has happened, and for programs whose profiles share
    a code. Call it outside of a transaction.
    """
    meant = await typed.meant_by(codes, [request.code for request in requests], _FIND)
    found = located(requests, meant)
    # Rows of another statement, which found a text that is not as it is written, do not say so.
    if not found or not all(one.at.block.get("untouched") for one in found):
        return None
    rules = TillRules(*(found[0].at.block[name] for name in TillRules._fields))
    tallies = {one.place: CodeTally(_facts(one.request.code, one.at), 0, None) for one in found}
    if rules.holder_only:
        _add_holders(tallies, found)
    return with_unknown(meant, await decide_tallied(codes, rules, tallies, found))


async def write(
    codes: ProgramCodes, decided: Decided, responses: Mapping[TokenKey, StoredResponse] = MappingProxyType({})
) -> bool:
    """Write what was decided, in a transaction of its own, and store responses under their idempotency keys.

    False if something has happened to one of the codes meanwhile, or the limit of uses has changed: then nothing was
    written. Raises asyncpg.UniqueViolationError of `idempotency_once` if one of the keys already has a response.
    """
    changed = [(place, tally) for place, tally in decided.tallies.items() if tally.is_changed]
    if not changed and not responses:
        return True
    states = [
        (*place, tally.facts.profile_id, tally.uses, tally.activated_at, tally.facts.held_until)
        for place, tally in changed
    ]
    uses = [row for place, tally in changed for row in queries.new_rows(place, tally)]
    try:
        is_written: bool = await codes.connection.fetchval(
            _WRITE,
            codes.program_id,
            *columns_of(states, 6),
            *columns_of(uses, 11),
            *stored_responses.parameters_of(responses),
        )
    except asyncpg.UniqueViolationError as error:
        if violates(error, "idempotency_once"):
            raise
        return False
    return is_written


def _facts(text: str, at: LocatedCode) -> CodeFacts:
    row = at.block
    return CodeFacts(
        text,
        "expired" if row["expired"] else "attached",
        row["profile_id"],
        row["answered_at"],
        None,
        row["code_expires_at"],
        row["code_fields"],
        at.place,
        row["created_at"],
    )


def _add_holders(tallies: Mapping[Place, CodeTally], requests: Iterable[Located]) -> None:
    """Add the profiles that the requests name and that have the codes."""
    for one in requests:
        tally, profile_id = tallies[one.place], one.request.profile_id
        if profile_id is not None and profile_id == tally.facts.profile_id:
            tally.holders.add(profile_id)
