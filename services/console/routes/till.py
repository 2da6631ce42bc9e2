"""Endpoints for the till: use codes, take uses back, hold codes for orders."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends
from fastapi.responses import Response

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown, CodewellError
from codewell.infra.postgres.connection import Connection
from codewell.reasons import ProblemReason
from codewell.redemption import till, uses
from codewell.redemption.batch import Applied
from codewell.redemption.decide import REASONS
from codewell.redemption.model import TillRequest
from schemas.api import Code
from schemas.events import ShortName
from schemas.till import Activate, CodeUses, Deactivate, Hold, Release
from services.console.batching import till_metrics
from services.console.context import Context, context
from services.console.http.auth import ProgramAccess, Redeemer, Viewer
from services.console.http.idempotency import Idempotency, IdempotencyGuard
from services.console.http.problems import MAKING, documented
from services.console.routes import examples, till_examples
from services.console.routes.code_lookup import code_of_text
from services.console.routes.code_shape import code_of
from services.console.routes.codes import CodeText, GivenContext

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]

_DONE: Final = examples.answer(200, "The code as it is now", examples.CODE)
_OF_A_STEP: Final[tuple[ProblemReason, ...]] = (*MAKING, "code_unknown", "lookups_exhausted", "program_unknown")
_USING: Final = _DONE | documented(*_OF_A_STEP, *REASONS, "code_deleted", "code_expired")


@router.post("/codes:activate", response_model=Code, responses=_USING)
async def activate_code(
    here: ConsoleContext,
    caller: Redeemer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Activate, Body(examples=[till_examples.ACTIVATE])],
) -> Response:
    """Activate (redeem) an attached code, as often as its program allows. The same order uses it once."""
    return await take_step(here, caller, name, till_request(wanted), idempotency)


@router.post("/codes:hold", response_model=Code, responses=_USING)
async def hold_code(
    here: ConsoleContext,
    caller: Redeemer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Hold, Body(examples=[till_examples.HOLD])],
) -> Response:
    """Hold an attached code for an order, until the order activates or releases it, or the time passes."""
    return await take_step(here, caller, name, till_request(wanted), idempotency)


@router.post(
    "/codes:release", response_model=Code, responses=_DONE | documented(*_OF_A_STEP, "code_not_held", "code_used")
)
async def release_code(
    here: ConsoleContext,
    caller: Redeemer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Release, Body(examples=[till_examples.RELEASE])],
) -> Response:
    """End an order's hold of a code. A hold that has passed or was released already is no error."""
    return await take_step(here, caller, name, till_request(wanted), idempotency)


@router.post(
    "/codes:deactivate",
    response_model=Code,
    responses=_DONE | documented(*_OF_A_STEP, "code_not_used", "order_required"),
)
async def deactivate_code(
    here: ConsoleContext,
    caller: Redeemer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Deactivate, Body(examples=[till_examples.RELEASE, examples.CODE_ONLY])],
) -> Response:
    """Take a use of a code back: the order's, or else the only one or the last one that named no order."""
    program = await here.authenticator.program(caller, name)
    return await _alone(here, caller, program, till_request(wanted), idempotency)


# Not below /codes/{code}: a code may end in /uses.
@router.get(
    "/uses/{code:path}",
    responses=examples.answer(200, "The code's uses", till_examples.CODE_USES)
    | documented("code_unknown", "lookups_exhausted", "program_unknown"),
)
async def show_uses(
    here: ConsoleContext, caller: Viewer, name: ShortName, code: CodeText, context: GivenContext = None
) -> CodeUses:
    """List who used or holds a code, newest first. Too many look-ups of unknown codes get 429."""
    async with code_of_text(here, caller, name, code, context) as (codes, found):
        some, complete = await uses.of_code(codes, found.place)
        return CodeUses(code=code_of(name, found), uses=some, complete=complete)


def till_request(wanted: Activate | Hold | Release | Deactivate) -> TillRequest:
    """The step that a body asks for."""
    match wanted:
        case Hold():
            return TillRequest("hold", wanted.code, wanted.profile_id, wanted.order_id, wanted.context, wanted.ttl)
        case Activate():
            return TillRequest("activate", wanted.code, wanted.profile_id, wanted.order_id, wanted.context)
        case Release():
            return TillRequest("release", wanted.code, None, wanted.order_id)
        case Deactivate():
            return TillRequest("deactivate", wanted.code, None, wanted.order_id)


async def take_step(
    here: Context, caller: Token, name: str, request: TillRequest, idempotency: Idempotency
) -> Response:
    """Use, hold or release a code, once for a key.

    Raises CodewellError, and HttpProblem (429) after too many failed look-ups.
    """
    program = await here.authenticator.program(caller, name)
    async with here.failed_lookups.look_up(caller.id, request.context) as attempt:
        # With a key, the refusal has to be stored, so the cache does not apply.
        if idempotency.key is None and await here.negative_cache.know(program.id, request.code):
            raise CodeUnknown(request.code)
        response = await here.till.apply(program, idempotency, request)
        if response is None:
            response = await _once(here, caller, program, request, idempotency)
        if response.status_code == HTTPStatus.NOT_FOUND:
            attempt.fail()
    return response


async def _alone(
    here: Context, caller: Token, program: ProgramAccess, request: TillRequest, idempotency: Idempotency
) -> Response:
    async with here.failed_lookups.look_up(caller.id, request.context) as attempt:
        response = await _once(here, caller, program, request, idempotency)
        if response.status_code == HTTPStatus.NOT_FOUND:
            attempt.fail()
    return response


async def _once(
    here: Context, caller: Token, program: ProgramAccess, request: TillRequest, idempotency: Idempotency
) -> Response:
    """Take the step by itself, and record it in the audit log if it takes a use back."""
    done: Applied | None = None

    async def work(connection: Connection) -> Code:
        nonlocal done
        try:
            done = await till.apply(ProgramCodes(connection, here.minters, program.id), request)
        except CodewellError as error:
            till_metrics.count(request.step, error)
            raise
        now = done.facts
        if request.step == "deactivate":
            await audit_log.record(connection, caller.actor, "code.deactivate", program.name, place=now.place)
        return code_of(program.name, now)

    def count(_: Code) -> None:
        if done is None:
            return
        till_metrics.count(request.step, done)
        if request.step == "activate" and done.is_new:
            here.usage.count(program.id, "activated")

    return await idempotency.answer(work, count, 200)
