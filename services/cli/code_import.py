"""Commands for imports of code files: start one, and undo it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
from pydantic import ValidationError

from codewell.errors import CodewellError, FileRefused
from services.cli.code import pairs
from services.cli.output import first_mistake, json_option, print_facts, print_json, with_database

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("program")
@click.argument("file", type=_FILE)
@click.option(
    "--column", metavar="COLUMN", help="Column of the codes: its name, or its number from 1.  [default: detected]"
)
@click.option("--profile-column", metavar="COLUMN", help="Column of profile ids; their codes are attached at once.")
@click.option(
    "--expiry-column",
    metavar="COLUMN",
    help="Column of expiry times: 2027-01-31 (to the end of the day in UTC), or a time with its zone.",
)
@click.option(
    "--field-column", "fields", multiple=True, metavar="NAME=COLUMN", help="Column of a custom field; repeatable."
)
@click.option("--encoding", metavar="NAME", help="Text encoding, such as utf-8 or windows-1252.  [default: detected]")
@click.option("--delimiter", metavar="CHARACTER", help="Delimiter: , ; | or \\t (tab).  [default: detected]")
@click.option("--sheet", metavar="NAME", help="Sheet of a workbook.  [default: the first]")
@click.option(
    "--header/--no-header", default=None, help="Whether the first row names the columns.  [default: detected]"
)
@click.option("--bad-rows", type=_FILE, metavar="FILE", help="Write rejected rows to this CSV file.")
@json_option
def import_(program: str, file: Path, fields: tuple[str, ...], delimiter: str | None, bad_rows: Path | None,
            as_json: bool, **given: Any) -> None:  # fmt: skip
    """Import codes from a CSV, XLS or XLSX file into PROGRAM.

    The same command resumes an interrupted import. A file that cannot be read to its end leaves no codes behind.
    """
    from codewell.pool.minter_cache import Minters

    options = _options(
        **given,
        delimiter=delimiter.replace("\\t", "\t") if delimiter else None,
        field_columns=pairs(fields, "--field-column", "NAME=COLUMN"),
    )
    seen: list[Any] = []

    async def work(connection: Any, settings: Any) -> Any:
        with _progress() as progress:
            found = await _bring_in(connection, Minters(*settings.master_keys), program, file, options, seen, progress)
        if bad_rows is not None:
            await _write_bad_rows(connection, found.id, bad_rows)
        return found

    try:
        found = with_database(work)
    except KeyboardInterrupt as error:
        begun = f"Import {seen[0].id} was interrupted" if seen else "Interrupted before the import began"
        raise CodewellError(
            f"{begun}: run the same command to resume it, or codewell code undo-import to take it back."
        ) from error
    _print(found, as_json)


@click.command("undo-import")
@click.argument("import_id", metavar="ID", type=click.UUID)
@json_option
def undo_import(import_id: UUID, as_json: bool) -> None:
    """Delete the unused codes of import ID.

    Stops the import if it is running.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.imports.undo import undo

    async def work(connection: Any, _: Any) -> Any:
        return await undo(connection, import_id, command_actor())

    _print(with_database(work), as_json)


async def _bring_in(
    connection: Any,
    minters: Any,
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
    from codewell.infra.uuid7 import uuid7
    from codewell.programs import programs

    limits = read_settings(ImportSettings).import_limits
    found = await programs.get(connection, program)
    imports.check_program(found, options)
    scanned = await asyncio.to_thread(scan, file, limits)
    with open_table(file, scanned, options, limits):
        pass
    async with connection.transaction():
        begun = await imports.start_import(connection, uuid7(), found, file.name, scanned, options, uploaded=False)
        who, size = audit_log.command_actor(), scanned.size
        await audit_log.record(connection, who, "import.begin", program, id=str(begun.id), file_bytes=size)
    seen.append(begun)
    return await run.import_file(connection, minters, begun.id, file, scanned, limits, progress)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A progress line for a person: rows read and rows per second."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None, pace="")

        def progress(rows: int) -> None:
            speed = shown.tasks[0].speed
            shown.update(task, completed=rows, pace=f"{speed:,.0f} a second" if speed else "")

        yield progress


async def _write_bad_rows(connection: Any, import_id: UUID, file: Path) -> None:
    from codewell.imports import imports

    try:
        with file.open("w", encoding="utf-8", newline="") as out:
            async for lines in imports.bad_rows_csv(connection, import_id):
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


def _print(found: Any, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    facts = {name: getattr(found, name) for name in ("id", "state", "rows", "imported", "attached", "taken_back")}
    facts["id"] = str(found.id)
    print_facts(
        facts
        | {"bad rows": sum(found.bad.values())}
        | {f"  {reason.replace('_', ' ')}": count for reason, count in found.bad.items()}
    )
