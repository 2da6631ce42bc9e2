"""Formats output: tables for people, JSON for programs."""

import asyncio
import errno
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import click
from pydantic_core import to_json

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or one per line.")

T = TypeVar("T")

DISK_ERRORS: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
"""Of a write: the disk of the output is full or broken."""
_OUTPUT_ERRORS: Final = DISK_ERRORS | {errno.EPIPE}
_PROGRESS_INTERVAL_S: Final = 5.0
_SHOWN: Final = 2


@contextmanager
def database_errors(url: str, after: str = "the last step was rolled back, try again") -> Iterator[None]:
    """Raise what asyncpg raises in the block as an error in a sentence; `after` says how things are then.

    Raises StackUnavailable, and SettingsInvalid where the user of the database lacks a right.
    """
    from asyncpg import DataError, InsufficientPrivilegeError, PostgresError

    from codewell.errors import CodewellError, SettingsInvalid, StackUnavailable
    from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, address_of

    try:
        yield
    except InsufficientPrivilegeError as error:
        raise SettingsInvalid(
            f"The user of CODEWELL_POSTGRES_URL lacks a right ({error}): run commands as the owner of the schema."
        ) from error
    except (*UNAVAILABLE_ERRORS, PostgresError) as error:
        if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
            # The work prints what it finds as it goes.
            raise
        if type(error) is DataError:
            # asyncpg's own, before it asks the server: a number is too large, or a text is not UTF-8.
            raise CodewellError(
                f"An argument or option has a value that Postgres cannot store ({error}): correct it."
            ) from error
        why = error.args[0] if error.args else type(error).__name__
        raise StackUnavailable(f"Postgres at {address_of(url)} failed ({why}): {after}.") from error


def with_database(work: Callable[[Any, Any], Awaitable[T]]) -> T:
    """Run a command's work with its settings and a connection to the database.

    Raises StackUnavailable without the database, and SettingsInvalid where its user lacks a right.
    """
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.infra.postgres.connection import connection
    from codewell.infra.postgres.migrations import check_schema

    async def connected() -> T:
        settings = read_settings(StackSettings)
        url = settings.postgres_url.get_secret_value()
        async with connection(url, "codewell-cli") as opened:
            with database_errors(url):
                await check_schema(opened)
                return await work(opened, settings)

    return asyncio.run(connected())


def masked(text: str) -> str:
    """A masked code or profile id, for output in which it was not asked for by name."""
    return f"{text[:_SHOWN]}***" if len(text) > 2 * _SHOWN else "***"


def with_masked(text: str, secrets: Iterable[str]) -> str:
    """The text with these values masked, each where it is not part of a longer word."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", lambda found: masked(found[0]), text)
    return text


def printable(text: str) -> str:
    """The text on one line, without control characters that a terminal would interpret."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, which may have several lines. What it quotes may come from anywhere, so a terminal gets none of its
    control characters.
    """
    click.echo("\n".join(map(printable, text.split("\n"))), err=err, nl=nl)


class Progress:
    """Prints the progress of a long run on standard error, at intervals."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._reported_at = time.monotonic()

    def report(self, count: int) -> None:
        """Print the count so far, if the interval since the last print has passed."""
        if time.monotonic() - self._reported_at > _PROGRESS_INTERVAL_S:
            self._reported_at = time.monotonic()
            click.echo(f"{count:,} {self._what} ...", err=True)


def print_json(value: object) -> None:
    """One JSON object on one line."""
    text = to_json(value, fallback=str).decode()
    # Only texts hold any, in which JSON allows this form.
    safe = text if text.isprintable() else "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
    click.echo(safe)


def print_table(rows: Sequence[Mapping[str, object]], none: str) -> None:
    """A table whose header is the rows' keys, or a sentence when there are no rows."""
    if not rows:
        say(none)
        return
    cells = [[_cell(value) for value in row.values()] for row in rows]
    _print_columns([[*map(printable, rows[0])], *cells])


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    shown = {printable(name): value for name, value in facts.items()}
    width = max(map(len, shown))
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {_cell(value)}")


def _print_columns(lines: Iterable[Sequence[str]]) -> None:
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case str():
            return printable(value)
        case _:
            return printable(json.dumps(value, default=str, ensure_ascii=False))
