"""Endpoint that gives a customer another code for one that is lost."""

from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID, uuid5

from fastapi import APIRouter, Body, Depends
from fastapi.responses import Response

from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import reissue
from schemas.api import Reissue, ReissuedCode
from schemas.events import ShortName
from services.console.context import Context, context
from services.console.http.auth import Supporter
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.problems import MAKING, documented
from services.console.routes import change_examples, examples
from services.console.routes.code_shape import code_of

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]

# Namespace of request ids derived from idempotency keys. Random, and must never change.
_KEYS: Final = UUID("b0a3f0de-5a53-4f0e-9d4b-5b1f1cb0a0a7")


@router.post(
    "/codes:reissue",
    response_model=ReissuedCode,
    responses=examples.answer(200, "The new code, attached", change_examples.REISSUED)
    | documented(
        *MAKING,
        "code_deleted",
        "code_expired",
        "code_held",
        "code_not_attached",
        "code_shared",
        "code_unknown",
        "code_used",
        "lookups_exhausted",
        "maximum_reached",
        "pool_empty",
        "profile_has_codes",
        "profile_has_no_code",
        "program_ended",
        "program_inactive",
        "program_not_started",
        "program_unknown",
        "reissues_exhausted",
    ),
)
async def reissue_code(
    here: ConsoleContext,
    caller: Supporter,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Reissue, Body(examples=[change_examples.REISSUE])],
) -> Response:
    """Delete a code that a profile has, and attach the next code of the pool to that profile in its place."""
    program = await here.authenticator.program(caller, name)
    key = idempotency.key
    request_id = uuid7() if key is None else uuid5(_KEYS, f"{caller.id}\n{key[1]}")
    given = reissue.ReissueWanted(wanted.code, wanted.profile_id, wanted.reason, wanted.expires)

    async def attempt(is_last: bool) -> Response:
        async def work(connection: Connection) -> ReissuedCode:
            codes = ProgramCodes(connection, here.minters, program.id)
            done = await reissue.reissue(codes, given, request_id, caller.actor, is_last=is_last)
            new = code_of(program.name, done.code).model_dump()
            return ReissuedCode(**new, replaces=str(done.replaces), reissues_left=done.left)

        return await idempotency.answer(work, lambda _: here.usage.count(program.id, "attached"), 200)

    async def demand() -> None:
        async with here.pool.acquire() as connection:
            await here.demand_if_low(connection, program.id)

    async with here.failed_lookups.look_up(caller.id, wanted.context) as guess:
        response = await reissue.until_there_is_a_code(attempt, demand)
        if response.status_code == HTTPStatus.NOT_FOUND:
            guess.fail()
    await demand()
    return response
