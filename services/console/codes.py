"""Endpoints for the codes of a program."""

import json
from typing import Annotated

from fastapi import APIRouter, Body, Depends, HTTPException, Path
from fastapi.responses import Response

from schemas.api import Code, Generate, Page
from schemas.events import ShortName
from schemas.program import Stock
from services.console import cursors, examples
from services.console.callers import Looker, Reader, Writer, visible
from services.console.context import Context, context
from services.console.once import Making
from services.console.problems import documented, documented_making, try_later
from services.postgres.connection import Connection
from services.store import codes, filling, misses, programs

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
Here = Annotated[Context, Depends(context)]
# It may hold any character but NUL, which Postgres can't store.
CodeText = Annotated[str, Path(pattern=r"^[^\x00]+$", max_length=1_000, description="The code; / too may be in it.")]


@router.post(
    "/codes:generate",
    status_code=201,
    response_model=Stock,
    responses=examples.answer(201, "The codes are made; the stock with them", examples.STOCK) | documented_making(404),
)
async def generate_codes(
    here: Here,
    caller: Writer,
    once: Making,
    name: ShortName,
    wanted: Annotated[Generate, Body(examples=[examples.GENERATE])],
) -> Response:
    """Make codes now, whatever the program's switches say."""
    async with here.pool.acquire() as connection:
        program = await visible(connection, caller, name)

    async def work(connection: Connection) -> Stock:
        saved = programs.saved_fields(program, wanted.fields)
        await filling.generate(connection, program.id, wanted.count, json.dumps(saved) if saved else None)
        return await programs.stock(connection, name)

    return await once.answer(work, lambda _: here.announcer.tell(program.id, program.name))


@router.get(
    "/codes", responses=examples.answer(200, "A page of codes, in the order in which they were made", examples.CODES)
    | documented(404),
)  # fmt: skip
async def list_codes(
    here: Here, caller: Reader, name: ShortName, limit: cursors.Limit = 100, cursor: cursors.Cursor = None
) -> Page[Code]:
    """Browse the codes of a program."""
    place = cursors.place_of(cursor)
    async with here.pool.acquire() as connection:
        program = await visible(connection, caller, name)
        found = await codes.page(connection, here.minters, program.id, place, limit + 1)
    more = len(found) > limit
    return Page(
        items=[_shown(name, one) for one in found[:limit]],
        next_cursor=cursors.of_place(found[limit - 1].place) if more else None,
    )


@router.get(
    "/codes/{code:path}", responses=examples.answer(200, "The facts on the code", examples.CODE) | documented(404, 429)
)
async def show_code(here: Here, caller: Looker, name: ShortName, code: CodeText) -> Code:
    """Look a code up. A token that asks for too many that don't exist waits."""
    async with here.pool.acquire() as connection:
        program = await visible(connection, caller, name)
        wait_s = await misses.wait_s(connection, caller.id, here.misses_per_minute)
        if wait_s is not None:
            raise try_later(429, f"Too many codes that don't exist were asked for: try again in {wait_s} s.", wait_s)
        found = await codes.find(connection, here.minters, program.id, code)
        if found is None:
            await misses.count(connection, caller.id)
            raise HTTPException(404, f"{name} has no such code: look at its letters again, capitals count.")
    return _shown(name, found)


def _shown(program: str, facts: codes.CodeFacts) -> Code:
    return Code(
        code=facts.code,
        program=program,
        state=facts.state,
        profile_id=facts.profile_id,
        attached_at=facts.attached_at,
        expires_at=facts.expires_at,
        fields=json.loads(facts.fields or "{}"),
    )
