"""Manual attachment: the next code of the pool, a pooled code by its text, or a text that is new to the program."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.codes import lifecycle, lookup, possible_texts, typed
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import code_state_reason
from codewell.errors import ProgramRefused, ProgramUnknown, RequestTaken, StackUnavailable
from codewell.infra.id_times import is_before
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.constraints import violates
from codewell.issuing import claim_queries
from codewell.issuing.assignments import AssignmentTaken
from codewell.issuing.attach import attach_codes
from codewell.issuing.claim import MANUAL_WAIT
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import AnswerRow, LockedPrograms, ManualRequest, PooledCode, Request
from codewell.minting.template import CODE_CHARACTERS_MAX
from codewell.pool import folded_texts
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_sentence
from codewell.reservations import reserved_codes
from codewell.usage.tally import UsageTally

# Between two looks at an empty pool that the generator is about to fill.
_POLL_INTERVAL_S: Final = 0.1

_TAKE_OUT: Final = """
    UPDATE block SET attached = attached + 1, holes = holes + 1, open = open AND next + holes + 1 < size WHERE id = $1
    """
_TAKE_IN: Final = f"""
    WITH held AS (
        INSERT INTO block (program_id, kind, size, next, attached, open, expires_at, origin, created_at)
        VALUES ($1, 'list', 1, 1, 1, false, $2, 'hand', $3) RETURNING id
    ), counted AS (
        UPDATE program SET imported = imported + 1, {folded_texts.COUNT_FOLDED.format(number=1)} WHERE id = $1
    )
    INSERT INTO code (block_id, position, program_id, text) SELECT id, 0, $1, $4 FROM held RETURNING block_id
    """  # noqa: S608  a constant
# What `_TAKE_OUT` and `_TAKE_IN` leave for ever: a claim takes no code from such a position.
_WAS_NAMED: Final = """
    SELECT b.origin = 'hand' OR EXISTS (
        SELECT FROM code_state s WHERE s.block_id = b.id AND s.position = $2 AND s.hole)
    FROM block b WHERE b.id = $1
    """


class Attacher(Protocol):
    """Decides requests for codes: `Claims`, or a batcher that collects many requests before it calls `Claims`."""

    @property
    def names(self) -> Mapping[int, str]:
        """Short name by program id, for the programs of all requests so far."""

    async def attach(self, requests: Sequence[Request]) -> ClaimResult:
        """Decide each request, possibly in one batch with others."""


async def attach(
    claims: Attacher, program: str, profile_id: str, request_id: UUID,
    is_of_named: Callable[[AnswerRow], Awaitable[bool]] | None = None,
) -> AnswerRow:  # fmt: skip
    """Attach the next code of the pool, or the profile's assigned code if the program reuses codes.

    Idempotent by request id. While the pool is empty and may be filled, waits for the generator, up to
    `claim.MANUAL_WAIT`; `claims` reports the pool as low. Raises ProgramRefused with the reason when no code may be
    given, StackUnavailable while other requests lock all codes, and RequestTaken when another request has used this id:
    also one that named its code, if `is_of_named` (as `was_named`) is given.
    """
    request: Request | None = Request(request_id, ManualRequest(profile_id, program), (program,))
    rows = None
    ends_at = time.monotonic() + 2 * MANUAL_WAIT.total_seconds()
    while rows is None and request is not None and time.monotonic() < ends_at:
        if request.wait is not None:
            await asyncio.sleep(_POLL_INTERVAL_S)
        claimed = await claims.attach([request])
        rows = claimed.rows_of(request_id)
        request = next((one for one in claimed.waiting if one.id == request_id and one.wait is not None), None)
    if rows is None:
        raise StackUnavailable(f"All codes of {program} are locked by other requests: try again in a moment.")
    [row] = rows
    asked = claims.names.get(row.asked_program_id or row.program_id or 0, program)
    if row.profile_id != profile_id or asked != program:
        raise RequestTaken
    if row.refusals is not None:
        refusals = json.loads(row.refusals)
        if [one["program"] for one in refusals] != [program]:
            raise RequestTaken
        raise ProgramRefused(" ".join(one["detail"] for one in refusals), reason=refusals[0]["reason"])
    # What this very call claimed is seldom among these rows.
    if is_of_named is not None and request_id in claimed.rows and await is_of_named(row):
        raise RequestTaken
    return row


async def was_named(connection: Connection, row: AnswerRow) -> bool:
    """Whether this row is of a request that named its code (`attach_named`)."""
    if row.again or row.block_id is None:
        return False
    return bool(await connection.fetchval(_WAS_NAMED, row.block_id, row.position))


async def is_answered(connection: Connection, request_id: UUID) -> bool:
    """Whether this request has an answer."""
    return bool(await claim_queries.stored_answers(connection, [request_id]))


async def attach_named(
    connection: Connection, minters: Minters, name: str, code: str, profile_id: str, request_id: UUID,
    actor: Actor | None = None, on_new: Callable[[], None] | None = None, usage: UsageTally | None = None,
) -> AnswerRow:  # fmt: skip
    """Attach the code with this text. A text that is new to the program becomes one of its codes first.

    Idempotent by request id. Writes an audit entry if `actor` is given. Calls `on_new` when the text is new, before the
    rules are checked. Counts the attachment in `usage` once it is committed. Raises ProgramUnknown; ProgramRefused when
    the code is not pooled, is not a valid text, or the program's rules forbid it; RequestTaken when another request has
    used this id.
    """
    request = Request(request_id, ManualRequest(profile_id, name), (name,))
    while True:
        program = (await _rules(connection, name)).programs[name]
        codes = ProgramCodes(connection, minters, program.id)
        [(text, at)] = await typed.meant_all(codes, [code])
        text = code if at is None else text
        stored = await claim_queries.stored_answers(connection, [request_id])
        if stored:
            asked = [(program.id, text, profile_id)]
            if [(row.program_id, row.code, row.profile_id) for row in stored] != asked or not await was_named(
                connection, stored[0]
            ):
                raise RequestTaken
            return stored[0]
        try:
            if at is None:
                if on_new is not None:
                    on_new()
                row = await _take_in_first(codes, request, text, actor)
            else:
                async with lifecycle.locked_code(codes, text) as locked:
                    row = await _take_out(connection, request, locked, actor)
        except lifecycle.CodeMoved:
            continue
        except asyncpg.UniqueViolationError as error:
            # A duplicate of this request won the race in another process. The next round reads its answer.
            if not violates(error, "answer_once"):
                raise
        else:
            (usage or UsageTally()).count(program.id, "attached")
            return row


async def _take_out(
    connection: Connection, request: Request, locked: lifecycle.LockedCode, actor: Actor | None
) -> AnswerRow:
    """Attach a pooled code ahead of its position, which leaves a hole in its block."""
    program, now = await _may_attach(connection, request)
    facts = locked.facts
    if facts.state != "pooled":
        reason = code_state_reason(facts.state)
        raise ProgramRefused(f"{facts.code} is {facts.state}: only a pooled code can be attached.", reason=reason)
    await reserved_codes.refuse_reserved(connection, locked.at.block["id"], facts.code)
    if not program.lives_long_enough(facts.expires_at, now):
        raise ProgramRefused(
            f"{facts.code} expires at {facts.expires_at:%Y-%m-%d %H:%M} UTC, and {program.name} attaches no code with "
            f"less life left than min_life_at_attach: attach another code, or change its expiry.",
            reason="code_expires_soon",
        )
    block_id, position = locked.at.block["id"], locked.at.position
    code = PooledCode(block_id, position, facts.code, facts.expires_at, facts.fields)
    row = await _write(connection, program, now, request, code)
    await connection.execute(
        "UPDATE code_state SET hole = true WHERE block_id = $1 AND position = $2", block_id, position
    )
    await connection.execute(_TAKE_OUT, block_id)
    if actor is not None:
        await audit_log.record(connection, actor, "code.attach", program.name, place=locked.at.place)
    return row


async def _take_in_first(codes: ProgramCodes, request: Request, code: str, actor: Actor | None) -> AnswerRow:
    """Add a text from outside to the program's codes, attached from the start."""
    if not 0 < len(code) <= CODE_CHARACTERS_MAX or not code.isprintable() or code != code.strip():
        raise ProgramRefused(
            f"{code[:50]!r} is not a valid code: use 1 to {CODE_CHARACTERS_MAX} printable characters without outer "
            "spaces.",
            reason="code_invalid",
        )
    await _may_attach(codes.connection, request)
    async with possible_texts.taking_in(codes.connection, codes.program_id) as mark:
        return await _take_in(codes, request, code, mark, actor)


async def _take_in(
    codes: ProgramCodes, request: Request, code: str, mark: UUID | None, actor: Actor | None
) -> AnswerRow:
    connection = codes.connection
    name = request.event.program_names[0]
    async with connection.transaction():
        # Serializes all transactions that make or add codes of the program, so that it has each text only once.
        await connection.execute("SELECT FROM program WHERE name = $1 FOR NO KEY UPDATE", name)
        program, now = await _may_attach(connection, request)
        if not await possible_texts.may_take_in(connection, program.id, mark):
            raise lifecycle.CodeMoved
        if await lookup.locate(codes, code) is not None:
            raise lifecycle.CodeMoved
        folds = await folded_texts.folds(connection, program.id)
        if folds:
            await _check_alike(codes, code)
        if program.room < 1:
            raise ProgramRefused(refusal_sentence(name, "maximum_reached", Source.PERSON), reason="maximum_reached")
        # Creation and attachment coincide. With ttl_always a later return to the pool does not change the expiry.
        expires_at = expiry_in_pool(program, now, ttl_always=True)
        block_id = await connection.fetchval(_TAKE_IN, program.id, expires_at, now, code)
        if folds:
            await folded_texts.add(connection, program.id, [code])
        row = await _write(connection, program, now, request, PooledCode(block_id, 0, code, expires_at, None))
        if actor is not None:
            await audit_log.record(
                connection, actor, "code.attach", name, place=lookup.CodePlace(1, block_id, 0), new=True
            )
        return row


async def _check_alike(codes: ProgramCodes, code: str) -> None:
    """Raise ProgramRefused if the new text folds onto another code of the folding program."""
    templates = await folded_texts.foldings(codes.connection, codes.minters, codes.program_id)
    clashes = await folded_texts.clashes(codes.connection, codes.program_id, [code], templates)
    if code in clashes:
        raise ProgramRefused(
            f"{code} would fold onto {clashes[code]}, and the program's codes are found by texts that fold alike: use "
            "another text.",
            reason="code_folds_alike",
        )


async def _write(
    connection: Connection, program: ProgramRules, now: datetime, request: Request, code: PooledCode
) -> AnswerRow:
    try:
        decision = await attach_codes(connection, program, now, [(request.id, request.event, code)])
    except AssignmentTaken as error:
        raise ProgramRefused(
            # Without the profile's id: a refusal may be stored, and is not changed when the profile is forgotten.
            f"The profile already has a code of {program.name}, which reuses codes: return or delete that one first.",
            reason="profile_has_code",
        ) from error
    [row] = decision.rows
    return row


async def _may_attach(connection: Connection, request: Request) -> tuple[ProgramRules, datetime]:
    """The program's rules and the database's time. Raises ProgramRefused unless the rules allow attachment now."""
    name = request.event.program_names[0]
    locked = await _rules(connection, name)
    program, now = locked.programs[name], locked.now
    reason = closed_reason(program, now)
    if locked.oldest is not None and is_before(request.id, locked.oldest):
        reason = "request_too_old"
    if reason is not None:
        raise ProgramRefused(refusal_sentence(program.name, reason, Source.PERSON), reason=reason)
    if program.shared:
        raise ProgramRefused(
            f"All profiles of {program.name} share one code: attach without a code.", reason="code_shared"
        )
    return program, now


async def _rules(connection: Connection, name: str) -> LockedPrograms:
    locked = await claim_queries.lock(connection, {name: 0})
    if name not in locked.programs:
        raise ProgramUnknown(name)
    return locked
