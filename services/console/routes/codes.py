"""Endpoints for the codes of a program."""

import json
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import Response

from codewell.audit import audit_log
from codewell.codes import listing, prefix_search
from codewell.codes.code_filter import CodeFilter
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import assigned
from codewell.pool import fill
from codewell.pool.batch import Batch
from codewell.programs import overview, settings_rules
from schemas import patterns
from schemas.api import CallContext, Code, CountedCodes, Generate, Generated
from schemas.events import Id, ShortName
from schemas.moments import EndMoment, StartMoment
from schemas.program import State
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, Viewer, Writer, visible_program
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.problems import MAKING, HttpProblem, documented
from services.console.routes import examples
from services.console.routes.code_lookup import code_of_text
from services.console.routes.code_shape import code_of

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]
_FIRST_CODES_MAX: Final = 100
CodeText = Annotated[
    str,
    Path(
        max_length=1_000,
        description="The code; it may contain /. Spaces around it are ignored, unless there is a code with them.",
    ),
]


GivenContext = Annotated[CallContext | None, Query()]


@router.post(
    "/codes:generate",
    status_code=201,
    response_model=Generated,
    responses=examples.answer(201, "The stock after the generation, and the first codes", examples.GENERATED)
    | documented(
        *MAKING,
        "code_shared",
        "codes_imported_only",
        "codes_remote_only",
        "field_required",
        "field_unknown",
        "maximum_reached",
        "order_too_large",
        "profile_has_code",
        "profile_repeated",
        "profiles_required",
        "program_ended",
        "program_inactive",
        "program_not_started",
        "program_unknown",
        "template_exhausted",
    ),
)
async def generate_codes(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Generate, Body(examples=[examples.GENERATE, examples.GENERATE_FOR])],
) -> Response:
    """Generate codes, whatever the program's switches; with profiles, attach one to each at once.

    Answers with the first codes, and with profiles who got which; `batch` lists all of them. A remote service delivers
    codes later, and never to given profiles: see `on_order`.
    """
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)

    async def work(connection: Connection) -> Generated:
        saved = settings_rules.saved_fields(program, wanted.fields)
        fields, given = json.dumps(saved) if saved else None, json.dumps(wanted.fields)
        batch: Batch | None
        if wanted.profiles is not None:
            ids = (uuid7() for _ in wanted.profiles)
            batch = await assigned.generate_for(connection, here.minters, program.id, wanted.profiles, ids, fields)
        else:
            batch = await fill.generate(connection, here.minters, program.id, wanted.count or 0, fields, given)
        made = len(wanted.profiles) if wanted.profiles is not None else wanted.count
        await audit_log.record(
            connection, caller.actor, "code.generate", name, count=made, attached=wanted.profiles is not None
        )
        stock = await overview.stock(connection, name)
        codes, after = await _first_codes(ProgramCodes(connection, here.minters, program.id), name, batch)
        batch_id = None if batch is None else str(batch)
        return Generated(**stock.model_dump(), batch=batch_id, codes=codes, next_cursor=after)

    return await idempotency.answer(work, lambda _: here.announcer.publish(program.id, program.name))


async def _first_codes(codes: ProgramCodes, name: str, batch: Batch | None) -> tuple[list[Code], str | None]:
    """The first page of a batch, and its cursor."""
    if batch is None:
        return [], None
    wanted = CodeFilter(batch=batch)
    page = await listing.page(codes, wanted.start, _FIRST_CODES_MAX, wanted)
    return [code_of(name, one) for one in page.codes], None if page.next is None else pagination.of_place(page.next)


@router.get(
    "/codes", responses=examples.answer(200, "A page of codes", examples.CODES)
    | documented("cursor_invalid", "program_unknown"),
)  # fmt: skip
async def list_codes(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    state: State | None = None,
    profile_id: Annotated[Id | None, Query(description="Only codes that are or were attached to this profile.")] = None,
    batch: Annotated[
        str | None, Query(max_length=100, description="Only codes of this batch of codes:generate.")
    ] = None,
    import_id: Annotated[UUID | None, Query(description="Only codes of this import.")] = None,
    expires_from: Annotated[
        StartMoment | None, Query(description="Only codes that expire at this time or later, or on this day.")
    ] = None,
    expires_until: Annotated[
        EndMoment | None, Query(description="Only codes that expire before this time, or until this day.")
    ] = None,
    order: Annotated[Literal["oldest", "newest"], Query(description="Which codes come first.")] = "oldest",
    prefix: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=patterns.TEXT,
            description="Only codes that begin with this text, in any order.",
        ),
    ] = None,
) -> CountedCodes:
    """List the codes of a program. A page may be short or empty; the last one has no `next_cursor`.

    A reservation may move imported codes behind all others. If it does so between two pages, the newest first may lack
    them, and the oldest first have them twice.
    """
    wanted = CodeFilter(
        state, profile_id, _batch(batch), import_id, expires_from, expires_until, newest_first=order == "newest"
    )
    is_counted = wanted.is_counted and prefix is None and cursor is None
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        codes = ProgramCodes(connection, here.minters, program.id)
        if prefix is not None:
            place = pagination.search_place_of(cursor)
            search = await prefix_search.search(codes, prefix, place, limit, profile_id)
            found = [one for one in search.codes if wanted.holds(one)]
            after = None if search.next is None else pagination.of_search(search.next)
        else:
            page = await listing.page(codes, pagination.place_of(cursor, wanted.start), limit, wanted)
            found, after = page.codes, None if page.next is None else pagination.of_place(page.next)
        total = await overview.total(connection, program.id, state) if is_counted else None
    return CountedCodes(items=[code_of(name, one) for one in found], next_cursor=after, total=total)


def _batch(given: str | None) -> Batch | None:
    if given is None:
        return None
    batch = Batch.parse(given)
    if batch is None:
        raise HttpProblem("cursor_invalid", "The batch is not valid: use one that codes:generate answered.")
    return batch


@router.get(
    "/codes/{code:path}",
    responses=examples.answer(200, "The code", examples.CODE)
    | documented("code_unknown", "lookups_exhausted", "program_unknown"),
)
async def show_code(
    here: ConsoleContext, caller: Viewer, name: ShortName, code: CodeText, context: GivenContext = None
) -> Code:
    """Look up a code. Too many look-ups of unknown codes get 429."""
    async with code_of_text(here, caller, name, code, context) as (_, found):
        return code_of(name, found)
