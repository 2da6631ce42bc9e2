"""Shows the first rows of a file to somebody who is to say how it is read, also where detection is not certain."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits
from codewell.files.scan import Scan
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
    for tried in (options, *_guesses(scan, options)):
        try:
            with open_table(path, scan, tried, limits) as table:
                return _shown(table)
        except FileRefused as error:
            refusal = refusal or error
    assert refusal is not None  # noqa: S101  for mypy
    raise refusal


def _guesses(scan: Scan, options: ImportOptions) -> Iterator[ImportOptions]:
    """Other options under which the file may be shown, the most likely ones first, without its columns."""
    is_text = scan.kind == "text"
    encodings = (None, _CODE_PAGE) if is_text and options.encoding is None else (options.encoding,)
    delimiters = (None, *DELIMITERS, "none") if is_text and options.delimiter is None else (options.delimiter,)
    headers = (None, False) if options.header is None else (options.header,)
    for encoding, delimiter, header in product(encodings, delimiters, headers):
        yield ImportOptions(
            column="1", encoding=encoding, delimiter=delimiter, header=header, sheet=options.sheet,
            header_row=None if header is False else options.header_row,
        )  # fmt: skip


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
