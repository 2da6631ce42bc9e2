"""Endpoints for the codes of a program."""

import json
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import Response

from codewell.audit import audit_log
from codewell.codes import listing, lookup
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import assigned
from codewell.pool import fill
from codewell.programs import overview, settings_rules
from schemas.api import Code, Generate, Page
from schemas.events import Id, ShortName
from schemas.program import State, Stock
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, Viewer, Writer, visible_program
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.problems import documented, documented_making
from services.console.routes import examples
from services.console.routes.code_shape import code_of

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]
CodeText = Annotated[str, Path(max_length=1_000, description="The code; it may contain /.")]


@router.post(
    "/codes:generate",
    status_code=201,
    response_model=Stock,
    responses=examples.answer(201, "The stock after the generation", examples.STOCK) | documented_making(404),
)
async def generate_codes(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Generate, Body(examples=[examples.GENERATE, examples.GENERATE_FOR])],
) -> Response:
    """Generate codes, whatever the program's switches; with profiles, attach one to each at once.

    A remote service delivers them later, and never to given profiles: see `on_order`.
    """
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)

    async def work(connection: Connection) -> Stock:
        saved = settings_rules.saved_fields(program, wanted.fields)
        fields, given = json.dumps(saved) if saved else None, json.dumps(wanted.fields)
        if wanted.profiles is not None:
            ids = (uuid7() for _ in wanted.profiles)
            await assigned.generate_for(connection, here.minters, program.id, wanted.profiles, ids, fields)
        else:
            await fill.generate(connection, here.minters, program.id, wanted.count or 0, fields, given)
        made = len(wanted.profiles) if wanted.profiles is not None else wanted.count
        await audit_log.record(
            connection, caller.actor, "code.generate", name, count=made, attached=wanted.profiles is not None
        )
        return await overview.stock(connection, name)

    return await idempotency.answer(work, lambda _: here.announcer.publish(program.id, program.name))


@router.get(
    "/codes", responses=examples.answer(200, "A page of codes, oldest first", examples.CODES)
    | documented(404),
)  # fmt: skip
async def list_codes(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    state: State | None = None,
    profile_id: Annotated[Id | None, Query(description="Only codes that are or were attached to this profile.")] = None,
) -> Page[Code]:
    """List the codes of a program. A page may be short or empty; the last one has no `next_cursor`."""
    place = pagination.place_of(cursor)
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        found = await listing.page(ProgramCodes(connection, here.minters, program.id), place, limit, state, profile_id)
    return Page(
        items=[code_of(name, one) for one in found.codes],
        next_cursor=None if found.next is None else pagination.of_place(found.next),
    )


@router.get("/codes/{code:path}", responses=examples.answer(200, "The code", examples.CODE) | documented(404, 429))
async def show_code(here: ConsoleContext, caller: Viewer, name: ShortName, code: CodeText) -> Code:
    """Look up a code. Too many look-ups of unknown codes get 429."""
    program = await here.authenticator.program(caller, name)
    await here.failed_lookups.refuse(caller.id)
    found = None
    if not await here.negative_cache.know(program.id, code):
        async with here.pool.acquire() as connection:
            found = await lookup.find(ProgramCodes(connection, here.minters, program.id), code)
    if found is None:
        here.failed_lookups.count(caller.id)
        raise CodeUnknown(code)
    return code_of(name, found)
