"""Endpoints for imports of code files: upload a file, read its progress, undo it."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.requests import Request

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.imports import imports, undo, uploads
from codewell.imports.preview import check, rules_of
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.scratch import scratch_folder
from codewell.infra.uuid7 import uuid7
from codewell.programs import programs
from codewell.reasons import ProblemReason
from schemas.api import Page
from schemas.events import ShortName
from schemas.imports import Import, ImportOptions, ImportPreview
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Reader, Writer, visible_program
from services.console.http.download import Download, Write
from services.console.http.idempotency import Idempotency, Key
from services.console.http.problems import MAKING, documented
from services.console.routes import examples
from services.console.routes.file_reading import (
    FORM_LIMITS,
    open_program,
    preview_with_known,
    read,
    reading_of,
    store_upload,
)

router = APIRouter(tags=["imports"])
ConsoleContext = Annotated[Context, Depends(context)]
_Column = Annotated[str | None, Form(description="Name of a column, or its number from 1.")]


def _options(
    column: _Column = None,
    profile_column: _Column = None,
    expiry_column: _Column = None,
    field_column: Annotated[
        list[str], Form(description="NAME=COLUMN of a custom field; repeatable.", examples=[["discount=Discount"]])
    ] = [],  # noqa: B006  FastAPI copies it
    encoding: Annotated[str | None, Form(description="Text encoding, such as windows-1252.")] = None,
    delimiter: Annotated[
        str | None, Form(description="Delimiter: comma, semicolon, tab, bar, or none for one column of whole lines.")
    ] = None,
    sheet: Annotated[str | None, Form(description="Sheet of a workbook.")] = None,
    header: Annotated[bool | None, Form(description="Whether the first row names the columns.")] = None,
    header_row: Annotated[int | None, Form(description="Row that names the columns, from 1.")] = None,
    time_zone: Annotated[
        str | None, Form(description="Time zone of expiries without one, such as Europe/Berlin.")
    ] = None,
    plain_numbers: Annotated[
        bool, Form(description="Take whole numbers of a workbook as their digits; zeros in front may be lost.")
    ] = False,
) -> ImportOptions:  # fmt: skip
    """The options of a form. Raises RequestValidationError."""
    try:
        return ImportOptions(
            column=column, profile_column=profile_column, expiry_column=expiry_column,
            field_columns=_fields(field_column), encoding=encoding, delimiter=delimiter, sheet=sheet, header=header,
            header_row=header_row, time_zone=time_zone, plain_numbers=plain_numbers,
        )  # fmt: skip
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


_Options = Annotated[ImportOptions, Depends(_options)]
_Upload = Annotated[UploadFile, File(description="CSV, XLS or XLSX.")]
_REFUSALS: Final[tuple[ProblemReason, ...]] = (
    *MAKING, "code_shared", "field_required", "field_unknown", "file_invalid", "file_too_large", "file_uncertain",
    "profiles_required", "program_unknown", "streams_busy", "streams_exhausted", "workbooks_busy",
)  # fmt: skip
_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The rejected rows with their reasons",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "row,code,reason,detail\r\n7,AB12,twice in file,\r\n"}
        },
    }
}


@router.post(
    "/programs/{name}/imports",
    status_code=202,
    form_limits=FORM_LIMITS,
    response_model=Import,
    responses=examples.answer(202, "The upload is complete and the import runs", examples.IMPORT)
    | documented(*_REFUSALS, "program_ended", "program_inactive", "program_not_started"),
)
async def import_file(
    here: ConsoleContext,
    caller: Writer,
    request: Request,
    name: ShortName,
    file: _Upload,
    options: _Options,
    key: Key = None,
) -> Response:
    """Import codes from a file, in the background. Options that are left out are detected.

    What is not certain, such as the column of the codes, is refused. `reading` in the answer says how the file is
    read. The same file with the same columns resumes an interrupted import.
    """
    program = await open_program(here, caller, name, options)
    with scratch_folder() as folder:
        path = folder / "file"
        scanned = await store_upload(here, file, path)
        reading = await read(here, scanned, lambda: reading_of(here, path, scanned, options))

        async def work(connection: Connection) -> Import:
            begun = await imports.start_import(
                connection, uuid7(), program, file.filename or "", scanned, options, reading, uploaded=True
            )
            await uploads.store(connection, begun.id, path)
            await audit_log.record(
                connection, caller.actor, "import.begin", name, id=str(begun.id), file_bytes=scanned.size
            )
            return begun

        parts = (request.method, request.url.path, scanned.sha256.hex(), options.model_dump_json())
        fingerprint = hashlib.sha256("\n".join(parts).encode()).digest()
        idempotency = Idempotency(here.pool, caller.id, key, fingerprint, may_name_profile=False)
        return await idempotency.answer(work, lambda _: here.importer.notify(), 202)


@router.post(
    "/programs/{name}/imports:preview",
    form_limits=FORM_LIMITS,
    responses=examples.answer(200, "What the import would do", examples.IMPORT_PREVIEW) | documented(*_REFUSALS),
)
async def preview_import(
    here: ConsoleContext, caller: Writer, name: ShortName, file: _Upload, options: _Options
) -> ImportPreview:
    """Show how a file would be read and which codes its first rows would become. Changes nothing.

    Codes that the program has already are bad rows for a token with `read`; others are not told which ones there are.
    """
    program = await open_program(here, caller, name, options)
    rules = rules_of(program, datetime.now(UTC))
    with scratch_folder() as folder:
        path = folder / "file"
        scanned = await store_upload(here, file, path)
        checked = await read(here, scanned, lambda: check(path, scanned, options, rules, here.importer.limits))
    return await preview_with_known(here, caller, name, checked)


@router.get(
    "/programs/{name}/imports",
    responses=examples.answer(200, "A page of imports, newest first", examples.IMPORTS)
    | documented("cursor_invalid", "program_unknown"),
)
async def list_imports(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> Page[Import]:
    """List the imports of a program, newest first."""
    before = pagination.uuid_of(cursor)
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
        found = await imports.page(connection, name, before, limit + 1)
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=pagination.of_text(str(found[limit - 1].id)) if more else None)


@router.get(
    "/imports/{import_id:uuid}",
    responses=examples.answer(200, "The import", examples.IMPORT) | documented("import_unknown"),
)
async def show_import(here: ConsoleContext, caller: Reader, import_id: UUID) -> Import:
    """Get the state and counts of an import."""
    async with here.pool.acquire() as connection:
        return await _visible_import(connection, caller, import_id)


@router.get(
    "/imports/{import_id:uuid}/bad-rows.csv",
    response_class=Response,
    responses=_CSV | documented("import_unknown", "streams_busy", "streams_exhausted"),
)
async def bad_rows(here: ConsoleContext, caller: Reader, import_id: UUID) -> Response:
    """Get the rows rejected so far, as CSV without spreadsheet formulas.

    If the token is revoked meanwhile, the connection closes without the last chunk, and the file is incomplete.
    """
    async with here.pool.acquire() as connection:
        name = (await _visible_import(connection, caller, import_id)).program

    async def work(write: Write) -> None:
        async for some in imports.bad_rows_csv(here.bad_rows.connection, import_id):
            await write(some.encode())

    async def is_allowed() -> bool:
        return await here.authenticator.may_still_read(caller, name)

    return Download(f"{import_id}-bad-rows.csv", here.bad_rows.slot(caller.id), work, is_allowed)


@router.post(
    "/imports/{import_id:uuid}:undo",
    responses=examples.answer(200, "The undone import", examples.IMPORT | {"state": "undone"})
    | documented("import_busy", "import_unknown"),
)
async def undo_import(here: ConsoleContext, caller: Writer, import_id: UUID) -> Import:
    """Delete the unused codes of an import, and stop it if it is running. Safe to repeat."""
    async with here.pool.acquire() as connection:
        await _visible_import(connection, caller, import_id)
        undone = await undo.undo(connection, import_id, caller.actor)
        await here.demand_if_low(connection, (await programs.get(connection, undone.program)).id)
    return undone


async def _visible_import(connection: Connection, caller: Token, import_id: UUID) -> Import:
    return await imports.get(connection, import_id, caller.groups)


def _fields(given: list[str]) -> dict[str, str]:
    return {name: column for name, _, column in (one.partition("=") for one in given)}
