"""What the values of an XLSX sheet do not tell: its size before any cell is made, hidden rows, number formats, and
which cells without a value are errors or formulas whose result the file lacks.

Streams the parts of the package through expat, and rows of the usual form through regular expressions
(`codewell.files.sheet_rows`); nothing is kept but the numbers of one piece. A document type, and with it every entity,
is refused.
"""

import re
import zipfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final
from xml.parsers import expat

from codewell.files.number_format import ShownCell, shown_number
from codewell.files.sheet_rows import parse_sheet

XML_ERRORS: Final = expat.ExpatError
CELLS_MAX: Final = 10_000_000
_PIECE_BYTES: Final = 256 * 1024
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
# In rows of the usual form.
_ROW: Final = re.compile(rb'<row r="([0-9]+)"')
_CELL: Final = re.compile(rb'<c r="([A-Z]+)')
_NOTED: Final = re.compile(rb'<c r="([A-Z]+)([0-9]+)"(?: s="([0-9]+)")?(?: t="(n|e)")?><v>([^<]*)</v>')
_DIMENSION: Final = re.compile(r"(?:[A-Z]{1,3}[0-9]{1,7}:)?([A-Z]{1,3})([0-9]{1,7})")
# Formats that a workbook names by number alone, and that fix every digit. Others are not known here.
_BUILT_IN: Final = {0: "General", 1: "0", 49: "@"}
_NO_HEIGHT: Final = re.compile(r"0+(?:\.0*)?")
_NO_PART: Final = "The workbook cannot be read (a sheet has no content): save it again, or as CSV."
_NOT_KNOWN: Final = "?"
_FORMATS_MAX: Final = 70_000
# Enough to find a formula or error by.
_SHOWN_CHARS_MAX: Final = 200
# The numbers of the columns seen so far; there are 18,278 at most.
_LETTERS: Final[dict[str, int]] = {}
_RELATIONSHIP_SHEET: Final = "/worksheet"


class SheetRefused(Exception):
    """The sheet is not read; the message is the sentence for the person."""


@dataclass
class SheetSize:
    """The extent of a sheet, from its cells."""

    rows: int = 0
    columns: int = 0
    hidden_rows: int = 0
    has_noted: bool = False
    """Whether `noted_cells` may find any."""
    has_formulas: bool = False


def sheet_part(archive: zipfile.ZipFile, name: str) -> str:
    """The path of a sheet's part in the package. Raises SheetRefused if it can't be found."""
    names = set(archive.namelist())
    relations: dict[str, str] = {}
    found: list[str] = []

    def relation(tag: str, given: dict[str, str]) -> None:
        if tag == "Relationship" and given.get("Type", "").endswith(_RELATIONSHIP_SHEET):
            relations[given.get("Id", "")] = given.get("Target", "")

    def sheet(tag: str, given: dict[str, str]) -> None:
        if tag == "sheet" and given.get("name") == name:
            found.extend(value for key, value in given.items() if key.rpartition(":")[2] == "id")

    for part, take in (("xl/_rels/workbook.xml.rels", relation), ("xl/workbook.xml", sheet)):
        if part not in names:
            raise SheetRefused(_NO_PART)
        with archive.open(part) as file:
            _parse(file, take)
    target = next((relations[one] for one in found if one in relations), "")
    path = target.lstrip("/") if target.startswith("/") else f"xl/{target.removeprefix('./')}"
    # Names of parts have no case.
    found_part = next((one for one in names if one.lower() == path.lower()), None)
    if found_part is None:
        raise SheetRefused(_NO_PART)
    return found_part


def measure(file: IO[bytes], columns_max: int) -> SheetSize:
    """Read a sheet's size without its cells. Raises SheetRefused if it is larger than a list of codes may be."""
    measure = _Measure(columns_max)
    for _ in parse_sheet(file, _parser(measure.start), measure.take):
        pass
    return measure.size


class _Measure:
    """Measures a sheet by its elements."""

    def __init__(self, columns_max: int) -> None:
        self.size = SheetSize()
        self._columns_max = columns_max
        self._row = self._column = 0

    def start(self, tag: str, given: dict[str, str]) -> None:
        size = self.size
        if tag == "c":
            self._column = _column(given.get("r"), self._column)
            self._extend(size.rows, self._column)
            if not size.has_noted and given.get("t", "n") in {"n", "e"}:
                size.has_noted = True
        elif tag == "f":
            size.has_noted = size.has_formulas = True
        elif tag == "row":
            self._row, self._column = _row(given.get("r"), self._row), 0
            self._extend(self._row, size.columns)
            size.hidden_rows += (
                given.get("hidden") in {"1", "true"} or _NO_HEIGHT.fullmatch(given.get("ht", "")) is not None
            )
        elif tag == "sheetFormatPr":
            size.hidden_rows += given.get("zeroHeight") in {"1", "true"}
        elif tag == "dimension":
            declared = _DIMENSION.fullmatch(given.get("ref", ""))
            if declared is not None:
                _check(int(declared[2]), _letters(declared[1]), self._columns_max)

    def take(self, run: bytes) -> None:
        rows = list(map(int, _ROW.findall(run)))
        self._row, self._column = rows[-1], 0
        columns = [_letters(one.decode()) for one in set(_CELL.findall(run))]
        self._extend(max(rows), max(columns, default=0))
        self.size.has_noted = self.size.has_noted or _NOTED.search(run) is not None

    def _extend(self, rows: int, columns: int) -> None:
        size = self.size
        if rows > size.rows or columns > size.columns:
            size.rows, size.columns = max(size.rows, rows), max(size.columns, columns)
            _check(size.rows, size.columns, self._columns_max)


class _NotedCells:
    """Collects the cells of a sheet whose values do not tell what they show, from its elements."""

    def __init__(self, formats: list[str]) -> None:
        self.found: deque[tuple[int, int, ShownCell]] = deque()
        self._formats = formats
        self._row = self._column = self._style = 0
        self._type = ""
        # The texts of the cell's value and formula, where it has them, and the one that is read.
        self._value: list[str] | None = None
        self._formula: list[str] | None = None
        self._text: list[str] | None = None

    def start(self, tag: str, given: dict[str, str]) -> None:
        if tag == "c":
            self._column = _column(given.get("r"), self._column)
            self._type = given.get("t", "n")
            self._style = int(given["s"]) if given.get("s", "").isdecimal() else 0
            self._value = self._formula = self._text = None
        elif tag == "v":
            self._value = self._text = []
        elif tag == "f":
            self._formula = self._text = []
        elif tag == "row":
            self._row, self._column = _row(given.get("r"), self._row), 0

    def end(self, tag: str) -> None:
        name = tag if len(tag) == 1 else tag.rpartition(":")[2]
        if name in {"v", "f"}:
            self._text = None
        elif name == "c":
            if self._formula is None and self._type not in {"n", "e"}:
                return
            value = "".join(self._value or ()).strip()
            if value:
                if self._type in {"n", "e"}:
                    self._add(self._row, self._column, self._style, value, is_error=self._type == "e")
            # The result may be an empty text.
            elif self._formula is not None and (self._type != "str" or self._value is None):
                shown = ShownCell("formula", f"={''.join(self._formula)}"[:_SHOWN_CHARS_MAX])
                self.found.append((self._row - 1, self._column - 1, shown))

    def data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def take(self, run: bytes) -> None:
        for letters, row, style, kind, text in _NOTED.findall(run):
            self._add(int(row), _letters(letters.decode()), int(style or 0), text.decode(), is_error=kind == b"e")
        self._row, self._column = int(_ROW.findall(run)[-1]), 0

    def _add(self, row: int, column: int, style: int, text: str, *, is_error: bool) -> None:
        text = text.strip()
        if not text:
            return
        if is_error:
            shown = ShownCell("error", text[:_SHOWN_CHARS_MAX])
        else:
            shown = shown_number(text, self._formats[style] if style < len(self._formats) else _NOT_KNOWN)
        self.found.append((row - 1, column - 1, shown))


def noted_cells(file: IO[bytes], formats: list[str]) -> Iterator[tuple[int, int, ShownCell]]:
    """Yield what each number, error and formula without a result shows, after its row and column (from 0).

    In the order of the file.
    """
    cells = _NotedCells(formats)
    parser = _parser(cells.start)
    parser.EndElementHandler = cells.end
    parser.CharacterDataHandler = cells.data
    for _ in parse_sheet(file, parser, cells.take):
        while cells.found:
            yield cells.found.popleft()


def number_formats(archive: zipfile.ZipFile) -> list[str]:
    """The number format of each cell style of a workbook. Raises SheetRefused for too many."""
    own: dict[int, str] = {}
    styles: list[str] = []
    inside = False

    def start(tag: str, given: dict[str, str]) -> None:
        nonlocal inside
        if len(own) + len(styles) > _FORMATS_MAX:
            raise SheetRefused("The workbook has more cell styles than a spreadsheet may have: save its sheet as CSV.")
        if tag == "numFmt" and given.get("numFmtId", "").isdecimal():
            own[int(given["numFmtId"])] = given.get("formatCode", "")
        elif tag in {"cellXfs", "cellStyles", "cellStyleXfs", "dxfs"}:
            inside = tag == "cellXfs"
        elif tag == "xf" and inside:
            number = given.get("numFmtId", "0")
            known = int(number) if number.isdecimal() else 0
            styles.append(own.get(known, _BUILT_IN.get(known, _NOT_KNOWN)))

    if "xl/styles.xml" not in archive.namelist():
        return ["General"]
    with archive.open("xl/styles.xml") as file:
        _parse(file, start)
    return styles or ["General"]


def _check(rows: int, columns: int, columns_max: int) -> None:
    if columns > columns_max:
        raise SheetRefused(f"The sheet has {columns:,} columns, more than {columns_max:,}: leave some out.")
    if rows * columns > CELLS_MAX:
        raise SheetRefused(
            f"The sheet spans {rows:,} rows and {columns:,} columns, more than {CELLS_MAX:,} cells: save it as CSV."
        )


def _row(reference: str | None, before: int) -> int:
    if reference is None:
        return before + 1
    if not reference.isdecimal() or len(reference) > 7:
        raise SheetRefused("The workbook cannot be read (a row has no valid number): save it again, or as CSV.")
    return int(reference)


def _column(reference: str | None, before: int) -> int:
    if reference is None:
        return before + 1
    letters = reference.rstrip("0123456789")
    found = _LETTERS.get(letters)
    if found is not None:
        return found
    if not _REFERENCE.fullmatch(reference):
        raise SheetRefused("The workbook cannot be read (a cell has no valid place): save it again, or as CSV.")
    return _LETTERS.setdefault(letters, _letters(letters))


def _letters(letters: str) -> int:
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - 64
    return column


def _parse(file: IO[bytes], start: Any) -> None:
    parser = _parser(start)
    while piece := file.read(_PIECE_BYTES):
        parser.Parse(piece)
    parser.Parse(b"", True)


def _parser(start: Any) -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise SheetRefused("The workbook declares a document type, which no spreadsheet writes: save it again.")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda tag, given: start(tag[tag.rfind(":") + 1 :], given)
    return parser
