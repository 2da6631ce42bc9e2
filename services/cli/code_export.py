"""The command that exports a program's codes as a file."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, get_args

import click

from codewell.errors import CodewellError
from codewell.plurals import counted
from schemas.program import State
from services.cli.output import json_option, print_json, printable, say, with_database

_PROGRESS_INTERVAL_S: Final = 0.2


@click.command()
@click.argument("program")
@click.option("--state", type=click.Choice(get_args(State)), help="Only codes in this state.")
@click.option(
    "--field", "fields", multiple=True, metavar="NAME", help="Add a column with this profile field; repeatable."
)
@click.option("--excel", is_flag=True, help="Begin with a byte order mark, so that Excel reads UTF-8.")
@click.option("--raw", is_flag=True, help="Do not escape cells that a spreadsheet would run as formulas.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: standard output]"
)
@json_option
def export(
    program: str, state: Any, fields: tuple[str, ...], excel: bool, raw: bool, output: Path | None, as_json: bool
) -> None:
    """Export the codes of PROGRAM as CSV.

    Each row holds a code's state and dates, the program's saved custom fields, and a column per --field of the code's
    profile; codewell profile fields lists them. --json prints the number of codes, and needs --output.
    """
    from codewell.codes.export import ExportOptions
    from codewell.profiles.profiles import check_names

    if as_json and output is None:
        raise click.UsageError("--json needs --output: the codes themselves are CSV.")
    wanted = ExportOptions(state, check_names(fields), raw, excel)
    try:
        with _opened(output) as file:
            count = with_database(lambda connection, settings: _export(connection, settings, program, wanted, file))
    except _ReaderGone:
        # Output that Python still writes at exit is discarded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    if as_json:
        print_json({"program": program, "codes": count, "output": str(output)})
    elif output is not None:
        say(f"Exported {counted(count, 'code')} to {output}.")


async def _export(connection: Any, settings: Any, program: str, wanted: Any, file: IO[bytes]) -> int:
    from codewell.audit import audit_log
    from codewell.codes.export import export, of_one_moment
    from codewell.pool.minter_cache import Minters
    from codewell.profiles import profiles
    from codewell.programs import programs

    found = await programs.get(connection, program)
    await profiles.check_known(connection, wanted.profile_fields)
    # Recorded first: data that was written can't be recalled.
    who, fields = audit_log.command_actor(), list(wanted.profile_fields)
    await audit_log.record(connection, who, "code.export", program, state=wanted.state, fields=fields)
    shows = file is not sys.stdout.buffer and sys.stderr.isatty()
    on_terminal = file is sys.stdout.buffer and sys.stdout.isatty()
    lines, shown_at = 0, time.monotonic()

    async def write(some: bytes) -> None:
        nonlocal lines, shown_at
        with _file_errors():
            file.write(_for_terminal(some) if on_terminal else some)
        lines += some.count(b"\n") if shows else 0
        if shows and time.monotonic() - shown_at > _PROGRESS_INTERVAL_S:
            shown_at = time.monotonic()
            click.echo(f"\r{lines:,} lines", err=True, nl=False)

    try:
        async with of_one_moment(connection) as connections:
            return await export(connections, Minters(*settings.master_keys), found, wanted, write)
    finally:
        if shows:
            click.echo("\r\033[K", err=True, nl=False)


def _for_terminal(lines: bytes) -> bytes:
    """The lines without control characters that a terminal would interpret."""
    return "\r\n".join(map(printable, lines.decode(errors="replace").split("\r\n"))).encode()


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    """The output stream. A file is renamed into place when complete, so that a partial export never looks whole."""
    if output is None:
        yield sys.stdout.buffer
        with _file_errors():
            sys.stdout.buffer.flush()
        return
    if output.exists() and not output.is_file():
        with _file_errors(), output.open("wb") as device:
            yield device
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with _file_errors(), part.open("wb") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


class _ReaderGone(Exception):
    """The reader of standard output closed the pipe, as `head` does."""


@contextmanager
def _file_errors() -> Iterator[None]:
    """File errors are reported as such, not as database errors."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGone from error
    except OSError as error:
        raise CodewellError(
            f"Cannot write the export ({error.strerror or error}): free disk space, or choose another file."
        ) from error
