"""Endpoints for the history of a code, and for codes by their place."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from codewell.access.tokens import Token
from codewell.codes import history, place_lookup
from codewell.codes.lookup import CodeFacts, CodePlace
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused
from schemas.api import Code
from schemas.events import ShortName
from schemas.history import CodeEvent, CodeHistory
from services.console.context import Context, context
from services.console.http.auth import Reader, Viewer
from services.console.http.problems import documented
from services.console.routes import examples
from services.console.routes.code_lookup import code_of_text
from services.console.routes.code_shape import code_of
from services.console.routes.codes import CodeText, GivenContext

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]
Place = Annotated[
    str, Path(max_length=50, description="The `place` of a code, as look-ups and lists give it.", examples=["0:1:5"])
]


# Not below /codes/{code}: a code may end in /history.
@router.get(
    "/history/{code:path}",
    responses=examples.answer(200, "The code's history", examples.HISTORY)
    | documented("code_unknown", "lookups_exhausted", "program_unknown"),
)
async def show_code_history(
    here: ConsoleContext, caller: Viewer, name: ShortName, code: CodeText, context: GivenContext = None
) -> CodeHistory:
    """List what happened to a code, oldest first. Too many look-ups of unknown codes get 429."""
    async with code_of_text(here, caller, name, code, context) as (codes, found):
        return await _history(codes, name, found, caller)


@router.get(
    "/places/{place}",
    responses=examples.answer(200, "The code", examples.CODE) | documented("code_unknown", "program_unknown"),
)
async def show_place(here: ConsoleContext, caller: Reader, name: ShortName, place: Place) -> Code:
    """Get the code at a place, or the code that was there and returned to the pool. No guess: it names no text."""
    program = await here.authenticator.program(caller, name)
    async with here.pool.acquire() as connection:
        codes = ProgramCodes(connection, here.minters, program.id)
        return code_of(name, await _at(codes, place))


@router.get(
    "/places/{place}/history",
    responses=examples.answer(200, "The code's history", examples.HISTORY)
    | documented("code_unknown", "program_unknown"),
)
async def show_place_history(here: ConsoleContext, caller: Reader, name: ShortName, place: Place) -> CodeHistory:
    """List what happened to the code at a place, oldest first."""
    program = await here.authenticator.program(caller, name)
    async with here.pool.acquire() as connection:
        codes = ProgramCodes(connection, here.minters, program.id)
        return await _history(codes, name, await _at(codes, place), caller)


async def _at(codes: ProgramCodes, written: str) -> CodeFacts:
    place = CodePlace.parse(written)
    found = None if place is None else await place_lookup.find(codes, place)
    if found is None:
        raise ProgramRefused("There is no code at this place: list the codes again.", reason="code_unknown")
    return found


async def _history(codes: ProgramCodes, name: str, facts: CodeFacts, caller: Token) -> CodeHistory:
    found = await history.read(codes, name, facts, caller.groups)
    return CodeHistory(
        code=code_of(name, facts),
        events=[
            CodeEvent(event=one.kind, **{key: value for key, value in one._asdict().items() if key != "kind"})
            for one in found.events
        ],
        complete=found.is_complete,
    )
