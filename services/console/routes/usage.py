"""Endpoints for what programs gave, by time, and for the state of the workers and their topics."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from codewell.programs import programs
from codewell.usage import figures
from codewell.usage.today import today
from schemas.events import ShortName
from schemas.moments import EndMoment, StartMoment
from schemas.usage import Lags, ProgramUsage, Step, UsageSummaries, Workers
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Admin, Reader, visible_program
from services.console.http.problems import HttpProblem, documented
from services.console.routes import examples

router = APIRouter(tags=["usage"])
ConsoleContext = Annotated[Context, Depends(context)]
# Without a start: an hour by minute, a day by hour.
_STEPS_DEFAULT: Final[dict[Step, int]] = {"minute": 60, "hour": 24}


@router.get(
    "/programs/{name}/usage",
    responses=examples.answer(200, "The usage by minute or hour", examples.PROGRAM_USAGE)
    | documented("program_unknown"),
)
async def show_program_usage(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    step: Annotated[Step, Query(description="Minutes are kept for 35 days, hours of UTC for 800 days.")] = "minute",
    start: Annotated[
        StartMoment | None,
        Query(alias="from", description="Begin; it is rounded down to a whole step. Without it: 60 minutes, or 24 "
              "hours, before the end.", examples=["2026-11-23T09:00:00Z"]),
    ] = None,
    end: Annotated[
        EndMoment | None,
        Query(alias="to", description="End; it is rounded up to a whole step. Without it: now.",
              examples=["2026-11-23T10:00:00Z"]),
    ] = None,
) -> ProgramUsage:  # fmt: skip
    """Get how many codes the program attached, got back and had activated, and whom it refused, by time."""
    length = figures.STEP[step]
    ends = -_whole(-(end or datetime.now(UTC)).timestamp(), length)
    starts = (
        ends - _STEPS_DEFAULT[step] * length.total_seconds() if start is None else _whole(start.timestamp(), length)
    )
    if not 0 < (ends - starts) / length.total_seconds() <= figures.STEPS_MAX:
        raise HttpProblem(
            "field_invalid",
            f"query.from: must be before query.to, by at most {figures.STEPS_MAX:,} steps: ask for less, or by hour.",
        )
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        between = (datetime.fromtimestamp(moment, UTC) for moment in (starts, ends))
        return await figures.program_usage(connection, program.id, name, step, *between)


@router.get(
    "/usage",
    responses=examples.answer(200, "A page of programs' usage, by name", examples.USAGE) | documented("cursor_invalid"),
)
async def list_usage(
    here: ConsoleContext,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    name: pagination.OnlyPrograms = None,
) -> UsageSummaries:
    """List the usage of the last 60 minutes and of today, of the programs that the token may see."""
    after = pagination.text_of(cursor)
    async with here.pool.acquire() as connection:
        found = await programs.page(connection, caller.groups, after, limit + 1, names=name)
        items = await figures.summaries(connection, [(one.id, one.name) for one in found[:limit]], today())
    return UsageSummaries(items=items, next_cursor=pagination.of_next(found, limit, lambda one: one.name))


@router.get("/workers", responses=examples.answer(200, "The workers", examples.WORKERS) | documented())
async def list_workers(here: ConsoleContext, _: Admin) -> Workers:
    """List the processes of Codewell, their state and their rates."""
    async with here.pool.acquire() as connection:
        return Workers(workers=await figures.workers(connection))


@router.get("/lag", responses=examples.answer(200, "The lag by topic", examples.LAG) | documented())
async def show_lag(here: ConsoleContext, _: Admin) -> Lags:
    """Get how far the workers are behind on each topic, and how many dead letters there are, as Kafka says.

    The answer may be two seconds old.
    """
    return await here.lag.read()


def _whole(moment_s: float, step: timedelta) -> float:
    """The last begin of a step at or before the moment (s since 1970)."""
    return moment_s // step.total_seconds() * step.total_seconds()
