"""Reissue: a customer's code is deleted, and the same profile gets another code of the pool in its place."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeVar
from uuid import UUID

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.codes import lifecycle, lookup
from codewell.codes.lifecycle import LockedCode
from codewell.codes.lookup import CodeFacts, CodePlace
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import STATE, USED_OR_HELD, code_state_reason
from codewell.errors import ProgramRefused, StackUnavailable
from codewell.issuing import claim_queries
from codewell.issuing.answer_builder import AnswerBuilder
from codewell.issuing.claim import MANUAL_WAIT
from codewell.issuing.decision import Decision
from codewell.issuing.model import AnswerRow, LockedStock, ManualRequest
from codewell.plurals import counted
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_sentence
from codewell.profiles.deciding_lock import hold_deciding_lock

T = TypeVar("T")

# Between two looks at an empty pool that the generator is about to fill.
_POLL_INTERVAL_S: Final = 0.1

_OF_PROFILE: Final = f"""
    SELECT a.code FROM answer a JOIN block b ON b.id = a.block_id
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
    WHERE a.profile_id = $2 AND a.program_id = $1 AND a.block_id IS NOT NULL AND NOT a.again
      AND s.returned_at IS NULL AND {STATE} = 'attached'
    LIMIT 2
    """  # noqa: S608  a constant
# How many codes come before this one in its chain, and how many the program allows.
_CHAIN: Final = f"""
    SELECT reissues_max, coalesce((
        SELECT number FROM code_reissue WHERE new_block_id = $2 AND new_position = $3), 0) AS number,
        EXISTS (SELECT FROM code_state s WHERE block_id = $2 AND position = $3 AND {USED_OR_HELD}) AS in_use
    FROM program WHERE id = $1
    """  # noqa: S608  a constant
_LINK: Final = """
    INSERT INTO code_reissue (program_id, old_block_id, old_position, new_block_id, new_position, number, reissues_max,
                              reason, actor)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    """
_MOVE_ASSIGNMENT: Final = """
    UPDATE holding SET block_id = $5, position = $6, code = $7, expires_at = $8, fields = $9::jsonb
    WHERE program_id = $1 AND profile_id = $2 AND block_id = $3 AND position = $4
    """


class ReissueWanted(NamedTuple):
    """Which code to replace, or whose, and why; `expires`: the new code's expiry is the old one's, or a new one."""

    code: str | None
    profile_id: str | None
    reason: str
    expires: Literal["same", "fresh"]


class Reissued(NamedTuple):
    """The new code, the place of the old one, and how often in a row the new one may be replaced."""

    code: CodeFacts
    replaces: CodePlace
    left: int


class NoCodeYet(StackUnavailable):
    """The pool is empty or locked, and may have a code in a moment, or the old code has just left. Nothing was done."""


async def until_there_is_a_code(attempt: Callable[[bool], Awaitable[T]], demand: Callable[[], Awaitable[None]]) -> T:
    """The result of `attempt`, which is repeated while the pool waits for the generator, up to `claim.MANUAL_WAIT`.

    `attempt` gets whether it is the last one, and calls `reissue`. `demand` asks for codes.
    """
    ends_at = time.monotonic() + MANUAL_WAIT.total_seconds()
    is_asked = False
    while time.monotonic() < ends_at:
        try:
            return await attempt(False)
        except NoCodeYet:
            if not is_asked:
                await demand()
                is_asked = True
            await asyncio.sleep(_POLL_INTERVAL_S)
    return await attempt(True)


async def reissue(
    codes: ProgramCodes, wanted: ReissueWanted, request_id: UUID, actor: Actor, *, is_last: bool
) -> Reissued:
    """Delete the attached or expired code and attach the next one of the pool to its profile, or do nothing.

    All in one transaction. `request_id` is that of the new code's answer. Moves the profile's assignment, if any,
    to the new code, and writes an audit entry. Raises NoCodeYet, hardly ever if it `is_last`; CodeUnknown;
    ProgramRefused when the code is pooled, activated, deleted or shared, was reissued too often, or the program has no
    code to give.
    """
    async with codes.connection.transaction():
        await hold_deciding_lock(codes.connection)
        return await _reissue(codes, wanted, request_id, actor, is_last=is_last)


async def _reissue(
    codes: ProgramCodes, wanted: ReissueWanted, request_id: UUID, actor: Actor, *, is_last: bool
) -> Reissued:
    code = await _code_of(codes, wanted.profile_id) if wanted.code is None else wanted.code
    async with lifecycle.locked_code(codes, code) as old:
        if wanted.code is None and old.facts.profile_id != wanted.profile_id:
            # It came back, and may be another profile's by now.
            raise NoCodeYet("The profile has just lost its code: try again in a moment.")
        await lifecycle.refuse_shared(codes, old)
        number, reissues_max = await _check(codes, old, wanted)
        row = await _attach_next(codes, old, wanted, request_id, is_last=is_last)
        await lifecycle.delete_locked(codes.connection, old)
        from_, to = (old.at.block["id"], old.at.position), (row.block_id, row.position)
        await codes.connection.execute(
            _MOVE_ASSIGNMENT, codes.program_id, old.facts.profile_id, *from_, *to, row.code, row.expires_at, row.fields
        )
        await codes.connection.execute(
            _LINK, codes.program_id, *from_, *to, number, reissues_max, wanted.reason, actor.actor
        )
        new = await lookup.find(codes, row.code or "")
        assert new is not None  # noqa: S101  it was attached in this transaction
        await audit_log.record(
            codes.connection, actor, "code.reissue", old.program, place=old.at.place, new_place=new.place,
            reason=wanted.reason,
        )  # fmt: skip
    return Reissued(new, old.at.place, reissues_max - number)


async def _code_of(codes: ProgramCodes, profile_id: str | None) -> str:
    """The profile's one living code of the program."""
    found = await codes.connection.fetch(_OF_PROFILE, codes.program_id, profile_id)
    if len(found) == 1:
        return str(found[0]["code"])
    name = await codes.connection.fetchval("SELECT name FROM program WHERE id = $1", codes.program_id)
    if found:
        raise ProgramRefused(
            f"The profile has several codes of {name}: name the code to reissue.", reason="profile_has_codes"
        )
    raise ProgramRefused(
        f"The profile has no code of {name} that could be reissued: attach one.", reason="profile_has_no_code"
    )


async def _check(codes: ProgramCodes, old: LockedCode, wanted: ReissueWanted) -> tuple[int, int]:
    """The new code's number in the chain, and the program's maximum. Raises ProgramRefused."""
    facts = old.facts
    if facts.state not in {"attached", "expired"} or facts.profile_id is None:
        state = "expired in the pool" if facts.state == "expired" else facts.state
        raise ProgramRefused(
            f"{facts.code} is {state}: only a code that a profile has, and has not used, can be reissued.",
            reason=code_state_reason(facts.state),
        )
    if facts.state == "expired" and wanted.expires == "same":
        raise ProgramRefused(
            f"{facts.code} is expired, and so would be a code with the same expiry: choose expires fresh.",
            reason="code_expired",
        )
    chain = await codes.connection.fetchrow(_CHAIN, codes.program_id, old.at.block["id"], old.at.position)
    if chain["in_use"]:
        raise ProgramRefused(
            f"An order holds {facts.code} or has used it: only a code that is not used can be reissued.",
            reason="code_used",
        )
    if chain["number"] >= chain["reissues_max"]:
        raise ProgramRefused(
            f"{old.program} allows {counted(chain['reissues_max'], 'reissue')} in a row, and {facts.code} has had "
            f"{chain['number']}: raise reissues_max, or attach another code.",
            reason="reissues_exhausted",
        )
    return chain["number"] + 1, chain["reissues_max"]


async def _attach_next(
    codes: ProgramCodes, old: LockedCode, wanted: ReissueWanted, request_id: UUID, *, is_last: bool
) -> AnswerRow:
    """Attach the next pooled code to the old one's profile. Never waits for a block, as the old one's is locked."""
    locked = await claim_queries.lock(codes.connection, {old.program: 1})
    program = locked.programs[old.program]
    reason = closed_reason(program, locked.now)
    if reason is not None:
        raise ProgramRefused(refusal_sentence(program.name, reason, Source.PERSON), reason=reason)
    stock = await claim_queries.draw(codes.connection, codes.minters, program, locked.blocks[program.name], 1)
    if stock.left == 0:
        raise _no_code(program, is_last=is_last)
    request = ManualRequest(old.facts.profile_id or "", program.name)
    row = _answer(program, locked.now, stock, request, request_id)
    if wanted.expires == "same":
        row = row._replace(expires_at=old.facts.expires_at)
    await claim_queries.write(codes.connection, _decision(row, stock))
    return row


def _answer(
    program: ProgramRules, now: datetime, stock: LockedStock, request: ManualRequest, request_id: UUID
) -> AnswerRow:
    rows: list[AnswerRow] = []
    # The old code's assignment moves to the new one, so this makes none.
    AnswerBuilder(program, now, rows, {}).attach(request_id, 0, request, stock.take())
    return rows[0]


def _decision(row: AnswerRow, stock: LockedStock) -> Decision:
    return Decision.empty()._replace(rows=[row], taken=dict(stock.moved()))


def _no_code(program: ProgramRules, *, is_last: bool) -> ProgramRefused | StackUnavailable:
    if program.pooled > 0 or (program.is_filled and not is_last):
        kind = StackUnavailable if is_last else NoCodeYet
        return kind(f"All codes of {program.name} are locked by other requests: try again in a moment.")
    reason: Literal["maximum_reached", "pool_empty"] = "pool_empty"
    if program.room <= 0 and program.on_order == 0:
        reason = "maximum_reached"
    return ProgramRefused(refusal_sentence(program.name, reason, Source.PERSON), reason=reason)
