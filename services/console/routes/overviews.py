"""Endpoint for the list of programs as they are now."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from codewell.forecast.reading import levels_expected
from codewell.pool import level_history
from codewell.programs import overview
from schemas import patterns
from schemas.api import Page
from schemas.events import ShortName
from schemas.overview import ListedState, ProgramOverview, ProgramStock, StockLevel, StockLevels
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, visible_program
from services.console.http.problems import documented
from services.console.routes import examples, overview_examples

router = APIRouter(prefix="/overview", tags=["programs"])
ConsoleContext = Annotated[Context, Depends(context)]


@router.get(
    "",
    responses=examples.answer(200, "A page of programs, sorted by name", overview_examples.OVERVIEWS)
    | documented("cursor_invalid"),
)
async def list_overviews(
    here: ConsoleContext,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    search: Annotated[
        str | None,
        Query(min_length=1, max_length=200, pattern=patterns.TEXT, description="A part of the short name or the title.",
              examples=["spring"]),
    ] = None,
    state: Annotated[ListedState | None, Query(description="Only programs in this state now.")] = None,
    group: Annotated[ShortName | None, Query(description="Only programs in this access group.")] = None,
) -> Page[ProgramOverview]:  # fmt: skip
    """List the programs that the token may see, without removed ones, with their state and stock now."""
    after = pagination.text_of(cursor)
    async with here.pool.acquire() as connection:
        found = await overview.page(
            connection, caller.groups, after, limit + 1, search=search, state=state, group=group
        )
    return Page(items=found[:limit], next_cursor=pagination.of_next(found, limit, lambda one: one.program.name))


@router.get(
    "/{name}",
    responses=examples.answer(200, "The program as it is now", overview_examples.PROGRAM_STOCK)
    | documented("program_unknown"),
)
async def show_overview(here: ConsoleContext, caller: Reader, name: ShortName) -> ProgramStock:
    """Get a program with its state and its codes by state now, without counting codes one by one."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        return await overview.one(connection, program.id)


@router.get(
    "/{name}/levels",
    responses=examples.answer(200, "The levels of the pool", overview_examples.POOL_LEVELS)
    | documented("program_unknown"),
)
async def show_levels(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    hours: Annotated[int, Query(ge=1, le=24 * level_history.KEPT_DAYS, description="How far back.")] = 24,
) -> StockLevels:
    """Get how full the program's pool was, every ten minutes for 35 days, and how full it is expected to be."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        found = await level_history.read(connection, program.id, datetime.now(UTC) - timedelta(hours=hours))
        expected = await levels_expected(connection, program.id)
    levels = [StockLevel(at=one.at, pooled=one.pooled) for one in found]
    return StockLevels(program=name, levels=levels, expected=expected)
