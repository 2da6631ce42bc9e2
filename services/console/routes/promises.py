"""Endpoints that check the promises on the live database."""

from typing import Annotated

from fastapi import APIRouter, Depends

from codewell.audit import audit_log, promise_checks
from schemas.promises import LastPromiseCheck
from services.console.context import Context, context
from services.console.http.auth import Admin
from services.console.http.problems import documented
from services.console.routes import examples

router = APIRouter(tags=["usage"])
ConsoleContext = Annotated[Context, Depends(context)]


@router.get("/promises", responses=examples.answer(200, "The last check", examples.PROMISES) | documented())
async def show_promises(here: ConsoleContext, _: Admin) -> LastPromiseCheck:
    """Get the last check of the promises that somebody asked a console for, with its progress."""
    async with here.pool.acquire() as connection:
        return LastPromiseCheck(check=await promise_checks.last(connection))


@router.post(
    "/promises:check",
    status_code=202,
    responses=examples.answer(202, "The check that runs now", examples.PROMISES) | documented(),
)
async def check_promises(here: ConsoleContext, caller: Admin) -> LastPromiseCheck:
    """Check the promises in the background; a check that runs already is not begun again."""
    async with here.pool.acquire() as connection:
        async with connection.transaction():
            begun = await promise_checks.begin(connection, caller.actor.actor)
            if begun is not None:
                await audit_log.record(connection, caller.actor, "promises.check")
        if begun is not None:
            here.promise_checker.put(begun)
        return LastPromiseCheck(check=await promise_checks.last(connection))
