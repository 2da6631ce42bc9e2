"""Opens a text file or a workbook as rows of cells, with its columns."""

import csv
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from codewell.errors import FileRefused, FileUncertain
from codewell.files import beginning
from codewell.files.columns import Columns, find_columns
from codewell.files.dialect import FoundDialect, detect_dialect
from codewell.files.encoding import FoundEncoding, detect_encoding
from codewell.files.limits import FileLimits
from codewell.files.lines import TextLines
from codewell.files.magic import refuse_other_text
from codewell.files.number_format import CellKind
from codewell.files.scan import Scan, refuse_change
from codewell.files.sheets import check_workbook, sheet_lines
from codewell.files.text_rows import AreUsual, TextRows
from schemas.imports import ImportOptions, ReadColumn, Reading
from schemas.moments import ZONE

# Rows that detection examines.
_FIRST_ROWS: Final = 100
# Enough for any list of codes; the sample is held in memory, and parsed once for each delimiter.
_FIRST_CHARS: Final = 500_000
# Without the search for white space around a value, which takes two fifths of the time of a short one.
_DECODE: Final = json.JSONDecoder().raw_decode


class SheetCell(str):
    """A cell of a workbook that is not a text: its displayed form, as far as it is known."""

    __slots__ = ("kind",)
    kind: CellKind


class _SheetRows:
    """Rows of a workbook's sheet, from the lines of its child process."""

    def __init__(self, lines: Iterator[str], limits: FileLimits) -> None:
        self.chars = 0
        self._lines = lines
        self._limits = limits

    def __iter__(self) -> Iterator[list[str]]:
        """Yield each row once. Raises FileRefused."""
        cell_chars_max = self._limits.cell_chars_max
        for count, line in enumerate(self._lines, 1):
            self.chars += len(line)
            row, _ = _DECODE(line)
            # Only a line with a second bracket may have a cell that is a list, and only a long one a long cell.
            if line.find("[", 1) > 0:
                row = [cell if type(cell) is str else _sheet_cell(*cell) for cell in row]
            if len(line) > cell_chars_max and any(len(cell) > cell_chars_max for cell in row):
                raise FileRefused(f"Row {count:,} has a cell of more than {cell_chars_max:,} characters: shorten it.")
            yield row

    def whole(self, count: int, are_usual: AreUsual) -> list[str]:  # noqa: ARG002  as TextRows
        """No rows: their cells are found only line by line."""
        return []


def _sheet_cell(kind: CellKind, text: str) -> SheetCell:
    cell = SheetCell(text)
    cell.kind = kind
    return cell


class Table(NamedTuple):
    """An open file."""

    columns: Columns
    reading: Reading
    first: Sequence[list[str]]
    """The rows that detection examined."""
    rows: Iterator[list[str]]
    """All rows, from the file's first one on. Raises FileRefused, also if the file was changed meanwhile."""
    chars: Callable[[], int]
    """The number of characters of the file that were read for the rows so far."""
    has_certain_encoding: bool
    whole: Callable[[int, AreUsual], list[str]]
    """The next of the rows, at most so many, each as its only cell, if they are usual; else none is taken, and `rows`
    has them. To be called only behind those that detection examined. Raises FileRefused."""
    share: Callable[[int], float]
    """How much of the file is read with this number of rows, of 1. Of a text it is estimated by characters."""


class _Source(NamedTuple):
    """How the lines of a file are read."""

    rows: TextRows | _SheetRows
    encoding: FoundEncoding | None
    found: FoundDialect | None
    sheet: str | None
    hidden: list[str]
    row_count: int = 0
    """Of a sheet."""


@contextmanager
def open_table(path: Path, scan: Scan, options: ImportOptions, limits: FileLimits) -> Iterator[Table]:
    """Open a file as a table.

    Raises FileRefused if it is no table, lacks the requested columns, or does not tell for certain how to read it.
    """
    lines = _lines(path, scan, options, limits)
    try:
        source = _source(scan, lines, options, limits)
        rows = iter(source.rows)
        first: list[list[str]] = []
        # As many below the head that was given, which may be the last one of them.
        count = _FIRST_ROWS + (options.header_row or 0)
        while len(first) < count and source.rows.chars < _FIRST_CHARS and (row := next(rows, None)) is not None:
            first.append(row)
        begin = int(source.found is not None and source.found.has_sep_line)
        if not any(any(map(str.strip, row)) for row in first[begin:]):
            raise FileRefused("The file has no rows: choose a file with codes.")
        columns = find_columns(first, begin, options)
        if source.encoding is not None and not source.encoding.is_certain and source.found is not None:
            _refuse_unsure_cells(scan, source.encoding.name, source.found, columns)
        certain = source.encoding is None or source.encoding.is_certain
        reading = _reading(scan, source, columns, options)
        yield Table(
            columns, reading, first, chain(first, rows, _unchanged(path, scan)), lambda: source.rows.chars, certain,
            source.rows.whole, _share(scan, source),
        )  # fmt: skip
    finally:
        lines.close()


def _share(scan: Scan, source: _Source) -> Callable[[int], float]:
    if source.encoding is None:
        return lambda rows: min(1.0, rows / max(1, source.row_count))
    sample = len(scan.sample.decode(source.encoding.name, "ignore"))
    chars = scan.size * max(1, sample) / max(1, len(scan.sample))
    return lambda _: min(1.0, source.rows.chars / chars)


def _unchanged(path: Path, scan: Scan) -> Iterator[list[str]]:
    """No rows, and a look at the file once all others were read."""
    refuse_change(path, scan)
    yield from ()


def _source(scan: Scan, lines: Iterator[str], options: ImportOptions, limits: FileLimits) -> _Source:
    if scan.kind != "text":
        head = json.loads(next(lines, "{}"))
        return _Source(_SheetRows(lines, limits), None, None, head["sheet"], head["hidden"], head["rows"])
    sample = _read_sample(lines)
    refuse_other_text("".join(sample[:_FIRST_ROWS]))
    found = detect_dialect(sample, options.delimiter)
    encoding = detect_encoding(scan, options.encoding)
    return _Source(TextRows(sample, lines, found.dialect, limits), encoding, found, None, [])


def _read_sample(lines: Iterator[str]) -> list[str]:
    sample: list[str] = []
    chars = 0
    while len(sample) < _FIRST_ROWS and chars < _FIRST_CHARS and (line := next(lines, None)) is not None:
        sample.append(line)
        chars += len(line)
    return sample


def _lines(
    path: Path, scan: Scan, options: ImportOptions, limits: FileLimits
) -> TextLines | Generator[str, None, None]:
    if scan.kind == "text" and options.sheet is not None:
        raise FileRefused("The file is text and has no sheets: leave the sheet out.")
    if scan.kind != "text" and (options.delimiter is not None or options.encoding is not None):
        raise FileRefused("A workbook has no delimiter and no encoding: leave them out.")
    if scan.is_beginning:
        return beginning.lines_of(path, scan, options, limits)
    if scan.kind == "text":
        return TextLines(path, detect_encoding(scan, options.encoding).name, limits)
    if scan.kind == "xlsx":
        check_workbook(path, limits)
    return sheet_lines(path, options.sheet, limits)


def _refuse_unsure_cells(scan: Scan, encoding: str, found: FoundDialect, columns: Columns) -> None:
    """Refuse a guessed code page if a cell that is used depends on it."""
    lines = scan.non_utf8_lines.decode(encoding, "replace").splitlines(keepends=True)
    try:
        for row in csv.reader(lines, found.dialect):
            for place in used_places(columns):
                if len(row) > place and not row[place].isascii():
                    refuse_unsure(row[place], encoding)
    except csv.Error:
        # A row that was cut out of several lines; it is checked again when it is imported.
        return


def refuse_unsure(cell: str, encoding: str) -> None:
    """Refuse a cell whose text depends on a guessed code page."""
    try:
        raw = cell.encode(encoding)
    except UnicodeError:
        raw = b""
    read = ", ".join(f"{raw.decode(page, 'replace')[:40]!r} ({name})" for name, page in _CODE_PAGES)
    raise FileUncertain(
        "The file is not in UTF-8, and which letters it has is not certain: choose with the option encoding "
        f"(--encoding). A cell reads {read}."
    )


_CODE_PAGES: Final = (("windows-1252", "cp1252"), ("windows-1250", "cp1250"), ("windows-1251", "cp1251"))


def used_places(columns: Columns) -> list[int]:
    """The indexes of all columns whose cells are imported."""
    given = [columns.code, columns.profile, columns.expiry, *(place for _, place in columns.fields)]
    return [one for one in given if one is not None]


def _reading(scan: Scan, source: _Source, columns: Columns, options: ImportOptions) -> Reading:
    def column(place: int) -> ReadColumn:
        return ReadColumn(number=place + 1, name=columns.names[place][:1_000] if columns.names else None)

    def maybe(place: int | None) -> ReadColumn | None:
        return None if place is None else column(place)

    return Reading(
        kind=scan.kind,
        encoding=None if source.encoding is None else source.encoding.name,
        delimiter=None if source.found is None else source.found.delimiter,
        sheet=source.sheet,
        hidden_sheets=[one[:200] for one in source.hidden[:100]],
        header_row=None if columns.header is None else columns.header + 1,
        skipped_rows=columns.first,
        column=column(columns.code),
        profile_column=maybe(columns.profile),
        expiry_column=maybe(columns.expiry),
        field_columns={name: column(place) for name, place in columns.fields},
        time_zone=options.time_zone or str(ZONE.get()),
    )
