"""Endpoints for when programs run out of codes."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends

from codewell.forecast import forecasts
from codewell.programs import programs
from schemas.api import Page
from schemas.events import ShortName
from schemas.forecast import Forecast, ProgramForecast
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, visible_program
from services.console.http.problems import documented
from services.console.routes import examples

router = APIRouter(tags=["programs"])
ConsoleContext = Annotated[Context, Depends(context)]
_FORECAST: Final[dict[str, Any]] = {
    "runs_out_at": {"p50": "2026-12-19T16:20:00Z", "p90": "2026-12-15T09:10:00Z"},
    "cause": "maximum",
    "before_valid_until": True,
    "assumes": ["usual_weeks", "filled"],
}


@router.get(
    "/programs/{name}/forecast",
    responses=examples.answer(200, "When the program runs out of codes", _FORECAST) | documented("program_unknown"),
)
async def show_forecast(here: ConsoleContext, caller: Reader, name: ShortName) -> Forecast:
    """Get when the program runs out of codes, at its usual demand and at a high one, and why."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        return (await forecasts(connection, [program.id]))[program.id]


@router.get(
    "/forecasts",
    responses=examples.answer(
        200, "A page of forecasts, by name", {"items": [{**_FORECAST, "program": "SPRING"}], "next_cursor": None}
    )
    | documented("cursor_invalid"),
)
async def list_forecasts(
    here: ConsoleContext,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    name: pagination.OnlyPrograms = None,
) -> Page[ProgramForecast]:
    """List when the programs that the token may see run out of codes, and why."""
    after = pagination.text_of(cursor)
    async with here.pool.acquire() as connection:
        page = await programs.page(connection, caller.groups, after, limit + 1, names=name)
        found = await forecasts(connection, [one.id for one in page[:limit]])
    items = [ProgramForecast(**dict(found[one.id]), program=one.name) for one in page[:limit]]
    return Page(items=items, next_cursor=pagination.of_next(page, limit, lambda one: one.name))
