"""Endpoints for a code whose program the caller does not name."""

from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends
from fastapi.responses import Response

from codewell.access.tokens import Token
from codewell.codes import across_programs
from codewell.codes.across_programs import FoundCode
from codewell.errors import CodeUnknown, CodewellError, ProgramRefused
from codewell.reasons import ProblemReason
from codewell.redemption.decide import REASONS
from schemas.api import Code
from schemas.till import Activate
from services.console.context import Context, context
from services.console.http.auth import Redeemer, Viewer
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.problems import MAKING, documented
from services.console.routes import examples, till_examples
from services.console.routes.code_shape import code_of
from services.console.routes.codes import CodeText, GivenContext
from services.console.routes.till import take_step, till_request

router = APIRouter(tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]
_REFUSED: Final[tuple[ProblemReason, ...]] = ("ambiguous", "code_unknown", "lookups_exhausted")


@router.post(
    "/codes:activate",
    response_model=Code,
    responses=examples.answer(200, "The updated code", examples.CODE)
    | documented(
        *MAKING, *_REFUSED, *REASONS, "code_deleted", "code_expired", "program_unknown",
    ),
)  # fmt: skip
async def activate_code_anywhere(
    here: ConsoleContext,
    caller: Redeemer,
    idempotency: IdempotencyGuard,
    wanted: Annotated[Activate, Body(examples=[till_examples.ACTIVATE])],
) -> Response:
    """Activate (redeem) an attached code of any program that the token may see. In two programs: 409, `ambiguous`."""
    stored = await idempotency.stored()
    if stored is not None:
        return stored
    try:
        found = await _the_one(here, caller, wanted.code, wanted.context)
    except CodewellError as error:
        return await idempotency.refuse(error)
    request = till_request(wanted)._replace(code=found.facts.code)
    return await take_step(here, caller, found.program, request, idempotency)


@router.get(
    "/codes/{code:path}",
    responses=examples.answer(200, "The code", examples.CODE) | documented(*_REFUSED),
)
async def show_code_anywhere(
    here: ConsoleContext, caller: Viewer, code: CodeText, context: GivenContext = None
) -> Code:
    """Look up a code in all programs that the token may see. In two programs: 409, `ambiguous`, with their names."""
    found = await _the_one(here, caller, code, context)
    return code_of(found.program, found.facts)


async def _the_one(here: Context, caller: Token, code: str, context: str | None) -> FoundCode:
    """The code of this text. Raises CodeUnknown, ProgramRefused where there are two, and HttpProblem (429)."""
    async with here.failed_lookups.look_up(caller.id, context):
        async with here.pool.acquire() as connection:
            found = await across_programs.find(connection, here.minters, caller.groups, code)
        if not found:
            raise CodeUnknown(code)
    if len(found) > 1:
        names = ", ".join(one.program for one in found)
        sentence = f"{len(found)} programs have this code: {names}. Use the path of one, /programs/NAME/codes."
        raise ProgramRefused(sentence, reason="ambiguous")
    return found[0]
