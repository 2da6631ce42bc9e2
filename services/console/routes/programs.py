"""Endpoints for programs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection
from codewell.programs import overview, programs
from codewell.programs.settings_notes import answer_with_notes
from codewell.reasons import ProblemReason
from schemas.api import Clone, Page
from schemas.events import ShortName
from schemas.program import Program, ProgramAnswer, ProgramChanges, ProgramSettings, Stock
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, Writer, visible_program
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.preconditions import ETAG_HEADERS, IfMatch, required_revisions, tag
from services.console.http.problems import MAKING, WITH_BODY, HttpProblem, documented
from services.console.routes import examples

router = APIRouter(prefix="/programs", tags=["programs"])
ConsoleContext = Annotated[Context, Depends(context)]
_CHANGED: Final = examples.answer(200, "The updated program", examples.PROGRAM) | documented(
    "program_removed", "program_unknown"
)
_FALLBACKS: Final[tuple[ProblemReason, ...]] = ("fallback_cycle", "fallback_not_remote", "fallback_unknown")
_TEMPLATE: Final[tuple[ProblemReason, ...]] = (
    "template_folds_alike", "template_guessable", "template_invalid", "template_too_small",
)  # fmt: skip


@router.get(
    "",
    responses=examples.answer(200, "A page of programs, sorted by name", examples.PROGRAMS)
    | documented("cursor_invalid"),
)
async def list_programs(
    here: ConsoleContext,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    removed: Annotated[bool, Query(description="List the removed programs instead of the others.")] = False,
) -> Page[Program]:
    """List the programs that the token may see, without removed ones, or the removed ones."""
    after = pagination.text_of(cursor)
    async with here.pool.acquire() as connection:
        found = await programs.page(connection, caller.groups, after, limit + 1, removed=removed)
    return Page(items=found[:limit], next_cursor=pagination.of_next(found, limit, lambda one: one.name))


@router.post(
    "",
    status_code=201,
    response_model=ProgramAnswer,
    responses=examples.answer(201, "The created program", examples.PROGRAM_ANSWER)
    | documented(*MAKING, *_TEMPLATE, *_FALLBACKS, "group_refused", "program_taken"),
)
async def create_program(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    request: Request,
    settings: Annotated[ProgramSettings, Body(examples=[examples.SETTINGS])],
) -> Response:
    """Create a program. A token with access groups creates programs in those groups only."""
    _refuse_other_groups(caller, settings.groups)

    given = await request.json()

    async def work(connection: Connection) -> ProgramAnswer:
        made = await programs.create(connection, here.minters, settings, here.guesses_per_s)
        await audit_log.record(connection, caller.actor, "program.create", made.name, source=settings.source.kind)
        return answer_with_notes(made, given)

    return await idempotency.answer(work, lambda made: here.announcer.publish(made.id, made.name))


@router.get(
    "/{name}",
    responses=examples.answer(200, "The program", examples.PROGRAM, ETAG_HEADERS) | documented("program_unknown"),
)
async def show_program(here: ConsoleContext, caller: Reader, name: ShortName, response: Response) -> Program:
    """Get a program. Its `ETag` makes a change conditional."""
    async with here.pool.acquire() as connection:
        found = await visible_program(connection, caller, name)
    tag(response, found)
    return found


@router.get(
    "/{name}/stock", responses=examples.answer(200, "The stock", examples.STOCK) | documented("program_unknown")
)
async def show_stock(here: ConsoleContext, caller: Reader, name: ShortName) -> Stock:
    """Get the program's codes by state."""
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
        return await overview.stock(connection, name)


@router.patch(
    "/{name}",
    responses=examples.answer(200, "The updated program", examples.PROGRAM_ANSWER, ETAG_HEADERS)
    | documented(
        *WITH_BODY,
        *_TEMPLATE,
        *_FALLBACKS,
        "group_refused",
        "maximum_too_low",
        "program_changed",
        "program_is_fallback",
        "program_removed",
        "program_unknown",
        "setting_fixed",
    ),
)
async def change_program(
    here: ConsoleContext,
    caller: Writer,
    name: ShortName,
    request: Request,
    response: Response,
    changes: Annotated[ProgramChanges, Body(examples=[examples.PROGRAM_CHANGES])],
    if_match: IfMatch = None,
) -> ProgramAnswer:
    """Change settings of a program. A new template becomes a new version; codes of the old one stay valid.

    With `If-Match`, a program that was changed since it was read is not changed.
    """
    given = changes.model_dump(exclude_unset=True)
    if "groups" in given:
        _refuse_other_groups(caller, given["groups"] or ())
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
        with _body_errors():
            changed = await programs.update(
                connection, here.minters, name, given, here.guesses_per_s, caller.actor, required_revisions(if_match)
            )
    here.authenticator.forget(name)
    tag(response, changed)
    return answer_with_notes(_announce(here, changed), await request.json(), is_change=True)


@router.post(
    "/{name}/clone",
    status_code=201,
    response_model=ProgramAnswer,
    responses=examples.answer(201, "The created program", examples.PROGRAM_ANSWER)
    | documented(*MAKING, *_TEMPLATE, *_FALLBACKS, "group_refused", "program_taken", "program_unknown"),
)
async def clone_program(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    wanted: Annotated[Clone, Body(examples=[examples.CLONE])],
) -> Response:
    """Create a program with the settings of another one, without codes."""
    async with here.pool.acquire() as connection:
        _refuse_other_groups(caller, (await visible_program(connection, caller, name)).groups, setting=None)

    async def work(connection: Connection) -> ProgramAnswer:
        with _body_errors(), _errors_of_name():
            made = await programs.clone(connection, here.minters, name, wanted.name, here.guesses_per_s)
        await audit_log.record(connection, caller.actor, "program.clone", made.name, of=name)
        return answer_with_notes(made, {})

    return await idempotency.answer(work, lambda made: here.announcer.publish(made.id, made.name))


@router.post("/{name}/activate", responses=_CHANGED)
async def activate_program(here: ConsoleContext, caller: Writer, name: ShortName) -> Program:
    """Activate a program."""
    return await _set_active(here, caller, name, active=True)


@router.post("/{name}/deactivate", responses=_CHANGED)
async def deactivate_program(here: ConsoleContext, caller: Writer, name: ShortName) -> Program:
    """Deactivate a program: it neither creates nor attaches codes until it is activated."""
    return await _set_active(here, caller, name, active=False)


@router.delete("/{name}", responses=_CHANGED | documented("program_is_fallback", "program_removed", "program_unknown"))
async def remove_program(here: ConsoleContext, caller: Writer, name: ShortName) -> Program:
    """Remove a program permanently. Its codes stay on record, and its name cannot be used again."""
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
        removed = await audit_log.recorded(
            connection, caller.actor, lambda: programs.remove(connection, name, caller.groups), "program.remove", name
        )
    return _announce(here, removed)


async def _set_active(here: Context, caller: Token, name: str, *, active: bool) -> Program:
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
        verb = f"program.{'activate' if active else 'deactivate'}"
        switched = await audit_log.recorded(
            connection, caller.actor, lambda: programs.set_active(connection, name, active), verb, name
        )
    return _announce(here, switched)


def _announce(here: Context, program: Program) -> Program:
    here.announcer.publish(program.id, program.name)
    return program


@contextmanager
def _body_errors() -> Iterator[None]:
    """Report settings that contradict each other as validation errors of the body."""
    try:
        yield
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


@contextmanager
def _errors_of_name() -> Iterator[None]:
    """Name no other setting than the name in errors: the request has no other."""
    try:
        yield
    except CodewellError as error:
        if error.setting != "name":
            error.setting = None
        raise


def _refuse_other_groups(caller: Token, groups: Sequence[str], setting: str | None = "groups") -> None:
    if caller.groups and not (groups and set(groups) <= set(caller.groups)):
        own = ", ".join(caller.groups)
        raise HttpProblem(
            "group_refused",
            f"This token may create programs only in its own groups: set groups to some of {own}.",
            setting=setting,
        )
