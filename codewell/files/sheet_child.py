"""Writes a workbook's sheet as lines of JSON to standard output, in a child process with limits on memory and time.

The library reads a whole sheet and can be made to use any amount of memory; here only the child dies. For an unreadable
workbook it writes one sentence to standard error and exits with status 3, or with 4 if
the person has to decide.

The first line is an object with the sheet's name and the hidden sheets that were passed over. Each further line is a
row: a text cell is a string, any other cell a list of its kind and its displayed form (`codewell.files.number_format`).
"""

import json
import resource
import sys
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import count
from json.encoder import encode_basestring
from pathlib import Path
from typing import IO, Any, Final

from codewell.files import sheet_xml, xls_records
from codewell.files.number_format import ShownCell, shown_number
from codewell.files.sheet_xml import SheetRefused, SheetSize
from codewell.files.xls_records import XlsNotes, XlsUnreadable

MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
CPU_S_MAX: Final = 60
EXIT_REFUSED: Final = 3
EXIT_UNCERTAIN: Final = 4
# Rows without a cell between others; a far cell would otherwise become a million empty rows.
BLANK_ROWS_MAX: Final = 1_000
_SHEETS_LISTED_MAX: Final = 20
_SHEETS_LOOKED_AT_MAX: Final = 50


class _SheetUncertain(SheetRefused):
    """The person has to decide."""


def main(path: str, sheet: str, columns_max: str, takes_first: str = "") -> None:
    """Write the sheet of this name, or the only visible sheet with cells for an empty name.

    With `takes_first` it is the first one where that is not certain.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    try:
        archive = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else None
        with CalamineWorkbook.from_path(path) as book:
            _write(book, _Package(path, archive, book), sheet, int(columns_max), takes_first=bool(takes_first))
        sys.stdout.flush()
    except _SheetUncertain as error:
        _refuse(str(error), EXIT_UNCERTAIN)
    except SheetRefused as error:
        _refuse(str(error))
    except PasswordError:
        _refuse("The workbook is protected by a password: save it without one.")
    except XlsUnreadable:
        _refuse(
            "It cannot be told which rows of the workbook are hidden: save it as XLSX, so that it is certain which "
            "codes are meant.",
            EXIT_UNCERTAIN,
        )
    except (CalamineError, zipfile.BadZipFile, sheet_xml.XML_ERRORS, EOFError):
        _refuse("The workbook cannot be read: save it again, or as CSV.")


def _write(book: Any, package: "_Package", wanted: str, columns_max: int, *, takes_first: bool) -> None:
    hidden = [one.name for one in book.sheets_metadata if not _is_visible(one)]
    name, has_noted = _chosen(book, package, wanted, columns_max, takes_first=takes_first)
    found = book.get_sheet_by_name(name)
    if found.start and found.start[1] + found.width > columns_max:
        raise SheetRefused(f"The sheet has {found.start[1] + found.width:,} columns, more than {columns_max:,}.")
    _print({"sheet": name, "hidden": [one for one in hidden if one != name], "rows": found.total_height})
    # The library omits leading empty columns, but not leading empty rows.
    first = found.start[1] if found.start else 0
    noted = _NotedRows(package.noted_cells(name)) if has_noted else None
    rows = found.iter_rows()
    blank = 0
    for place in count():
        row = next(rows, None)
        # The library ends a sheet before cells without a value.
        if row is None and (noted is None or noted.are_over):
            break
        shown = {} if noted is None else noted.of_row(place)
        cells = [""] * first + [
            cell if type(cell) is str else _cell(cell, shown.get(first + at)) for at, cell in enumerate(row or ())
        ]
        for at, one in shown.items():
            if one.kind in {"error", "formula"}:
                cells += [""] * (at + 1 - len(cells))
                cells[at] = one
        while cells and cells[-1] == "":
            cells.pop()
        if not cells:
            blank += 1
            continue
        if blank > BLANK_ROWS_MAX:
            raise SheetRefused(
                f"Rows {place - blank + 1:,} to {place:,} of the sheet are empty, and cells follow: delete them."
            )
        for _ in range(blank):
            _print([])
        blank = 0
        # As `_print`, in a quarter of the time for texts.
        texts = [
            encode_basestring(cell) if type(cell) is str else json.dumps(cell, ensure_ascii=False) for cell in cells
        ]
        sys.stdout.write(f"[{', '.join(texts)}]\n")


def _chosen(book: Any, package: "_Package", wanted: str, columns_max: int, *, takes_first: bool) -> tuple[str, bool]:
    """The sheet that was asked for, or the only visible one with cells, and whether it has noted cells."""
    sheets = [one for one in book.sheets_metadata if _is_table(one)]
    if wanted:
        for one in sheets:
            if one.name == wanted:
                return wanted, _check_size(package, wanted, columns_max).has_noted
        raise SheetRefused(f"There is no sheet {_short(wanted)}: the workbook has {_listed(sheets)}.")
    seen = [one for one in sheets if _is_visible(one)]
    if not sheets:
        raise SheetRefused("The workbook has no sheets with cells: save its table as CSV or XLSX.")
    if not seen and takes_first:
        seen = sheets
    if not seen:
        raise _SheetUncertain(f"All sheets are hidden: name one of {_listed(sheets)} with the option sheet.")
    measured = {one.name: _check_size(package, one.name, columns_max) for one in seen[:_SHEETS_LOOKED_AT_MAX]}
    filled = seen if len(seen) == 1 else [
        one for one in seen
        if book.get_sheet_by_name(one.name).start is not None
        or (one.name in measured and measured[one.name].has_formulas)
    ]  # fmt: skip
    if len(filled) > 1 and not takes_first:
        raise _SheetUncertain(
            f"Cannot tell which sheet holds the codes: name one of {_listed(filled)} with the option sheet."
        )
    name = str((filled or seen)[0].name)
    return name, name not in measured or measured[name].has_noted


def _is_visible(sheet: Any) -> bool:
    return str(sheet.visible).endswith(".Visible")


def _is_table(sheet: Any) -> bool:
    return str(sheet.typ).endswith(".WorkSheet")


class _Package:
    """What a workbook's file says beside the values of its sheets."""

    def __init__(self, path: str, archive: zipfile.ZipFile | None, book: Any) -> None:
        self._path = path
        self._archive = archive
        self._names = [one.name for one in book.sheets_metadata]
        self._notes: dict[str, XlsNotes] = {}
        self._stream: IO[bytes] | None = None

    def measure(self, name: str, columns_max: int) -> SheetSize:
        """The size of a sheet; of an XLS only its hidden rows."""
        if self._archive is None:
            notes = self._notes_of(name)
            return SheetSize(hidden_rows=notes.hidden_rows, has_noted=bool(notes.errors))
        with self._archive.open(sheet_xml.sheet_part(self._archive, name)) as file:
            return sheet_xml.measure(file, columns_max)

    def noted_cells(self, name: str) -> Iterator[tuple[int, int, ShownCell]]:
        """Cells whose values do not tell what they show: row and column, from 0, and what that is."""
        if self._archive is None:
            return iter(self._notes_of(name).errors)
        part = sheet_xml.sheet_part(self._archive, name)
        return sheet_xml.noted_cells(self._archive.open(part), sheet_xml.number_formats(self._archive))

    def _notes_of(self, name: str) -> XlsNotes:
        if name not in self._notes:
            if self._stream is None:
                with Path(self._path).open("rb") as file:
                    self._stream = xls_records.workbook_stream(file)
            self._notes[name] = xls_records.notes(self._stream, self._names.index(name))
        return self._notes[name]


def _check_size(package: _Package, name: str, columns_max: int) -> SheetSize:
    """The size of a sheet. Refuses it by its size before its cells are made, and for hidden rows."""
    size = package.measure(name, columns_max)
    if size.hidden_rows:
        raise _SheetUncertain(
            f"The sheet {_short(name)} has hidden rows ({size.hidden_rows:,}; a filter hides rows too): show or "
            "delete them, so that it is certain which codes are meant."
        )
    return size


class _NotedRows:
    """The noted cells of a sheet, row by row."""

    def __init__(self, cells: Iterator[tuple[int, int, ShownCell]]) -> None:
        self._cells = cells
        self._next = next(self._cells, None)

    @property
    def are_over(self) -> bool:
        """Whether no row is left that has any."""
        return self._next is None

    def of_row(self, place: int) -> dict[int, ShownCell]:
        """Those of a row, by column. Rows are asked for in order."""
        found: dict[int, ShownCell] = {}
        while self._next is not None and self._next[0] <= place:
            if self._next[0] == place:
                found[self._next[1]] = self._next[2]
            self._next = next(self._cells, None)
        return found


def _cell(cell: object, number: ShownCell | None) -> str | Sequence[str]:
    """A cell that is not a text."""
    match cell:
        case bool():
            shown = ShownCell("boolean", str(cell).upper())
        case int() | float():
            shown = number or shown_number(repr(cell).removesuffix(".0"), None)
        # Workbooks have no time zones.
        case datetime():
            shown = ShownCell("date", cell.date().isoformat() if cell.time() == time() else cell.isoformat())
        case date() | time():
            shown = ShownCell("date", cell.isoformat())
        case timedelta() | _:
            shown = ShownCell("date", str(cell))
    return shown.text if shown.kind == "text" else shown


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def _listed(sheets: Sequence[Any]) -> str:
    more = f" and {len(sheets) - _SHEETS_LISTED_MAX} more" if len(sheets) > _SHEETS_LISTED_MAX else ""
    return ", ".join(_short(one.name) for one in sheets[:_SHEETS_LISTED_MAX]) + more


def _short(name: str) -> str:
    return name[:100]


def _refuse(sentence: str, status: int = EXIT_REFUSED) -> None:
    sys.stderr.write(sentence)
    raise SystemExit(status)
