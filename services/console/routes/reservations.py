"""Endpoints for reservations: codes of a program that are set aside for one campaign or scenario."""

from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import Response

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from codewell.reasons import ProblemReason
from codewell.reservations import reservations
from codewell.reservations.reservations import audit_details
from schemas.amounts import CODES_MAX_LIMIT
from schemas.api import Page
from schemas.events import ShortName
from schemas.moments import StartMoment
from schemas.reservations import (
    Availability,
    Reservation,
    ReservationAnswer,
    ReservationChanges,
    ReservationRequest,
)
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, Writer, visible_program
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.problems import MAKING, WITH_BODY, documented
from services.console.routes import examples
from services.console.routes import reservation_examples as shown

router = APIRouter(prefix="/programs/{name}", tags=["reservations"])
ConsoleContext = Annotated[Context, Depends(context)]
Id = Annotated[int, Path(ge=1, lt=2**63, description="The reservation's id.")]

_CLOSED: Final[tuple[ProblemReason, ...]] = (
    "code_shared", "program_ended", "program_inactive", "program_not_started", "program_unknown",
)  # fmt: skip
# Above every id.
_NEWEST: Final = 10**18 - 1


@router.post(
    "/reservations",
    status_code=201,
    response_model=ReservationAnswer,
    responses=examples.answer(201, "The reservation, and where its codes come from", shown.ANSWER)
    | documented(*MAKING, *_CLOSED, "reservation_exists", "reservation_short", "reservation_too_long"),
)
async def create_reservation(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[ReservationRequest, Body(examples=[shown.REQUEST])],
) -> Response:
    """Set codes aside for a campaign or scenario: it gets them first, and nothing else gets one.

    A template program makes them for it, a list gives pooled codes, and a remote service delivers them later. Where
    there are too few, the problem `reservation_short` has the figures; with `partial`, what there is is set aside.
    """
    async with here.pool.acquire() as connection:
        program_id = (await visible_program(connection, caller, name)).id

    async def work(connection: Connection) -> ReservationAnswer:
        made = await reservations.reserve(connection, here.minters, program_id, wanted)
        await audit_log.record(connection, caller.actor, "reservation.create", name, **audit_details(made))
        return made

    return await idempotency.answer(work, lambda _: None)


@router.get(
    "/reservations",
    responses=examples.answer(200, "A page of reservations, newest first", shown.PAGE)
    | documented("cursor_invalid", "program_unknown"),
)
async def list_reservations(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    ended: Annotated[bool, Query(description="List those too that have ended.")] = False,
) -> Page[Reservation]:
    """List the program's reservations, newest first."""
    before = pagination.number_of(cursor, _NEWEST)
    async with here.pool.acquire() as connection:
        program_id = (await visible_program(connection, caller, name)).id
        found = await reservations.page(connection, program_id, before, limit + 1, ended=ended)
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=pagination.of_text(str(found[limit - 1].id)) if more else None)


@router.get(
    "/availability",
    responses=examples.answer(200, "What a reservation made now would set aside", shown.AVAILABILITY)
    | documented(*_CLOSED),
)
async def show_availability(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    count: Annotated[int, Query(ge=1, le=CODES_MAX_LIMIT, description="How many codes.", examples=[100_000])],
    at: Annotated[
        StartMoment | None, Query(description="When the campaign is sent: codes that expire before don't count.")
    ] = None,
) -> Availability:
    """Say what a reservation would set aside now, with the same figures. Nothing is reserved."""
    async with here.pool.acquire() as connection:
        program_id = (await visible_program(connection, caller, name)).id
        return await reservations.availability(connection, program_id, count, at)


@router.get(
    "/reservations/{reservation_id:int}",
    responses=examples.answer(200, "The reservation", shown.RESERVATION)
    | documented("program_unknown", "reservation_unknown"),
)
async def show_reservation(here: ConsoleContext, caller: Reader, name: ShortName, reservation_id: Id) -> Reservation:
    """Get a reservation as it is now."""
    async with here.pool.acquire() as connection:
        program_id = (await visible_program(connection, caller, name)).id
        return await reservations.get(connection, program_id, reservation_id)


# A whole number only: the next path is another one.
@router.patch(
    "/reservations/{reservation_id:int}",
    responses=examples.answer(200, "The reservation, and where the added codes come from", shown.ANSWER)
    | documented(
        *WITH_BODY, *_CLOSED, "reservation_ended", "reservation_short", "reservation_too_long",
        "reservation_unknown", "reservation_used",
    ),
)  # fmt: skip
async def change_reservation(
    here: ConsoleContext,
    caller: Writer,
    name: ShortName,
    reservation_id: Id,
    changes: Annotated[ReservationChanges, Body(examples=[shown.CHANGES])],
) -> ReservationAnswer:
    """Change how many codes a reservation has, and until when. A lower count gives codes back to the pool."""
    async with here.pool.acquire() as connection:
        program_id = (await visible_program(connection, caller, name)).id
        async with connection.transaction():
            changed = await reservations.change(connection, here.minters, program_id, reservation_id, changes)
            details = audit_details(changed)
            await audit_log.record(connection, caller.actor, "reservation.change", name, **details)
    return changed


@router.post(
    "/reservations/{reservation_id}:release",
    responses=examples.answer(200, "The reservation after it ended", shown.RELEASED)
    | documented("program_unknown", "reservation_unknown"),
)
async def release_reservation(here: ConsoleContext, caller: Writer, name: ShortName, reservation_id: Id) -> Reservation:
    """End a reservation: the codes that are left go back to the pool. Repeated, it gives the same answer."""
    async with here.pool.acquire() as connection:
        program_id = (await visible_program(connection, caller, name)).id
        async with connection.transaction():
            before = await reservations.get(connection, program_id, reservation_id)
            ended = await reservations.release(connection, program_id, reservation_id)
            if before.ended_at is None:
                details = audit_details(ended)
                await audit_log.record(connection, caller.actor, "reservation.release", name, **details)
        await here.demand_if_low(connection, program_id)
    return ended
