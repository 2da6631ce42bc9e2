"""Formats output: tables for people, JSON for programs."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import click
from pydantic import ValidationError
from pydantic_core import to_json

from schemas.events import SHORT_NAME_PATTERN

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or one per line.")

T = TypeVar("T")

_PROGRESS_INTERVAL_S: Final = 5.0
_SHOWN: Final = 2


def with_database(work: Callable[[Any, Any], Awaitable[T]]) -> T:
    """Run a command's work with its settings and a connection to the database."""
    from asyncpg import InsufficientPrivilegeError, PostgresError

    from codewell.errors import SettingsInvalid, StackUnavailable
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, address_of, connection
    from codewell.infra.postgres.migrations import check_schema

    async def connected() -> T:
        settings = read_settings(StackSettings)
        url = settings.postgres_url.get_secret_value()
        async with connection(url, "codewell-cli") as opened:
            try:
                await check_schema(opened)
                return await work(opened, settings)
            except InsufficientPrivilegeError as error:
                raise SettingsInvalid(
                    f"The user of CODEWELL_POSTGRES_URL lacks a right ({error}): run commands as the owner of the "
                    "schema."
                ) from error
            except (*UNAVAILABLE_ERRORS, PostgresError) as error:
                why = error.args[0] if error.args else type(error).__name__
                raise StackUnavailable(
                    f"Postgres at {address_of(url)} failed ({why}): the last step was rolled back, try again."
                ) from error

    return asyncio.run(connected())


def first_mistake(error: ValidationError, whole: str) -> str:
    """The first invalid field, and what it must be; `whole` names an error that is not of one field."""
    first = error.errors(include_url=False)[0]
    # The kind of a source follows `source` as if it were a field of it.
    path = [str(part) for place, part in enumerate(first["loc"]) if not (place == 1 and first["loc"][0] == "source")]
    where = ".".join(path) or whole
    message = first["msg"].removeprefix("Value error, ")
    if where == "name" or first.get("ctx", {}).get("pattern") == SHORT_NAME_PATTERN:
        message = "a short name has 1 to 64 letters, digits and _, without spaces"
    return f"{where}: {message}"


def masked(text: str) -> str:
    """A masked code or profile id, for output in which it was not asked for by name."""
    return f"{text[:_SHOWN]}***" if len(text) > 2 * _SHOWN else "***"


def printable(text: str) -> str:
    """The text on one line, without control characters that a terminal would interpret."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


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


def counted(count: int, noun: str) -> str:
    """A number with its noun, as `1 code` or `1,000 codes`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def print_json(value: object) -> None:
    """One JSON object on one line."""
    click.echo(to_json(value, fallback=str).decode())


def print_table(rows: Sequence[Mapping[str, object]], none: str) -> None:
    """A table whose header is the rows' keys, or a sentence when there are no rows."""
    if not rows:
        click.echo(none)
        return
    cells = [[_cell(value) for value in row.values()] for row in rows]
    _print_columns([list(rows[0]), *cells])


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
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
            return json.dumps(value, default=str, ensure_ascii=False)
