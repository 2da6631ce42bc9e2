"""Endpoints for imports of code files: upload a file, read its progress, undo it."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from pydantic import ValidationError
from starlette.requests import Request

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.errors import ImportUnknown
from codewell.files.scan import Scan, scan
from codewell.files.table import open_table
from codewell.imports import imports, undo, uploads
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from schemas.events import ShortName
from schemas.imports import Import, ImportOptions
from services.console.context import Context, context
from services.console.http.auth import Reader, Writer, visible_program
from services.console.http.idempotency import Idempotency, Key
from services.console.http.problems import documented, documented_making
from services.console.routes import examples

router = APIRouter(tags=["imports"])
ConsoleContext = Annotated[Context, Depends(context)]
_Column = Annotated[str | None, Form(description="Name of a column, or its number from 1.")]
_Field = Annotated[
    list[str], Form(description="NAME=COLUMN of a custom field; repeatable.", examples=[["discount=Discount"]])
]
_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The rejected rows with their reasons",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "row,code,reason\r\n7,AB12,twice in file\r\n"}
        },
    }
}


@router.post(
    "/programs/{name}/imports",
    status_code=202,
    # Each form field is held in memory as a whole, and so is the start of each file.
    form_limits={"max_files": 1, "max_fields": 100, "max_part_size": 16 * 1024},
    response_model=Import,
    responses=examples.answer(202, "The upload is complete and the import runs", examples.IMPORT)
    | documented_making(404),
)
async def import_file(
    here: ConsoleContext,
    caller: Writer,
    request: Request,
    name: ShortName,
    file: Annotated[UploadFile, File(description="CSV, XLS or XLSX.")],
    column: _Column = None,
    profile_column: _Column = None,
    expiry_column: _Column = None,
    field_column: _Field = [],  # noqa: B006  FastAPI copies it
    encoding: Annotated[str | None, Form(description="Text encoding, such as windows-1252.")] = None,
    delimiter: Annotated[str | None, Form(description="Comma, semicolon, tab or vertical bar.")] = None,
    sheet: Annotated[str | None, Form(description="Sheet of a workbook; default: the first.")] = None,
    header: Annotated[bool | None, Form(description="Whether the first row names the columns.")] = None,
    key: Key = None,
) -> Response:
    """Import codes from a file, in the background. Options that are left out are detected.

    The same file with the same columns resumes an interrupted import.
    """
    options = _options(
        column=column, profile_column=profile_column, expiry_column=expiry_column, field_columns=_fields(field_column),
        encoding=encoding, delimiter=delimiter, sheet=sheet, header=header,
    )  # fmt: skip
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
    imports.check_program(program, options)
    with TemporaryDirectory(prefix="codewell-upload-") as directory:
        path = Path(directory) / "file"
        scanned = await asyncio.to_thread(_store_upload, here, file, path, options)

        async def work(connection: Connection) -> Import:
            begun = await imports.start_import(
                connection, uuid7(), program, file.filename or "", scanned, options, uploaded=True
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


@router.get(
    "/imports/{import_id:uuid}", responses=examples.answer(200, "The import", examples.IMPORT) | documented(404)
)
async def show_import(here: ConsoleContext, caller: Reader, import_id: UUID) -> Import:
    """Get the state and counts of an import."""
    async with here.pool.acquire() as connection:
        return await _visible_import(connection, caller, import_id)


@router.get("/imports/{import_id:uuid}/bad-rows.csv", response_class=Response, responses=_CSV | documented(404))
async def bad_rows(here: ConsoleContext, caller: Reader, import_id: UUID) -> StreamingResponse:
    """Get the rows rejected so far, as CSV without spreadsheet formulas."""
    async with here.pool.acquire() as connection:
        await _visible_import(connection, caller, import_id)

    async def lines() -> AsyncIterator[str]:
        async with here.pool.acquire() as connection:
            async for some in imports.bad_rows_csv(connection, import_id):
                yield some

    return StreamingResponse(lines(), media_type="text/csv")


@router.post(
    "/imports/{import_id:uuid}:undo",
    responses=examples.answer(200, "The undone import", examples.IMPORT | {"state": "undone"}) | documented(404),
)
async def undo_import(here: ConsoleContext, caller: Writer, import_id: UUID) -> Import:
    """Delete the unused codes of an import, and stop it if it is running. Safe to repeat."""
    async with here.pool.acquire() as connection:
        await _visible_import(connection, caller, import_id)
        return await undo.undo(connection, import_id, caller.actor)


async def _visible_import(connection: Connection, caller: Token, import_id: UUID) -> Import:
    found, groups = await imports.get_with_groups(connection, import_id)
    if not caller.sees(groups):
        raise ImportUnknown(import_id)
    return found


def _store_upload(here: Context, file: UploadFile, path: Path, options: ImportOptions) -> Scan:
    """Copy the upload to a file that a workbook's child process can read; refuse tables without these columns."""
    with path.open("wb") as out:
        shutil.copyfileobj(file.file, out)
    scanned = scan(path, here.importer.limits)
    with open_table(path, scanned, options, here.importer.limits):
        return scanned


def _options(**given: Any) -> ImportOptions:
    try:
        return ImportOptions(**given)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


def _fields(given: list[str]) -> dict[str, str]:
    return {name: column for name, _, column in (one.partition("=") for one in given)}
