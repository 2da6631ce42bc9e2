"""Manual attachment: the next code of the pool, a pooled code by its text, or a text that is new to the program."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.codes import lifecycle, lookup, possible_texts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, ProgramUnknown, RequestTaken, StackUnavailable
from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.issuing.attach import attach_codes
from codewell.issuing.claim import ClaimResult
from codewell.issuing.model import AnswerRow, ManualRequest, PooledCode, Request
from codewell.minting.template import CODE_CHARACTERS_MAX
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_sentence

_TAKE_OUT: Final = """
    UPDATE block SET attached = attached + 1, holes = holes + 1, open = open AND next + holes + 1 < size WHERE id = $1
    """
_TAKE_IN: Final = """
    WITH held AS (
        INSERT INTO block (program_id, kind, size, next, attached, open, expires_at, origin, created_at)
        VALUES ($1, 'list', 1, 1, 1, false, $2, 'hand', $3) RETURNING id
    ), counted AS (
        UPDATE program SET imported = imported + 1 WHERE id = $1
    )
    INSERT INTO code (block_id, position, program_id, text) SELECT id, 0, $1, $4 FROM held RETURNING block_id
    """


class Attacher(Protocol):
    """Decides requests for codes: `Claims`, or a batcher that collects many requests before it calls `Claims`."""

    @property
    def names(self) -> Mapping[int, str]:
        """Short name by program id, for the programs of all requests so far."""

    async def attach(self, requests: Sequence[Request]) -> ClaimResult:
        """Decide each request, possibly in one batch with others."""


async def attach(claims: Attacher, program: str, profile_id: str, request_id: UUID) -> AnswerRow:
    """Attach the next code of the pool, or the profile's assigned code if the program reuses codes.

    Idempotent by request id. Raises ProgramRefused with the reason when no code may be given, StackUnavailable while
    other requests lock all codes, and RequestTaken when another request has used this id.
    """
    claimed = await claims.attach([Request(request_id, ManualRequest(profile_id, program), (program,))])
    rows = claimed.rows.get(request_id)
    if rows is None:
        raise StackUnavailable(f"All codes of {program} are locked by other requests: try again in a moment.")
    [row] = rows
    if row.profile_id != profile_id or claims.names.get(row.program_id or 0, program) != program:
        raise RequestTaken
    if row.refusals is not None:
        refusals = json.loads(row.refusals)
        if [one["program"] for one in refusals] != [program]:
            raise RequestTaken
        raise ProgramRefused(" ".join(one["detail"] for one in refusals))
    return row


async def attach_named(
    connection: Connection, minters: Minters, name: str, code: str, profile_id: str, request_id: UUID,
    actor: Actor | None = None,
) -> AnswerRow:  # fmt: skip
    """Attach the code with this text. A text that is new to the program becomes one of its codes first.

    Idempotent by request id. Writes an audit entry if `actor` is given. Raises ProgramUnknown; ProgramRefused when the
    code is not pooled, is not a valid text, or the program's rules forbid it; RequestTaken when another request has
    used this id.
    """
    request = Request(request_id, ManualRequest(profile_id, name), (name,))
    while True:
        program, _ = await _rules(connection, name)
        stored = await claim_queries.stored_answers(connection, [request_id])
        if stored:
            if [(row.program_id, row.code, row.profile_id) for row in stored] != [(program.id, code, profile_id)]:
                raise RequestTaken
            return stored[0]
        try:
            codes = ProgramCodes(connection, minters, program.id)
            if await lookup.locate(codes, code) is None:
                return await _take_in_first(codes, request, code, actor)
            async with lifecycle.locked_code(codes, code) as locked:
                return await _take_out(connection, request, locked, actor)
        except lifecycle.CodeMoved:
            continue
        except asyncpg.UniqueViolationError as error:
            # A duplicate of this request won the race in another process. The next round reads its answer.
            if error.constraint_name != "answer_once":
                raise


async def _take_out(
    connection: Connection, request: Request, locked: lifecycle.LockedCode, actor: Actor | None
) -> AnswerRow:
    """Attach a pooled code ahead of its position, which leaves a hole in its block."""
    program, now = await _may_attach(connection, request)
    facts = locked.facts
    if facts.state != "pooled":
        raise ProgramRefused(f"{facts.code} is {facts.state}: only a pooled code can be attached.")
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
            "spaces."
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
        if program.room < 1:
            raise ProgramRefused(refusal_sentence(name, "maximum_reached", Source.PERSON))
        # Creation and attachment coincide. With ttl_always a later return to the pool does not change the expiry.
        expires_at = expiry_in_pool(program, now, ttl_always=True)
        block_id = await connection.fetchval(_TAKE_IN, program.id, expires_at, now, code)
        row = await _write(connection, program, now, request, PooledCode(block_id, 0, code, expires_at, None))
        if actor is not None:
            await audit_log.record(
                connection, actor, "code.attach", name, place=lookup.CodePlace(1, block_id, 0), new=True
            )
        return row


async def _write(
    connection: Connection, program: ProgramRules, now: datetime, request: Request, code: PooledCode
) -> AnswerRow:
    try:
        decision = await attach_codes(connection, program, now, [(request.id, request.event, code)])
    except claim_queries.AssignmentTaken as error:
        raise ProgramRefused(
            f"{request.event.profile_id} already has a code of {program.name}, which reuses codes: "
            "return or delete that one first."
        ) from error
    [row] = decision.rows
    return row


async def _may_attach(connection: Connection, request: Request) -> tuple[ProgramRules, datetime]:
    """The program's rules and the database's time. Raises ProgramRefused unless the rules allow attachment now."""
    program, now = await _rules(connection, request.event.program_names[0])
    reason = closed_reason(program, now)
    if reason is not None:
        raise ProgramRefused(refusal_sentence(program.name, reason, Source.PERSON))
    if program.shared:
        raise ProgramRefused(f"All profiles of {program.name} share one code: attach without a code.")
    return program, now


async def _rules(connection: Connection, name: str) -> tuple[ProgramRules, datetime]:
    locked = await claim_queries.lock(connection, {name: 0})
    if name not in locked.programs:
        raise ProgramUnknown(name)
    return locked.programs[name], locked.now
