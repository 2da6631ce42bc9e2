"""Starts and reads imports and their bad rows, and checks that a program accepts one."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final
from uuid import UUID

import asyncpg

from codewell.errors import FileRefused, ImportUnknown, ProgramRefused, ProgramUnknown
from codewell.files import csv_writer
from codewell.files.scan import Scan
from codewell.imports.candidates import BadRow
from codewell.infra.postgres.connection import Connection
from codewell.pool import fill
from codewell.pool.program_rules import Source, closed_reason, refusal_fact
from schemas.imports import Import, ImportOptions, Reading
from schemas.program import Program

# Maximum number of bad rows in one read.
BAD_ROWS_MAX: Final = 5_000
_NAME_MAX: Final = 200

# The same file with the same options continues where it stopped.
_BEGIN: Final = """
    INSERT INTO import AS i (id, program_id, file_name, file_bytes, file_sha256, options, uploaded, reading)
    VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8::jsonb)
    ON CONFLICT (program_id, file_sha256, options) WHERE state IN ('running', 'stopped')
    DO UPDATE SET state = 'running', error = NULL, uploaded = i.uploaded OR excluded.uploaded
    RETURNING i.id
    """

_SELECT: Final = """
    SELECT i.id, p.name AS program, i.state, i.file_name AS file, i.file_bytes, i.options, i.reading,
           greatest(i.rows_read - coalesce((i.reading->>'skipped_rows')::bigint, 0), 0) AS rows,
           i.imported, i.attached, i.taken_back, i.bad, i.case_variants, i.error, i.share_read, i.started_at, i.ended_at
    FROM import i JOIN program p ON p.id = i.program_id
    """
_FIND: Final = f"{_SELECT} WHERE i.id = $1 AND ($2::text[] = '{{}}' OR p.groups && $2)"
_LIST: Final = f"{_SELECT} WHERE p.name = $1 AND ($2::uuid IS NULL OR i.id < $2) ORDER BY i.id DESC LIMIT $3"

_BAD_ROWS: Final = """
    SELECT row_number, text, reason, detail FROM import_bad_row WHERE import_id = $1 AND row_number > $2
    ORDER BY row_number LIMIT $3
    """


def check_program(program: Program, options: ImportOptions) -> None:
    """Raise ProgramRefused if the program can't accept a file with these columns, whatever its content."""
    if program.auto_link and options.profile_column is None:
        raise ProgramRefused(
            f"{program.name} links codes automatically: give the column of the profile ids.", reason="profiles_required"
        )
    if program.shared and options.profile_column is not None:
        raise ProgramRefused(
            f"All profiles of {program.name} share one code: leave the profile column out.", reason="code_shared"
        )
    known = {field.name: field for field in program.fields}
    for name in options.field_columns:
        if name not in known:
            raise ProgramRefused(
                f"{program.name} has no field {name}: its fields are {', '.join(known) or 'none'}.",
                reason="field_unknown",
            )
    for field in program.fields:
        if field.required and field.name not in options.field_columns:
            raise ProgramRefused(
                f"{program.name} requires the field {field.name}: give its column.", reason="field_required"
            )


async def start_import(
    connection: Connection,
    new_id: UUID,
    program: Program,
    file_name: str,
    scan: Scan,
    options: ImportOptions,
    reading: Reading,
    *,
    uploaded: bool,
) -> Import:
    """Create an import with this id, or return the unfinished one of the same file and options.

    Raises ProgramRefused while the program may not import codes, and FileRefused if its column names are too long.
    """
    # A large file is stored in the same transaction, so it must not lock rows that deciding requests needs.
    rules = await fill.rules(connection, program.id)
    now = await connection.fetchval("SELECT statement_timestamp()")
    if rules is None:
        raise ProgramUnknown(program.name)
    reason = closed_reason(rules, now)
    if reason is not None:
        raise ProgramRefused(
            f"{refusal_fact(program.name, reason, Source.PERSON)} Change that before importing codes.",
            reason=reason,
        )
    name = "".join(character for character in file_name if character.isprintable())[-_NAME_MAX:]
    written = json.dumps(options.model_dump(), sort_keys=True)
    try:
        begun = await connection.fetchval(
            _BEGIN, new_id, program.id, name, scan.size, scan.sha256, written, uploaded, _storable(reading)
        )
    except asyncpg.ProgramLimitExceededError as error:
        raise FileRefused("The names of these columns are too long: give the columns by number.") from error
    return await get(connection, begun)


async def get(connection: Connection, import_id: UUID, groups: Sequence[str] = ()) -> Import:
    """The current state of the import. Raises ImportUnknown; with `groups`, also if its program has none of them."""
    row = await connection.fetchrow(_FIND, import_id, list(groups))
    if row is None:
        raise ImportUnknown(import_id)
    return _import(row)


async def page(connection: Connection, program: str, before: UUID | None, count: int) -> list[Import]:
    """The program's imports, newest first; with `before`, those older than it."""
    return [_import(row) for row in await connection.fetch(_LIST, program, before, count)]


async def bad_rows(connection: Connection, import_id: UUID, after: int) -> list[BadRow]:
    """The bad rows after row `after`, at most BAD_ROWS_MAX."""
    return [BadRow(*row) for row in await connection.fetch(_BAD_ROWS, import_id, after, BAD_ROWS_MAX)]


async def bad_rows_csv(
    connections: Callable[[], AbstractAsyncContextManager[Connection]], import_id: UUID
) -> AsyncIterator[str]:
    """Yield the bad rows as CSV, some thousand lines at a time, with protection from formula injection.

    `connections` opens the connection for each piece. It is closed before the piece is yielded, so that a slow reader
    holds none.
    """
    yield csv_writer.csv_line(("row", "code", "reason", "detail"))
    after = 0
    while True:
        async with connections() as connection:
            rows = await bad_rows(connection, import_id, after)
        if not rows:
            return
        yield "".join(
            [csv_writer.csv_line((str(one.row), one.text, one.reason.replace("_", " "), one.detail)) for one in rows]
        )
        after = rows[-1].row


def _import(row: Mapping[str, object] | asyncpg.Record) -> Import:
    given = {name: row[name] for name in Import.model_fields}
    parsed = {name: json.loads(str(row[name])) for name in ("options", "bad")}
    reading = None if row["reading"] is None else json.loads(str(row["reading"]))
    return Import.model_validate({**given, **parsed, "reading": reading})


def _storable(reading: Reading) -> str:
    """The reading as JSON text, without what the database can't store."""
    return reading.model_dump_json().replace("\\u0000", "\\ufffd")
