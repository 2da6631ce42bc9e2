"""Endpoints for the alerts of programs."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Query

from codewell.alerts import alerts
from codewell.audit import audit_log
from schemas.alerts import Alert, AlertKind, AlertLevel, ClearAlerts, ClearedAlerts, ProgramAlert
from schemas.api import Page
from schemas.events import ShortName
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, Writer, visible_program
from services.console.http.problems import WITH_BODY, documented
from services.console.routes import examples

router = APIRouter(tags=["alerts"])
ConsoleContext = Annotated[Context, Depends(context)]
Cleared = Annotated[bool, Query(description="List the cleared alerts instead of the open ones.")]
_ALERT: Final[dict[str, Any]] = {
    "id": 3,
    "kind": "returns-stopped",
    "key": "",
    "level": "critical",
    "raised_at": "2026-11-23T10:00:00Z",
    "last_at": "2026-11-23T10:00:40Z",
    "count": 12,
    "details": {"returned": 2_113, "attached": 10_240, "share_max": 0.2},
    "cleared_at": None,
    "cleared_by": None,
}


@router.get(
    "/alerts",
    responses=examples.answer(
        200, "A page of alerts, newest first", {"items": [{**_ALERT, "program": "SPRING"}], "next_cursor": "Mw"}
    )
    | documented("cursor_invalid"),
)
async def list_all_alerts(
    here: ConsoleContext,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    cleared: Cleared = False,
    kind: Annotated[AlertKind | None, Query(description="Only alerts of this kind.")] = None,
    level: Annotated[AlertLevel | None, Query(description="Only alerts of this level.")] = None,
) -> Page[ProgramAlert]:
    """List the open alerts, or the cleared ones, of all programs that the token may see."""
    before = None if cursor is None else pagination.numbers_of(cursor, 1)[0]
    async with here.pool.acquire() as connection:
        found = await alerts.page_of_all(
            connection, limit + 1, before, groups=caller.groups, kind=kind, level=level, cleared=cleared
        )
    return Page(items=found[:limit], next_cursor=pagination.of_next(found, limit, lambda one: str(one.id)))


@router.get(
    "/programs/{name}/alerts",
    responses=examples.answer(200, "A page of alerts, newest first", {"items": [_ALERT], "next_cursor": "Mw"})
    | documented("cursor_invalid", "program_unknown"),
)
async def list_alerts(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    cleared: Cleared = False,
) -> Page[Alert]:
    """List the program's open alerts, or its cleared ones."""
    before = None if cursor is None else pagination.numbers_of(cursor, 1)[0]
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        found = await alerts.page(connection, program.id, limit + 1, before, cleared=cleared)
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=pagination.of_numbers([found[limit - 1].id]) if more else None)


@router.post(
    "/programs/{name}/alerts:clear",
    responses=examples.answer(200, "How many alerts were cleared", {"cleared": 1})
    | documented(*WITH_BODY, "program_unknown"),
)
async def clear_alerts(
    here: ConsoleContext,
    caller: Writer,
    name: ShortName,
    which: Annotated[ClearAlerts, Body(examples=[{"kind": "returns-stopped"}])],
) -> ClearedAlerts:
    """Clear open alerts of the program: what an alert has stopped goes on."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        async with connection.transaction():
            cleared = await alerts.clear_alerts(connection, program.id, caller.actor.actor, which.kind, which.key)
            if cleared:
                kind = {} if which.kind is None else {"kind": which.kind}
                await audit_log.record(connection, caller.actor, "alert.clear", name, cleared=cleared, **kind)
    return ClearedAlerts(cleared=cleared)
