"""Endpoints for programs."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, HTTPException
from fastapi.responses import Response

from schemas.api import Page
from schemas.events import ShortName
from schemas.program import Program, ProgramSettings, Stock
from services.console import cursors, examples
from services.console.callers import Reader, Writer, visible
from services.console.context import Context, context
from services.console.once import Making
from services.console.problems import documented, documented_making
from services.postgres.connection import Connection
from services.store import programs
from services.store.tokens import Token

router = APIRouter(prefix="/programs", tags=["programs"])
Here = Annotated[Context, Depends(context)]


@router.get("", responses=examples.answer(200, "A page of programs, by name", examples.PROGRAMS) | documented())
async def list_programs(
    here: Here, caller: Reader, limit: cursors.Limit = 100, cursor: cursors.Cursor = None
) -> Page[Program]:
    """List the programs of the token's access groups that are not removed."""
    after = cursors.text_of(cursor)
    async with here.pool.acquire() as connection:
        found = await programs.page(connection, caller.groups, after, limit + 1)
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=cursors.of_text(found[limit - 1].name) if more else None)


@router.post(
    "",
    status_code=201,
    response_model=Program,
    responses=examples.answer(201, "The program is made", examples.PROGRAM) | documented_making(),
)
async def create_program(
    here: Here, caller: Writer, once: Making, settings: Annotated[ProgramSettings, Body(examples=[examples.SETTINGS])]
) -> Response:
    """Make a program. A token with access groups makes programs in some of these only."""
    _refuse_other_groups(caller, settings)

    async def work(connection: Connection) -> Program:
        return await programs.create(connection, here.minters, settings, here.guesses_per_s)

    return await once.answer(work, lambda made: here.announcer.tell(made.id, made.name))


@router.get("/{name}", responses=examples.answer(200, "The program", examples.PROGRAM) | documented(404))
async def show_program(here: Here, caller: Reader, name: ShortName) -> Program:
    """Show a program."""
    async with here.pool.acquire() as connection:
        return await visible(connection, caller, name)


@router.get("/{name}/stock", responses=examples.answer(200, "The stock", examples.STOCK) | documented(404))
async def show_stock(here: Here, caller: Reader, name: ShortName) -> Stock:
    """Show where the program's codes are now."""
    async with here.pool.acquire() as connection:
        await visible(connection, caller, name)
        return await programs.stock(connection, name)


def _refuse_other_groups(caller: Token, settings: ProgramSettings) -> None:
    if caller.groups and not (settings.groups and set(settings.groups) <= set(caller.groups)):
        own = ", ".join(caller.groups)
        raise HTTPException(403, f"This token makes programs in its own groups only: set groups to some of {own}.")
