"""Endpoints for files whose columns are still to be chosen, for pages alone.

A browser sends a file once. It is stored in the database, so the next step may come to another console.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, File, UploadFile
from fastapi.responses import Response

from codewell.audit import audit_log
from codewell.errors import FileRefused, ProgramRefused
from codewell.files.beginning import BeginningTooShort, beginning_of, facts_of, scan_of
from codewell.files.scan import Scan, scan
from codewell.imports import imports, staging
from codewell.imports.first_rows import first_rows
from codewell.imports.preview import CheckedRows, check, rules_of
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.scratch import scratch_folder
from codewell.infra.uuid7 import uuid7
from schemas.events import ShortName
from schemas.imports import FirstRows, Import, ImportOptions, Upload, UploadPreview
from schemas.program import Program
from services.console.context import Context, context
from services.console.http.auth import Writer, visible_program
from services.console.http.idempotency import IdempotencyGuard
from services.console.routes.file_reading import (
    FORM_LIMITS,
    open_program,
    preview_with_known,
    read,
    reading_of,
    store_upload,
)

router = APIRouter(prefix="/programs/{name}/uploads", include_in_schema=False)
ConsoleContext = Annotated[Context, Depends(context)]


@contextmanager
def _file() -> Iterator[Path]:
    with scratch_folder() as folder:
        yield folder / "file"


@router.post("", status_code=201, form_limits=FORM_LIMITS)
async def stage_file(
    here: ConsoleContext, caller: Writer, name: ShortName, file: Annotated[UploadFile, File()]
) -> Upload:
    """Keep a file for some time, if it is a table."""
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
    with _file() as path:
        scanned = await store_upload(here, file, path)
        first = await read(here, scanned, lambda: _looked_at(here, path, scanned))
        async with here.pool.acquire() as connection, connection.transaction():
            await staging.delete_old(connection)
            return await staging.stage(connection, uuid7(), name, caller.id, file.filename or "", scanned, first, path)


@router.post("/{upload_id:uuid}:preview")
async def preview_upload(
    here: ConsoleContext, caller: Writer, name: ShortName, upload_id: UUID, options: ImportOptions
) -> UploadPreview:
    """Show the file's first rows, and check those of its beginning if it is certain how to read them."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        upload = await staging.find(connection, upload_id, name)
    with _file() as path:
        async with here.pool.acquire() as connection:
            scanned = await staging.fetch_beginning(connection, upload_id, path)
        looked = None
        if scanned is not None:
            with suppress(BeginningTooShort):
                looked = await asyncio.to_thread(_preview, here, path, scanned, program, options)
        if looked is None:
            whole = await _fetched(here, upload_id, path)
            looked = await read(here, whole, lambda: _preview(here, path, whole, program, options))
    checked = None if looked.checked is None else await preview_with_known(here, caller, name, looked.checked)
    return UploadPreview(upload=upload, table=looked.table, check=checked, refusal=looked.refusal)


@router.post("/{upload_id:uuid}:import", status_code=202, response_model=Import)
async def import_upload(
    here: ConsoleContext,
    caller: Writer,
    idempotency: IdempotencyGuard,
    name: ShortName,
    upload_id: UUID,
    options: ImportOptions,
) -> Response:
    """Import the file in the background, once for a key."""
    program = await open_program(here, caller, name, options)

    async def work(connection: Connection) -> Import:
        upload = await staging.find(connection, upload_id, name)
        with _file() as path:
            await staging.fetch(connection, upload_id, path)
            scanned = await asyncio.to_thread(scan, path, here.importer.limits)
            reading = await read(here, scanned, lambda: reading_of(here, path, scanned, options))
        begun = await imports.start_import(
            connection, uuid7(), program, upload.file, scanned, options, reading, uploaded=True
        )
        await staging.move_to_import(connection, upload, begun.id)
        await audit_log.record(
            connection, caller.actor, "import.begin", name, id=str(begun.id), file_bytes=upload.file_bytes
        )
        return begun

    return await idempotency.answer(work, lambda _: here.importer.notify(), 202)


class _Preview(NamedTuple):
    table: FirstRows
    checked: CheckedRows | None
    refusal: str | None


def _preview(here: Context, path: Path, scanned: Scan, program: Program, options: ImportOptions) -> _Preview:
    """The first rows, and the check of more of them. Raises BeginningTooShort where these are not all at hand."""
    limits = here.importer.limits
    table = first_rows(path, scanned, options, limits)
    try:
        imports.check_program(program, options)
        checked = check(path, scanned, options, rules_of(program, datetime.now(UTC)), limits)
    except (FileRefused, ProgramRefused) as error:
        return _Preview(table, None, str(error))
    return _Preview(table, checked, None)


def _looked_at(here: Context, path: Path, scanned: Scan) -> bytes:
    """The beginning of a file, if it is a table. Raises FileRefused."""
    limits = here.importer.limits
    first = beginning_of(path, scanned, limits)
    begun = path.with_name("beginning")
    begun.write_bytes(first)
    try:
        # Reading a workbook once more takes seconds.
        first_rows(begun, scan_of(facts_of(scanned), first), ImportOptions(), limits)
    except BeginningTooShort:
        first_rows(path, scanned, ImportOptions(), limits)
    return first


async def _fetched(here: Context, upload_id: UUID, path: Path) -> Scan:
    async with here.pool.acquire() as connection:
        await staging.fetch(connection, upload_id, path)
    return await asyncio.to_thread(scan, path, here.importer.limits)
