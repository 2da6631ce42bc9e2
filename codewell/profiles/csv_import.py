"""Imports profiles from a CSV file of any length, in batches."""

import csv
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import ProfileRefused
from codewell.infra.postgres.connection import Connection
from codewell.profiles import profiles
from schemas.events import PROFILE_FIELDS_MAX, ProfileFields

REFUSED_ROWS_MAX: Final = 20
_BATCH_SIZE: Final = 5_000
_ID_COLUMN: Final = "profile_id"
_FIELDS: Final = TypeAdapter[dict[str, str]](ProfileFields)


class RefusedRow(NamedTuple):
    """A skipped row: its line in the file, and the error."""

    line: int
    why: str


class ImportedProfiles(NamedTuple):
    """The result of an import."""

    written: int
    refused: int
    first: list[RefusedRow]
    """The first refused rows, at most REFUSED_SHOWN_MAX."""


async def import_profiles(
    connection: Connection, lines: Iterable[str], progress: Callable[[int], None], actor: Actor | None = None
) -> ImportedProfiles:
    """Write the profiles of a file's rows, as `profiles.put` does; of rows for one profile the last one applies.

    Records `actor`, if given, in the audit log, once for each batch. Calls `progress` with the number of rows done.
    Rows already written stay when a later one can't be read. Raises ProfileRefused if the file is not such a CSV.
    """
    written = refused = 0
    first: list[RefusedRow] = []
    batch: dict[str, dict[str, str]] = {}
    for found in _parse_rows(lines):
        if isinstance(found, RefusedRow):
            refused += 1
            if len(first) < REFUSED_ROWS_MAX:
                first.append(found)
            continue
        profile_id, fields = found
        batch[profile_id] = fields
        written += 1
        if len(batch) == _BATCH_SIZE:
            await _store_batch(connection, batch, actor)
            batch.clear()
            progress(written + refused)
    await _store_batch(connection, batch, actor)
    return ImportedProfiles(written, refused, first)


async def _store_batch(connection: Connection, batch: dict[str, dict[str, str]], actor: Actor | None) -> None:
    async with connection.transaction():
        await profiles.put(connection, batch)
        if actor is not None and batch:
            await audit_log.record(connection, actor, "profile.import", count=len(batch))


def _parse_rows(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, str]] | RefusedRow]:
    """Yield each row's profile id and fields, or its error. Skips empty lines."""
    reader = csv.reader(lines, strict=True)
    try:
        columns = _check_header(next(reader, []))
        for row in reader:
            if row:
                yield _parse_row(columns, row, reader.line_num)
    except csv.Error as error:
        raise ProfileRefused(
            f"Line {reader.line_num} is not valid CSV: correct its quotes. The lines before it were imported."
        ) from error
    except UnicodeDecodeError as error:
        raise ProfileRefused(
            f"After line {reader.line_num} the file is not UTF-8: save it as UTF-8 and import it again. The lines "
            "before "
            "may have been imported."
        ) from error


def _check_header(header: list[str]) -> list[str]:
    if header.count(_ID_COLUMN) != 1 or len(set(header)) != len(header):
        raise ProfileRefused(
            f"The first line is not a header: it must name each column once, and one of them {_ID_COLUMN}."
        )
    if len(header) > PROFILE_FIELDS_MAX + 1:
        raise ProfileRefused(
            f"The file has {len(header) - 1:,} fields: a profile may have {PROFILE_FIELDS_MAX}, so leave some out."
        )
    profiles.check_names(header)
    return header


def _parse_row(columns: list[str], row: list[str], line: int) -> tuple[str, dict[str, str]] | RefusedRow:
    if len(row) != len(columns):
        return RefusedRow(line, f"It has {len(row)} cells and the first line has {len(columns)}.")
    cells = dict(zip(columns, row, strict=True))
    profile_id = cells.pop(_ID_COLUMN)
    try:
        profiles.check_id(profile_id)
    except ProfileRefused as error:
        return RefusedRow(line, str(error))
    try:
        return profile_id, _FIELDS.validate_python({name: cell for name, cell in cells.items() if cell})
    except ValidationError as error:
        return RefusedRow(line, f"{error.errors()[0]['loc'][0]}: it has at most 2,000 characters, none of them NUL.")
