"""Endpoints that change many codes at once: count, begin, follow, stop, undo."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends
from fastapi.responses import Response

from codewell.codes import bulk
from codewell.codes.bulk import NewChange
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from schemas.api import Page
from schemas.changes import BulkChange, BulkCounts, Change
from schemas.events import ShortName
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, Writer, visible_program
from services.console.http.download import Download, Write
from services.console.http.idempotency import IdempotencyGuard, ok_response
from services.console.http.problems import MAKING, documented
from services.console.routes import change_examples, examples

router = APIRouter(tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]

_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "What the change did, without texts of codes. A place with `*` is the first one of a block",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "place,codes,outcome,at\r\n0:1:0*,90000,changed,2026-11-23T10:00:01+00:00\r\n",
            }
        },
    }
}


@router.post(
    "/programs/{name}/codes:change",
    status_code=202,
    response_model=BulkChange,
    responses=examples.answer(202, "The change runs", change_examples.BULK_CHANGE)
    | {200: {"model": BulkCounts, **examples.answer(200, "The counts of a dry run", change_examples.BULK_COUNTS)[200]}}
    | documented(*MAKING, "change_busy", "expiry_passed", "filter_finds_nothing", "program_unknown"),
)
async def change_codes(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Change, Body(examples=[change_examples.BULK])],
) -> Response:
    """Change the expiry of all codes that a filter finds, or delete them, in the background. Counts first: `dry_run`.

    Activated codes, and those that an order holds or has used, are left as they are.
    """
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        if wanted.dry_run:
            return ok_response(await bulk.counts(connection, program.id, wanted.filter), 200)
    change = NewChange(void=bool(wanted.void), expires_at=wanted.expires_at)

    async def work(connection: Connection) -> BulkChange:
        return await bulk.start(connection, uuid7(), program.id, name, wanted.filter, change, caller.actor)

    return await idempotency.answer(work, lambda _: here.bulk_changer.notify(), 202)


@router.get(
    "/programs/{name}/changes",
    responses=examples.answer(
        200, "A page of changes, newest first", {"items": [change_examples.BULK_CHANGE], "next_cursor": None}
    )
    | documented("cursor_invalid", "program_unknown"),
)
async def list_changes(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> Page[BulkChange]:
    """List the changes of many codes of a program, newest first."""
    before = pagination.uuid_of(cursor)
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
        found = await bulk.page(connection, name, before, limit + 1)
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=pagination.of_text(str(found[limit - 1].id)) if more else None)


@router.get(
    "/changes/{change_id:uuid}",
    responses=examples.answer(200, "The change", change_examples.BULK_CHANGE) | documented("change_unknown"),
)
async def show_change(here: ConsoleContext, caller: Reader, change_id: UUID) -> BulkChange:
    """Get the state and counts of a change of many codes."""
    async with here.pool.acquire() as connection:
        return await bulk.get(connection, change_id, caller.groups)


@router.get(
    "/changes/{change_id:uuid}/codes.csv",
    response_class=Response,
    responses=_CSV | documented("change_unknown", "streams_busy", "streams_exhausted"),
)
async def change_list(here: ConsoleContext, caller: Reader, change_id: UUID) -> Response:
    """Get what a change did so far, as CSV: places of codes, how many, and what became of them."""
    async with here.pool.acquire() as connection:
        name = (await bulk.get(connection, change_id, caller.groups)).program

    async def work(write: Write) -> None:
        async for some in bulk.items_csv(here.change_lists.connection, change_id):
            await write(some.encode())

    async def is_allowed() -> bool:
        return await here.authenticator.may_still_read(caller, name)

    return Download(f"{change_id}-codes.csv", here.change_lists.slot(caller.id), work, is_allowed)


@router.post(
    "/changes/{change_id:uuid}:stop",
    responses=examples.answer(200, "The stopped change", change_examples.BULK_CHANGE | {"state": "stopped"})
    | documented("change_ended", "change_unknown"),
)
async def stop_change(here: ConsoleContext, caller: Writer, change_id: UUID) -> BulkChange:
    """Stop a running change. What it did stays, until it is undone. Safe to repeat."""
    async with here.pool.acquire() as connection:
        await bulk.get(connection, change_id, caller.groups)
        return await bulk.stop(connection, change_id, caller.actor)


@router.post(
    "/changes/{change_id:uuid}:undo",
    responses=examples.answer(
        200, "The change, which is being undone", change_examples.BULK_CHANGE | {"state": "undoing"}
    )
    | documented("change_busy", "change_unknown"),
)
async def undo_change(here: ConsoleContext, caller: Writer, change_id: UUID) -> BulkChange:
    """Restore what a change did, in the background, and stop it if it runs. Safe to repeat.

    What was used, changed or returned since stays as it is, and so do answers that were given since.
    """
    async with here.pool.acquire() as connection:
        await bulk.get(connection, change_id, caller.groups)
        undone = await bulk.undo(connection, change_id, caller.actor)
    here.bulk_changer.notify()
    return undone
