"""Endpoints for a code's life: attach, return, activate, change, delete."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID, uuid5

from fastapi import APIRouter, Body, Depends
from fastapi.responses import Response

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.codes import activation, lifecycle
from codewell.codes.lifecycle import CodeChange
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.model import AnswerRow
from schemas.api import Attach, Code, CodeChanges, CodeOnly
from schemas.events import ShortName
from services.console.context import Context, context
from services.console.http.auth import Redeemer, Writer, visible_program
from services.console.http.idempotency import Idempotency, IdempotencyGuard
from services.console.http.problems import documented, documented_making
from services.console.routes import examples
from services.console.routes.code_shape import code_of
from services.console.routes.codes import CodeText

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]
Step = Callable[[ProgramCodes, str], Awaitable[CodeFacts]]
OneCode = Annotated[CodeOnly, Body(examples=[examples.CODE_ONLY])]

# Namespace of request ids derived from idempotency keys. Random, and must never change.
_KEYS: Final = UUID("0b7c9d53-0f0f-4c1b-9f0c-6f1f5a4f1f0e")
_STEP: Final[dict[str, Any]] = {
    "response_model": Code,
    "responses": examples.answer(200, "The updated code", examples.CODE) | documented_making(404, 429),
}


@router.post(
    "/codes:attach",
    responses=examples.answer(200, "The code, attached", examples.CODE) | documented_making(404),
)
async def attach_code(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Attach, Body(examples=[examples.ATTACH, examples.ATTACH_NAMED])],
) -> Code:
    """Attach the next code of the pool, or a given code, which is added to the program if it is new."""
    return await attach(here, caller, name, wanted, idempotency)


async def attach(here: Context, caller: Token, name: str, wanted: Attach, idempotency: Idempotency) -> Code:
    """Attach a code, once for a key. Raises CodewellError."""
    await here.authenticator.program(caller, name)
    # The answer is stored under this request id, so the same key finds it from any console.
    request_id = uuid7() if idempotency.key is None else uuid5(_KEYS, f"{caller.id}\n{idempotency.key[1]}")
    if wanted.code is None:
        row = await manual.attach(here.claims, name, wanted.profile_id, request_id)
    else:
        async with here.pool.acquire() as connection:
            row = await manual.attach_named(
                connection, here.minters, name, wanted.code, wanted.profile_id, request_id, caller.actor
            )
    return _attached_code(name, row)


@router.post("/codes:detach", **_STEP)
async def detach_code(
    here: ConsoleContext, caller: Writer, idempotency: IdempotencyGuard, name: ShortName, wanted: OneCode
) -> Response:
    """Return an attached code to the pool for another profile."""
    return await _apply_step(here, caller, idempotency, name, wanted.code, lifecycle.detach, "code.detach")


@router.post("/codes:activate", **_STEP)
async def activate_code(
    here: ConsoleContext, caller: Redeemer, idempotency: IdempotencyGuard, name: ShortName, wanted: OneCode
) -> Response:
    """Activate (redeem) an attached code, once."""
    return await activate(here, caller, name, wanted.code, idempotency)


async def activate(here: Context, caller: Token, name: str, code: str, idempotency: Idempotency) -> Response:
    """Activate a code, once for a key. Raises CodewellError, and HTTPException (429) after too many failed look-ups."""
    program = await here.authenticator.program(caller, name)
    await here.failed_lookups.refuse(caller.id)
    # With a key, the refusal has to be stored, so the cache does not apply.
    if idempotency.key is None and await here.negative_cache.know(program.id, code):
        here.failed_lookups.count(caller.id)
        raise CodeUnknown(code)
    response = await here.activations.activate(program, idempotency, code)
    if response is None:
        return await _apply_step(here, caller, idempotency, name, code, activation.activate)
    if response.status_code == HTTPStatus.NOT_FOUND:
        here.failed_lookups.count(caller.id)
    return response


@router.post("/codes:deactivate", **_STEP)
async def deactivate_code(
    here: ConsoleContext, caller: Redeemer, idempotency: IdempotencyGuard, name: ShortName, wanted: OneCode
) -> Response:
    """Undo the activation of a code."""
    return await _apply_step(here, caller, idempotency, name, wanted.code, lifecycle.deactivate, "code.deactivate")


@router.patch(
    "/codes/{code:path}",
    responses=examples.answer(200, "The updated code", examples.CODE) | documented(400, 404, 409, 413, 415),
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

    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        async with connection.transaction():
            changed = await lifecycle.change(ProgramCodes(connection, here.minters, program.id), code, to)
            details = sorted(changes.model_fields_set)
            await audit_log.record(connection, caller.actor, "code.update", name, place=changed.place, changed=details)
    return code_of(name, changed)


@router.delete(
    "/codes/{code:path}",
    responses=examples.answer(200, "The updated code", examples.CODE) | documented(404, 409),
)
async def delete_code(here: ConsoleContext, caller: Writer, name: ShortName, code: CodeText) -> Code:
    """Delete a pooled or attached code. It stays on record and is never generated again."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        async with connection.transaction():
            deleted = await lifecycle.delete(ProgramCodes(connection, here.minters, program.id), code)
            await audit_log.record(connection, caller.actor, "code.delete", name, place=deleted.place)
    return code_of(name, deleted)


async def _apply_step(
    here: Context, caller: Token, idempotency: Idempotency, name: str, code: str, step: Step, verb: str | None = None
) -> Response:
    """Apply a lifecycle step, once for a key, and record it in the audit log when it has a verb."""
    program = await here.authenticator.program(caller, name)
    await here.failed_lookups.refuse(caller.id)

    async def work(connection: Connection) -> Code:
        now = await step(ProgramCodes(connection, here.minters, program.id), code)
        if verb is not None:
            await audit_log.record(connection, caller.actor, verb, name, place=now.place)
        return code_of(name, now)

    try:
        response: Response = await idempotency.answer(work, _no_announcement, 200)
    except CodeUnknown:
        here.failed_lookups.count(caller.id)
        raise
    if response.status_code == HTTPStatus.NOT_FOUND:
        here.failed_lookups.count(caller.id)
    return response


def _no_announcement(_: Code) -> None:
    """A change of one code is not announced to the generator."""


def _attached_code(program: str, row: AnswerRow) -> Code:
    """The code as it was when attached: a repeated request gets the same answer."""
    return Code(
        code=row.code or "",
        program=program,
        state="attached",
        profile_id=row.profile_id,
        attached_at=row.answered_at,
        activated_at=None,
        expires_at=row.expires_at,
        fields=json.loads(row.fields or "{}"),
    )
