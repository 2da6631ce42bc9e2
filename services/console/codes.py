"""Endpoints for the codes of a program."""

import json
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import Response

from schemas.api import Code, Generate, Page
from schemas.events import Id, ShortName
from schemas.program import State, Stock
from services.console import cursors, examples
from services.console.callers import Looker, Reader, Writer, visible
from services.console.context import Context, context
from services.console.once import Making
from services.console.problems import documented, documented_making, try_later
from services.errors import CodeUnknown
from services.postgres.connection import Connection
from services.store import codes, filling, misses, programs
from services.store.tokens import Token

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
Here = Annotated[Context, Depends(context)]
CodeText = Annotated[str, Path(max_length=1_000, description="The code; / too may be in it.")]


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
    """Make codes now, whatever the program's switches say. A remote service brings them later: see `on_order`."""
    async with here.pool.acquire() as connection:
        program = await visible(connection, caller, name)

    async def work(connection: Connection) -> Stock:
        saved = programs.saved_fields(program, wanted.fields)
        texts = (json.dumps(saved) if saved else None, json.dumps(wanted.fields))
        await filling.generate(connection, here.minters, program.id, wanted.count, *texts)
        return await programs.stock(connection, name)

    return await once.answer(work, lambda _: here.announcer.tell(program.id, program.name))


@router.get(
    "/codes", responses=examples.answer(200, "A page of codes, in the order in which they were made", examples.CODES)
    | documented(404),
)  # fmt: skip
async def list_codes(
    here: Here,
    caller: Reader,
    name: ShortName,
    limit: cursors.Limit = 100,
    cursor: cursors.Cursor = None,
    state: State | None = None,
    profile_id: Annotated[Id | None, Query(description="Only codes that this profile has or had.")] = None,
) -> Page[Code]:
    """Browse the codes of a program. A page may be short, even empty, and not the last: `next_cursor` says."""
    place = cursors.place_of(cursor)
    async with here.pool.acquire() as connection:
        program = await visible(connection, caller, name)
        found = await codes.page(connection, here.minters, program.id, place, limit, state, profile_id)
    return Page(
        items=[shown(name, one) for one in found.codes],
        next_cursor=None if found.next is None else cursors.of_place(found.next),
    )


@router.get(
    "/codes/{code:path}", responses=examples.answer(200, "The facts on the code", examples.CODE) | documented(404, 429)
)
async def show_code(here: Here, caller: Looker, name: ShortName, code: CodeText) -> Code:
    """Look a code up. A token that asks for too many that don't exist waits."""
    async with here.pool.acquire() as connection:
        program = await visible(connection, caller, name)
        await refuse_guesser(here, connection, caller)
        found = await codes.find(connection, here.minters, program.id, code)
        if found is None:
            await misses.count(connection, caller.id)
            raise CodeUnknown(code)
    return shown(name, found)


async def refuse_guesser(here: Context, connection: Connection, caller: Token) -> None:
    """Raise 429 when the token has asked for too many codes that don't exist."""
    wait_s = await misses.wait_s(connection, caller.id, here.misses_per_minute)
    if wait_s is not None:
        raise try_later(429, f"Too many codes that don't exist were asked for: try again in {wait_s} s.", wait_s)


def shown(program: str, facts: codes.CodeFacts) -> Code:
    """The facts as the API tells them."""
    return Code(
        code=facts.code,
        program=program,
        state=facts.state,
        profile_id=facts.profile_id,
        attached_at=facts.attached_at,
        activated_at=facts.activated_at,
        expires_at=facts.expires_at,
        fields=json.loads(facts.fields or "{}"),
    )
