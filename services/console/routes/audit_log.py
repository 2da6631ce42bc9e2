"""Endpoints for the log of people's actions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from codewell.audit import audit_log
from schemas import patterns
from schemas.api import Page
from schemas.audit_log import LogEntry, LogVerification
from schemas.events import ShortName
from schemas.moments import StartMoment
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader
from services.console.http.problems import documented
from services.console.routes import operator_examples as shown
from services.console.routes.examples import answer

router = APIRouter(prefix="/audit-log", tags=["audit log"])
ConsoleContext = Annotated[Context, Depends(context)]


@router.get(
    "",
    responses=answer(200, "A page of entries, newest first", shown.AUDIT_LOG) | documented("cursor_invalid"),
)
async def list_audit_log(
    here: ConsoleContext,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    actor: Annotated[
        str | None,
        Query(min_length=1, max_length=300, pattern=patterns.TEXT, description="Only actions of this token or user."),
    ] = None,
    program: Annotated[ShortName | None, Query(description="Only changes of this program.")] = None,
    verb: Annotated[
        str | None,
        Query(max_length=100, pattern=patterns.VERB, description="Only this action, such as program.update, or all "
              "with this first part, such as program.", examples=["program"]),
    ] = None,
    since: Annotated[StartMoment | None, Query(description="Only entries from then on.")] = None,
) -> Page[LogEntry]:  # fmt: skip
    """List what people did, newest first. A page may be short or empty; the last one has no `next_cursor`.

    A token with access groups sees the entries about programs that are in its groups now.
    """
    before = None if cursor is None else pagination.numbers_of(cursor, 1)[0]
    async with here.pool.acquire() as connection:
        page = await audit_log.scan(
            connection, limit, before, actor=actor, program=program, verb=verb, since=since, groups=caller.groups
        )
    return Page(
        items=[LogEntry(**one._asdict()) for one in page.entries],
        next_cursor=None if page.next is None else pagination.of_numbers((page.next,)),
    )


@router.get("/verification", responses=answer(200, "The verification", shown.VERIFICATION) | documented())
async def verify_audit_log(here: ConsoleContext, _: Reader) -> LogVerification:
    """Say how far the log's hash chain is verified. Each console verifies it at most once a minute."""
    verdict, ended_at = await here.audit_chain.state()
    return LogVerification(
        state="broken" if verdict.wrong is not None else "running" if ended_at is None else "intact",
        verified_up_to=verdict.head.place,
        head=str(verdict.head),
        fault=verdict.wrong,
        verified_at=ended_at,
    )
