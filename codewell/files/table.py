"""Opens a text file or a workbook as rows of cells, with its detected columns."""

import csv
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from codewell.errors import FileRefused
from codewell.files.columns import Columns, detect_columns
from codewell.files.dialect import Dialect, detect_dialect
from codewell.files.encoding import detect_encoding
from codewell.files.limits import FileLimits
from codewell.files.lines import ROW_CHARS_MAX, text_lines
from codewell.files.scan import Scan
from codewell.files.sheets import check_workbook, sheet_lines
from schemas.imports import ImportOptions

# Rows that detection examines.
_FIRST_ROWS: Final = 100
# Enough for any list of codes; the sample is held in memory, and parsed once for each delimiter.
_FIRST_CHARS: Final = 500_000


class Rows:
    """Rows parsed from text lines, with a size limit for each; `chars` counts the characters read for them so far."""

    def __init__(self, lines: Iterator[str], dialect: type[Dialect], limits: FileLimits) -> None:
        self.chars = 0
        self._row_chars_end = ROW_CHARS_MAX
        self._lines = lines
        self._dialect = dialect
        self._limits = limits

    def __iter__(self) -> Iterator[list[str]]:
        """Yield each row once. Raises FileRefused."""
        # This limit is global to the process, and the same for all files.
        csv.field_size_limit(self._limits.cell_chars_max)
        count, columns_max = 0, self._limits.columns_max
        try:
            for row in csv.reader(self._limited_lines(), self._dialect):
                count += 1
                self._row_chars_end = self.chars + ROW_CHARS_MAX
                if len(row) > columns_max:
                    raise FileRefused(
                        f"Row {count:,} has {len(row):,} columns, more than {columns_max:,}: leave some out."
                    )
                yield row
        except csv.Error as error:
            if "field larger" not in str(error):
                raise FileRefused(f"Row {count + 1:,} cannot be read ({error}): correct it.") from error
            raise FileRefused(
                f"Row {count + 1:,} has a cell of more than {self._limits.cell_chars_max:,} characters: check for an "
                "unclosed quote."
            ) from error

    def _limited_lines(self) -> Iterator[str]:
        """A row with quoted cells may span many lines, so it has a limit of its own."""
        for line in self._lines:
            self.chars += len(line)
            if self.chars > self._row_chars_end:
                raise FileRefused(
                    f"A row of the file has more than {ROW_CHARS_MAX:,} characters: check for an unclosed quote."
                )
            yield line


class Table(NamedTuple):
    """An open file."""

    columns: Columns
    rows: Iterator[list[str]]
    """All rows, header included. Raises FileRefused."""
    chars: Callable[[], int]
    """The number of characters of the file that were read for the rows so far."""


@contextmanager
def open_table(path: Path, scan: Scan, options: ImportOptions, limits: FileLimits) -> Iterator[Table]:
    """Open a file as a table. Raises FileRefused if it is no table, or lacks the requested columns."""
    lines = _lines(path, scan, options, limits)
    try:
        sample = _read_sample(lines)
        dialect = detect_dialect(sample, options.delimiter) if scan.kind == "text" else Dialect
        found = Rows(chain(sample, lines), dialect, limits)
        rows = iter(found)
        first: list[list[str]] = []
        while len(first) < _FIRST_ROWS and found.chars < _FIRST_CHARS and (row := next(rows, None)) is not None:
            first.append(row)
        if not any(map(any, first)):
            raise FileRefused("The file has no rows: choose a file with codes.")
        yield Table(detect_columns(first, options), chain(first, rows), lambda: found.chars)
    finally:
        lines.close()


def _read_sample(lines: Iterator[str]) -> list[str]:
    sample: list[str] = []
    chars = 0
    while len(sample) < _FIRST_ROWS and chars < _FIRST_CHARS and (line := next(lines, None)) is not None:
        sample.append(line)
        chars += len(line)
    return sample


def _lines(path: Path, scan: Scan, options: ImportOptions, limits: FileLimits) -> Generator[str, None, None]:
    if scan.kind == "text":
        if options.sheet is not None:
            raise FileRefused("The file is text and has no sheets: leave the sheet out.")
        return text_lines(path, detect_encoding(scan, options.encoding), limits)
    if scan.kind == "xlsx":
        check_workbook(path, limits)
    return sheet_lines(path, options.sheet, limits)
