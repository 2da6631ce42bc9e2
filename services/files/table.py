"""A file as rows of cells, whatever kind it is of, with what was found out about it."""

import csv
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple

from schemas.imports import ImportOptions
from services.errors import FileRefused
from services.files.columns import Columns, columns_of
from services.files.dialect import Dialect, dialect_of
from services.files.encoding import encoding_of
from services.files.limits import Limits
from services.files.lines import text_lines
from services.files.scan import Scan
from services.files.sheets import check_workbook, sheet_lines

# What is looked at to find out about a file.
_FIRST_ROWS: Final = 100


class Table(NamedTuple):
    """A file that is open."""

    columns: Columns
    rows: Iterator[list[str]]
    """All of them, from the head on. Raises FileRefused."""


@contextmanager
def open_table(path: Path, scan: Scan, options: ImportOptions, limits: Limits) -> Iterator[Table]:
    """Open a file as a table. Raises FileRefused when it can't be one, or has no such columns."""
    lines = _lines(path, scan, options, limits)
    try:
        begin = list(islice(lines, _FIRST_ROWS))
        dialect = dialect_of(begin, options.delimiter) if scan.kind == "text" else Dialect
        rows = _rows(chain(begin, lines), dialect, limits)
        first = list(islice(rows, _FIRST_ROWS))
        if not any(map(any, first)):
            raise FileRefused("This file has no rows at its beginning: there is nothing to import.")
        yield Table(columns_of(first, options, limits), chain(first, rows))
    finally:
        lines.close()


def _lines(path: Path, scan: Scan, options: ImportOptions, limits: Limits) -> Generator[str, None, None]:
    if scan.kind == "text":
        if options.sheet is not None:
            raise FileRefused("This file is text and has no sheets: leave the sheet out.")
        return text_lines(path, encoding_of(scan, options.encoding), limits)
    if scan.kind == "xlsx":
        check_workbook(path, limits)
    return sheet_lines(path, options.sheet, limits)


def _rows(lines: Iterator[str], dialect: type[Dialect], limits: Limits) -> Iterator[list[str]]:
    # The limit is one for the whole process, and for all files the same.
    csv.field_size_limit(limits.cell_chars_max)
    reader = csv.reader(lines, dialect)
    count = 0
    try:
        for row in reader:
            count += 1
            yield row
    except csv.Error as error:
        if "field larger" not in str(error):
            raise FileRefused(f"Row {count + 1:,} can't be read ({error}).") from error
        raise FileRefused(
            f"Row {count + 1:,} has a cell of more than {limits.cell_chars_max:,} characters: is a quote not closed?"
        ) from error
