"""Endpoints that change many codes at once, chosen by their places. Pages use them; they are no part of the API.

Each code is changed in its own transaction: one for all would keep requests for codes waiting. To repeat a call does no
harm, as what it asks for is done already then.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import Field

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.codes import lifecycle, place_lookup
from codewell.codes.lifecycle import CodeChange
from codewell.codes.lookup import CodeFacts, CodePlace
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from schemas.events import ShortName
from schemas.moments import EndMoment
from schemas.strict_model import StrictModel
from services.console.context import Context, context
from services.console.http.auth import Writer, visible_program
from services.console.http.idempotency import IdempotencyGuard

SELECTED_MAX: Final = 1_000
Places = Annotated[tuple[Annotated[str, Field(max_length=50)], ...], Field(min_length=1, max_length=SELECTED_MAX)]
ConsoleContext = Annotated[Context, Depends(context)]
_Step = Callable[[ProgramCodes, CodeFacts], Awaitable[CodeFacts | None]]

router = APIRouter(prefix="/programs/{name}/selections", include_in_schema=False)


Verb = Literal["delete", "extend"]
_RECORDED: Final[dict[Verb, str]] = {"delete": "code.delete", "extend": "code.update"}


class Selection(StrictModel):
    """The places of codes."""

    places: Places


class Extension(Selection):
    """The places of codes, and their new expiry."""

    expires_at: EndMoment


class Unchanged(StrictModel):
    """A code that was not changed, and why; `code` null: there is none at this place."""

    place: str
    code: str | None
    detail: str


class Changed(StrictModel):
    """What was done with the codes of a program: how many were changed, or were so already, and the others."""

    program: ShortName
    verb: Verb
    done: int
    failed: list[Unchanged]


@router.post(":delete", response_model=Changed)
async def delete_selected(
    here: ConsoleContext, caller: Writer, idempotency: IdempotencyGuard, name: ShortName, wanted: Selection
) -> Response:
    """Delete pooled, attached and expired codes. A repetition under the key answers what the first one did."""

    async def delete(codes: ProgramCodes, now: CodeFacts) -> CodeFacts | None:
        return None if now.state == "deleted" else await lifecycle.delete(codes, now.code)

    return await idempotency.answer_apart(lambda: _each(here, caller, name, wanted.places, delete, "delete"), 200)


@router.post(":extend", response_model=Changed)
async def extend_selected(
    here: ConsoleContext, caller: Writer, idempotency: IdempotencyGuard, name: ShortName, wanted: Extension
) -> Response:
    """Let codes live until a later time. One that lives that long already is left as it is."""

    async def extend(codes: ProgramCodes, now: CodeFacts) -> CodeFacts | None:
        if now.expires_at is None or now.expires_at >= wanted.expires_at:
            return None
        return await lifecycle.change(codes, now.code, lambda facts: _until(facts, wanted.expires_at))

    return await idempotency.answer_apart(lambda: _each(here, caller, name, wanted.places, extend, "extend"), 200)


def _until(facts: CodeFacts, expires_at: datetime) -> CodeChange:
    return CodeChange(expires_at, facts.fields)


def _details(verb: Verb, changed: CodeFacts) -> dict[str, object]:
    return lifecycle.change_details({"expires_at"}, changed) if verb == "extend" else {}


async def _each(here: Context, caller: Token, name: str, places: tuple[str, ...], step: _Step, verb: Verb) -> Changed:
    failed = []
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        codes = ProgramCodes(connection, here.minters, program.id)
        for written in dict.fromkeys(places):
            place = CodePlace.parse(written)
            now = None if place is None else await place_lookup.find(codes, place)
            if now is None:
                failed.append(Unchanged(place=written, code=None, detail="There is no code at this place."))
                continue
            try:
                async with connection.transaction():
                    changed = await step(codes, now)
                    if changed is not None:
                        await audit_log.record(
                            connection,
                            caller.actor,
                            _RECORDED[verb],
                            name,
                            place=changed.place,
                            **_details(verb, changed),
                        )
            except CodewellError as error:
                if error.retriable:
                    raise
                failed.append(Unchanged(place=written, code=now.code, detail=str(error)))
        await here.demand_if_low(connection, program.id)
    return Changed(program=name, verb=verb, done=len(dict.fromkeys(places)) - len(failed), failed=failed)
