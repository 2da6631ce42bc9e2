"""Endpoints for a code's life: attach, return, change, delete."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID, uuid5

from fastapi import APIRouter, Body, Depends
from fastapi.responses import Response

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.codes import lifecycle
from codewell.codes.lifecycle import CodeChange
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError, RequestTaken
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.model import AnswerRow
from codewell.reasons import ProblemReason
from codewell.returns import detaching
from codewell.usage.usage_key import Outcome
from schemas.api import Attach, AttachAnswer, Code, CodeChanges, CodeOnly
from schemas.events import ShortName
from services.console.context import Context, context
from services.console.http.auth import ProgramAccess, Writer, visible_program
from services.console.http.idempotency import Idempotency, IdempotencyGuard, ok_response
from services.console.http.problems import MAKING, WITH_BODY, documented
from services.console.routes import examples
from services.console.routes.code_shape import code_of
from services.console.routes.codes import CodeText

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]
Step = Callable[[ProgramCodes, str], Awaitable[CodeFacts]]
Around = Callable[[Context, Idempotency, int, str], AbstractAsyncContextManager[None]]
OneCode = Annotated[CodeOnly, Body(examples=[examples.CODE_ONLY])]

# Namespace of request ids derived from idempotency keys. Random, and must never change.
_KEYS: Final = UUID("0b7c9d53-0f0f-4c1b-9f0c-6f1f5a4f1f0e")
_DONE: Final = examples.answer(200, "The updated code", examples.CODE)
# Reasons against every step of a code, which names the code.
_OF_A_CODE: Final[tuple[ProblemReason, ...]] = ("code_deleted", "code_unknown", "lookups_exhausted", "program_unknown")
_OF_A_STEP: Final[tuple[ProblemReason, ...]] = (*MAKING, *_OF_A_CODE, "code_expired")
_CLOSED: Final[tuple[ProblemReason, ...]] = ("program_ended", "program_inactive", "program_not_started")


@router.post(
    "/codes:attach",
    response_model=AttachAnswer,
    responses=examples.answer(200, "The code, attached", examples.CODE)
    | documented(
        *MAKING,
        *_CLOSED,
        "code_attached",
        "code_deleted",
        "code_expired",
        "code_expires_soon",
        "code_held",
        "code_folds_alike",
        "code_invalid",
        "code_shared",
        "code_used",
        "lookups_exhausted",
        "maximum_reached",
        "pool_empty",
        "profile_has_code",
        "program_unknown",
    ),
)
async def attach_code(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Attach, Body(examples=[examples.ATTACH, examples.ATTACH_NAMED])],
) -> Response:
    """Attach the next code of the pool, or a given code, which is added to the program if it is new."""
    return await attach(here, caller, name, wanted, idempotency)


async def attach(here: Context, caller: Token, name: str, wanted: Attach, idempotency: Idempotency) -> Response:
    """Attach a code, once for a key. Raises CodewellError."""
    await here.authenticator.program(caller, name)
    # The answer is stored under this request id, so the same key finds it from any console.
    request_id = uuid7() if idempotency.key is None else uuid5(_KEYS, f"{caller.id}\n{idempotency.key[1]}")
    if wanted.code is not None:
        return await _attach_once(here, caller, name, wanted.code, wanted.profile_id, request_id, idempotency)

    async def is_of_named(row: AnswerRow) -> bool:
        async with here.pool.acquire() as connection:
            return await manual.was_named(connection, row)

    asks = None if idempotency.key is None else is_of_named
    return _attached_code(here, name, await manual.attach(here.claims, name, wanted.profile_id, request_id, asks))


async def _attach_once(
    here: Context, caller: Token, name: str, code: str, profile_id: str, request_id: UUID, idempotency: Idempotency
) -> Response:
    """Attach the code with this text, once for a key. A refusal is no answer, so it is stored as other endpoints'."""
    known = await idempotency.stored()
    if known is not None and not await _is_answered(here, request_id):
        return known
    try:
        return _attached_code(here, name, await _attach_named(here, caller, name, code, profile_id, request_id))
    except CodewellError as error:
        if error.retriable or isinstance(error, RequestTaken) or idempotency.key is None:
            raise
        if not await _is_answered(here, request_id):
            return await idempotency.refuse(error)
    # A copy of this request attached the code meanwhile.
    return _attached_code(here, name, await _attach_named(here, caller, name, code, profile_id, request_id))


async def _is_answered(here: Context, request_id: UUID) -> bool:
    async with here.pool.acquire() as connection:
        return await manual.is_answered(connection, request_id)


async def _attach_named(
    here: Context, caller: Token, name: str, code: str, profile_id: str, request_id: UUID
) -> AnswerRow:
    async with here.failed_lookups.look_up(caller.id) as attempt, here.pool.acquire() as connection:

        def on_new() -> None:
            # A token that may list the codes need not guess them, and may bring in as many as there are.
            if not caller.may("read"):
                attempt.fail()

        row = await manual.attach_named(
            connection, here.minters, name, code, profile_id, request_id, caller.actor, on_new, here.usage
        )
        await here.demand_if_low(connection, row.program_id)
    return row


@router.post(
    "/codes:detach",
    response_model=Code,
    responses=_DONE | documented(*_OF_A_STEP, "code_held", "code_not_attached", "code_shared", "code_used"),
)
async def detach_code(
    here: ConsoleContext, caller: Writer, idempotency: IdempotencyGuard, name: ShortName, wanted: OneCode
) -> Response:
    """Return an attached code to the pool for another profile."""
    return await _apply_step(
        here, caller, idempotency, name, wanted.code, detaching.detach, "code.detach", "returned", _letting_go
    )


@router.patch(
    "/codes/{code:path}",
    responses=_DONE | documented(*WITH_BODY, *_OF_A_CODE, "code_held", "code_used"),
)
async def change_code(
    here: ConsoleContext,
    caller: Writer,
    name: ShortName,
    code: CodeText,
    changes: Annotated[CodeChanges, Body(examples=[examples.CHANGES])],
) -> Code:
    """Change the expiry or the custom fields of a code. Published answers do not change."""

    def to(now: CodeFacts) -> CodeChange:
        given = changes.model_fields_set
        return CodeChange(
            changes.expires_at if "expires_at" in given else now.expires_at,
            json.dumps(changes.fields) if "fields" in given else now.fields,
        )

    async with here.failed_lookups.look_up(caller.id), here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        async with connection.transaction():
            changed = await lifecycle.change(ProgramCodes(connection, here.minters, program.id), code, to)
            details = lifecycle.change_details(changes.model_fields_set, changed)
            await audit_log.record(connection, caller.actor, "code.update", name, place=changed.place, **details)
        await here.demand_if_low(connection, program.id)
    return code_of(name, changed)


@router.delete(
    "/codes/{code:path}",
    responses=_DONE | documented(*_OF_A_CODE, "code_held", "code_used"),
)
async def delete_code(here: ConsoleContext, caller: Writer, name: ShortName, code: CodeText) -> Code:
    """Delete a pooled or attached code. It stays on record and is never generated again."""
    async with here.failed_lookups.look_up(caller.id), here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        async with connection.transaction():
            deleted = await lifecycle.delete(ProgramCodes(connection, here.minters, program.id), code)
            await audit_log.record(connection, caller.actor, "code.delete", name, place=deleted.place)
        await here.demand_if_low(connection, program.id)
    return code_of(name, deleted)


async def _apply_step(
    here: Context,
    caller: Token,
    idempotency: Idempotency,
    name: str,
    code: str,
    step: Step,
    verb: str | None = None,
    outcome: Outcome | None = None,
    around: Around | None = None,
) -> Response:
    """Apply a lifecycle step, once for a key. Record it in the audit log when it has a verb, and count its outcome.

    `around` is what the step's transaction is in.
    """
    program = await here.authenticator.program(caller, name)
    async with here.failed_lookups.look_up(caller.id) as attempt:
        async with nullcontext() if around is None else around(here, idempotency, program.id, code):
            response = await _step_once(here, caller, idempotency, program, code, step, verb, outcome)
        if response.status_code == HTTPStatus.NOT_FOUND:
            attempt.fail()
    return response


@asynccontextmanager
async def _letting_go(here: Context, idempotency: Idempotency, program_id: int, code: str) -> AsyncIterator[None]:
    """Its profile may be getting the code again. A repeated request does nothing to the profile that has it by now."""
    if await idempotency.stored() is None:
        async with detaching.letting_go(here.pool.acquire, here.minters, program_id, code):
            yield
    else:
        yield


async def _step_once(
    here: Context,
    caller: Token,
    idempotency: Idempotency,
    program: ProgramAccess,
    code: str,
    step: Step,
    verb: str | None = None,
    outcome: Outcome | None = None,
) -> Response:
    async def work(connection: Connection) -> Code:
        now = await step(ProgramCodes(connection, here.minters, program.id), code)
        if verb is not None:
            await audit_log.record(connection, caller.actor, verb, program.name, place=now.place)
        return code_of(program.name, now)

    def count(_: Code) -> None:
        if outcome is not None:
            here.usage.count(program.id, outcome)

    return await idempotency.answer(work, count, 200)


def _attached_code(here: Context, program: str, row: AnswerRow) -> Response:
    """The code as it was when attached: a repeated request gets the same answer."""
    answer = AttachAnswer(
        code=row.code or "",
        program=program,
        state="attached",
        profile_id=row.profile_id,
        attached_at=row.answered_at,
        activated_at=None,
        expires_at=row.expires_at,
        created_at=None,
        place=None,
        fields=json.loads(row.fields or "{}"),
        uses=0,
        held_until=None,
        **({} if row.link is None else {"from": here.claims.names[row.program_id or 0], "fallback": row.link}),
    )
    return ok_response(answer, 200)
