"""Commands for imports of code files: start one, and undo it."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
from pydantic import ValidationError

from codewell.errors import CodewellError, FileRefused
from codewell.plurals import counted
from codewell.validation import first_mistake
from schemas.moments import ZONE
from services.cli.code import pairs
from services.cli.import_output import print_import, print_preview
from services.cli.moments import time_zone_option
from services.cli.output import json_option, print_json, print_table, say, with_database
from services.cli.pool_demands import demand_if_low

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
# The rows and candidates of two chunks form no reference cycles: at the default threshold, garbage collection took two
# fifths of the time of reading.
_GC_OBJECTS: Final = 100_000


@click.command("import")
@click.argument("program")
@click.argument("file", type=_FILE)
@click.option(
    "--column", metavar="COLUMN", help="Column of the codes: its name, or its number from 1.  [default: if certain]"
)
@click.option("--profile-column", metavar="COLUMN", help="Column of profile ids; their codes are attached at once.")
@click.option(
    "--expiry-column", metavar="COLUMN", help="Column of expiries: 2027-01-31 (its end), or a time with its zone."
)
@time_zone_option
@click.option(
    "--field-column", "fields", multiple=True, metavar="NAME=COLUMN", help="Column of a custom field; repeatable."
)
@click.option("--encoding", metavar="NAME", help="Text encoding, such as utf-8 or windows-1252.  [default: if certain]")
@click.option(
    "--delimiter", metavar="NAME", help="comma, semicolon, tab, bar, or none for whole lines.  [default: if certain]"
)
@click.option("--sheet", metavar="NAME", help="Sheet of a workbook.  [default: the only visible one]")
@click.option(
    "--header/--no-header", default=None, help="Whether the first row names the columns.  [default: if certain]"
)
@click.option("--header-row", type=click.IntRange(1, 100), metavar="N", help="Row that names the columns, from 1.")
@click.option(
    "--plain-numbers", is_flag=True, help="Take whole numbers of a workbook as digits; zeros in front may be lost."
)
@click.option("--preview", "only_preview", is_flag=True, help="Show what would become codes, and change nothing.")
@click.option("--bad-rows", type=_FILE, metavar="FILE", help="Write rejected rows to this CSV file.")
@json_option
def import_(program: str, file: Path, fields: tuple[str, ...], only_preview: bool, bad_rows: Path | None,
            as_json: bool, **given: Any) -> None:  # fmt: skip
    """Import codes from a CSV, XLS or XLSX file into PROGRAM.

    What the file does not tell for certain is refused: an option decides. The same command resumes an interrupted
    import. A file that cannot be read to its end leaves no codes behind.
    """
    zone = str(ZONE.get()) if given["expiry_column"] else None
    options = _options(**given, time_zone=zone, field_columns=pairs(fields, "--field-column", "NAME=COLUMN"))
    if only_preview:
        print_preview(with_database(lambda connection, _: _preview(connection, program, file, options)), as_json)
        return
    seen: list[Any] = []
    gc.set_threshold(_GC_OBJECTS)

    async def work(connection: Any, settings: Any) -> Any:
        try:
            with _progress() as progress:
                found = await _bring_in(connection, settings, program, file, options, seen, progress)
        finally:
            if bad_rows is not None and seen:
                await _write_bad_rows(connection, seen[0].id, bad_rows)
        return found

    try:
        found = with_database(work)
    except KeyboardInterrupt as error:
        begun = f"Import {seen[0].id} was interrupted" if seen else "Interrupted before the import began"
        raise CodewellError(
            f"{begun}: run the same command to resume it, or codewell code undo-import to take it back."
        ) from error
    print_import(found, as_json)


@click.command("list-imports")
@click.argument("program")
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Maximum number of imports."
)
@json_option
def list_imports(program: str, limit: int, as_json: bool) -> None:
    """List the imports of PROGRAM, newest first."""
    from codewell.imports import imports
    from codewell.programs import programs

    async def work(connection: Any, _: Any) -> Any:
        await programs.get(connection, program)
        return await imports.page(connection, program, None, limit)

    found = with_database(work)
    if as_json:
        for one in found:
            print_json(one)
        return
    rows = [
        {
            "id": str(one.id), "began": one.started_at, "file": one.file, "state": one.state, "rows": one.rows,
            "imported": one.imported, "taken back": one.taken_back, "bad rows": sum(one.bad.values()),
        }
        for one in found
    ]  # fmt: skip
    print_table(rows, f"{program} has no imports.")


@click.command("undo-import")
@click.argument("import_id", metavar="ID", type=click.UUID)
@json_option
def undo_import(import_id: UUID, as_json: bool) -> None:
    """Delete the unused codes of import ID.

    Stops the import if it is running.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.imports.undo import undo
    from codewell.programs import programs

    async def work(connection: Any, settings: Any) -> Any:
        undone = await undo(connection, import_id, command_actor())
        await demand_if_low(connection, settings, (await programs.get(connection, undone.program)).id)
        return undone

    undone = with_database(work)
    print_import(undone, as_json)
    if not as_json:
        kept = undone.imported - undone.taken_back
        stays = "is attached or used and stays" if kept == 1 else "are attached or used and stay"
        rest = f"; {kept:,} {stays}" if kept else ""
        say(f"{undone.taken_back:,} of {counted(undone.imported, 'code')} deleted{rest}.")


async def _bring_in(
    connection: Any,
    settings: Any,
    program: str,
    file: Path,
    options: Any,
    seen: list[Any],
    progress: Callable[[int], None],
) -> Any:
    from codewell.audit import audit_log
    from codewell.files.scan import scan
    from codewell.files.table import open_table
    from codewell.imports import imports, run
    from codewell.imports.settings import ImportSettings
    from codewell.infra.config.settings import read_settings
    from codewell.infra.postgres import connection as postgres
    from codewell.infra.uuid7 import uuid7
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    def connect() -> AbstractAsyncContextManager[Any]:
        return postgres.connection(settings.postgres_url.get_secret_value(), "codewell-cli")

    limits = read_settings(ImportSettings).import_limits
    found = await programs.get(connection, program)
    imports.check_program(found, options)
    scanned = await asyncio.to_thread(scan, file, limits)
    with open_table(file, scanned, options, limits) as table:
        async with connection.transaction():
            begun = await imports.start_import(
                connection, uuid7(), found, file.name, scanned, options, table.reading, uploaded=False
            )
            who, size = audit_log.command_actor(), scanned.size
            await audit_log.record(connection, who, "import.begin", program, id=str(begun.id), file_bytes=size)
        seen.append(begun)
        minters = Minters(*settings.master_keys)
        return await run.import_file(connection, minters, begun.id, file, scanned, limits, progress, table, connect)


async def _preview(connection: Any, program: str, file: Path, options: Any) -> Any:
    from codewell.files.scan import scan
    from codewell.imports import imports
    from codewell.imports.preview import preview, rules_of
    from codewell.imports.settings import ImportSettings
    from codewell.infra.config.settings import read_settings
    from codewell.programs import programs

    limits = read_settings(ImportSettings).import_limits
    found = await programs.get(connection, program)
    imports.check_program(found, options)
    scanned = await asyncio.to_thread(scan, file, limits)
    return preview(file, scanned, options, rules_of(found, datetime.now(UTC)), limits)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A progress line for a person: rows read and rows per second."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # The import takes a twentieth of a second.
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None, pace="")

        def progress(rows: int) -> None:
            speed = shown.tasks[0].speed
            shown.update(task, completed=rows, pace=f"{speed:,.0f} a second" if speed else "")

        yield progress


async def _write_bad_rows(connection: Any, import_id: UUID, file: Path) -> None:
    from codewell.imports import imports

    try:
        with file.open("w", encoding="utf-8", newline="") as out:
            async for lines in imports.bad_rows_csv(lambda: nullcontext(connection), import_id):
                out.write(lines)
    except OSError as error:
        raise FileRefused(
            f"Cannot write {file} ({error.strerror}). The import is complete: run the same command to write the file."
        ) from error


def _options(**given: Any) -> Any:
    from schemas.imports import ImportOptions

    try:
        return ImportOptions(**given)
    except ValidationError as error:
        raise FileRefused(f"{first_mistake(error, 'options')}. Nothing was imported.") from error
