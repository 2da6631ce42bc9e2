"""Reads an uploaded file for the endpoints of imports: workbooks one at a time, and none in the event loop."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from fastapi import UploadFile

from codewell.access.tokens import Token
from codewell.codes.program_codes import ProgramCodes
from codewell.files.scan import Scan, scan
from codewell.files.table import open_table
from codewell.imports import imports
from codewell.imports.preview import CheckedRows, drop_known, preview_of
from codewell.programs import programs
from schemas.imports import ImportOptions, ImportPreview, Reading
from schemas.program import Program
from services.console.context import Context
from services.console.http.auth import visible_program

T = TypeVar("T")

# Each form field is held in memory as a whole, and so is the start of each file.
FORM_LIMITS: Final[Any] = {"max_files": 1, "max_fields": 100, "max_part_size": 16 * 1024}


async def preview_with_known(here: Context, caller: Token, name: str, checked: CheckedRows) -> ImportPreview:
    """The preview of these rows, with the codes that the program has already among the bad ones.

    A caller who may not list the codes is not told which ones there are.
    """
    if not caller.may("read"):
        return preview_of(checked)
    async with here.pool.acquire() as connection:
        program = await programs.get(connection, name)
        return preview_of(await drop_known(ProgramCodes(connection, here.minters, program.id), checked))


async def open_program(here: Context, caller: Token, name: str, options: ImportOptions) -> Program:
    """The program, if it accepts a file with these columns. Raises ProgramRefused."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
    imports.check_program(program, options)
    return program


async def store_upload(here: Context, file: UploadFile, path: Path) -> Scan:
    """Copy the upload to a file that a workbook's child process can read."""

    def store() -> Scan:
        with path.open("wb") as out:
            shutil.copyfileobj(file.file, out)
        return scan(path, here.importer.limits)

    return await asyncio.to_thread(store)


def reading_of(here: Context, path: Path, scanned: Scan, options: ImportOptions) -> Reading:
    """How an import with these options would read the file. Raises FileRefused."""
    with open_table(path, scanned, options, here.importer.limits) as table:
        return table.reading


async def read(here: Context, scanned: Scan, work: Callable[[], T]) -> T:
    """Run `work` in a thread, workbooks one at a time. Raises HTTPException (503) while another one is read."""
    return await (asyncio.to_thread(work) if scanned.kind == "text" else here.importer.workbooks.run(work))
