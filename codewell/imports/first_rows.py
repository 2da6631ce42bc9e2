"""Shows the first rows of a file to somebody who is to say how it is read, also where detection is not certain."""

from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path
from typing import Final

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits
from codewell.files.scan import Scan
from codewell.files.sheets import first_sheet
from codewell.files.table import Table, open_table
from schemas.imports import DELIMITERS, FirstRows, ImportOptions

ROWS_MAX: Final = 20
# Cells shown of all rows together: a file may have a thousand columns.
_CELLS_MAX: Final = 4_000
_CELL_CHARS: Final = 200
_CODE_PAGE: Final = "windows-1252"


def first_rows(path: Path, scan: Scan, options: ImportOptions, limits: FileLimits) -> FirstRows:
    """The rows by these options, else with guesses for what is not certain. Raises FileRefused for no table."""
    refusal: FileRefused | None = None
    for tried in chain((options,), _guesses(path, scan, options, limits)):
        try:
            with open_table(path, scan, tried, limits) as table:
                return _shown(table)
        except FileRefused as error:
            refusal = refusal or error
    assert refusal is not None  # noqa: S101  for mypy
    raise refusal


def _guesses(path: Path, scan: Scan, options: ImportOptions, limits: FileLimits) -> Iterator[ImportOptions]:
    """Other options under which the file may be shown, the most likely ones first, without its columns."""
    is_text = scan.kind == "text"
    # What was chosen may not fit the file.
    encodings = dict.fromkeys((options.encoding, None, _CODE_PAGE)) if is_text else (options.encoding,)
    delimiters = dict.fromkeys((options.delimiter, None, *DELIMITERS, "none")) if is_text else (options.delimiter,)
    headers = dict.fromkeys((options.header, None, False))
    for sheet in _sheets(path, scan, options, limits):
        for encoding, delimiter, header in product(encodings, delimiters, headers):
            yield ImportOptions(
                column="1", encoding=encoding, delimiter=delimiter, header=header, sheet=sheet,
                header_row=None if header is False else options.header_row,
            )  # fmt: skip


def _sheets(path: Path, scan: Scan, options: ImportOptions, limits: FileLimits) -> Iterator[str | None]:
    if scan.kind == "text" or scan.is_beginning:
        yield options.sheet
        return
    if options.sheet is not None:
        yield options.sheet
    try:
        first = first_sheet(path, limits)
    except FileRefused:
        return
    yield first


def _shown(table: Table) -> FirstRows:
    columns, reading = table.columns, table.reading
    rows = table.first[columns.first : columns.first + max(1, min(ROWS_MAX, _CELLS_MAX // max(1, columns.width)))]
    return FirstRows(
        kind=reading.kind,
        encoding=reading.encoding,
        delimiter=reading.delimiter,
        sheet=reading.sheet,
        header_row=reading.header_row,
        width=columns.width,
        names=[name[:_CELL_CHARS] for name in columns.names],
        first_row=columns.first + 1,
        rows=[[str(cell)[:_CELL_CHARS] for cell in row[: columns.width]] for row in rows],
    )
