"""Lines of CSV as RFC 4180 has them, in UTF-8, with cells that a spreadsheet would run made harmless.

A cell that begins with `=`, `+`, `-` or `@`, their full-width forms too, is a formula to a spreadsheet, whatever space
stands before it. An apostrophe in front makes it text. `raw` leaves every cell as it is.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
_FORMULA_START: Final = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")  # noqa: RUF001  those are the ones
# Some spreadsheets part cells at `;` and tab too, so that a formula could stand behind one.
_NEEDS_QUOTES: Final = re.compile('[,;\t"\r\n]')

# Where it is not found, no cell of a whole run of lines has to be looked at: a cell that begins with what may begin a
# formula, or with space. It asks for the cell's begin last, as few characters get that far.
_SUSPECT_CELL: Final = re.compile(rb"[=+\-@\t\r\x0b\x0c\x1c-\x20\x80-\xff](?<=[,\n].)", re.DOTALL)
_SUSPECT_TEXT: Final = re.compile('["\r,;\t]|\n[^A-Za-z0-9]')


def escape_formula(cell: str) -> str:
    """The cell as no spreadsheet runs it."""
    return f"'{cell}" if _FORMULA_START.match(cell) else cell


def csv_line(cells: Iterable[str], raw: bool = False) -> str:
    """One line with its end."""
    safe = cells if raw else map(escape_formula, cells)
    return ",".join([_quoted(cell) for cell in safe]) + "\r\n"


def csv_lines(texts: Sequence[str], rest: Sequence[str], raw: bool = False) -> bytes:
    """A line for each text, all with the same other cells: many at once, as fast as bytes can be put together."""
    joined = "\n".join(texts)
    if _SUSPECT_TEXT.search(f"\n{joined}"):
        return "".join([csv_line([text, *rest], raw) for text in texts]).encode()
    # A text that a run of lines is made of holds no line break: that would have been odd.
    tail = csv_line(["", *rest], raw)
    return (joined.replace("\n", tail) + tail).encode() if texts else b""


def rewrite_copy_output(copied: bytes, raw: bool = False) -> bytes:
    """Whole lines as Postgres' COPY writes CSV, which ends them with a bare line feed, as they are to be here."""
    if not any(mark in copied for mark in (b'"', b";", b"\t")) and (raw or not _SUSPECT_CELL.search(b"\n" + copied)):
        return copied.replace(b"\n", b"\r\n")
    rows = csv.reader(io.StringIO(copied.decode(), newline=""), strict=True)
    return "".join([csv_line(row, raw) for row in rows]).encode()


def _quoted(cell: str) -> str:
    if not _NEEDS_QUOTES.search(cell):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'
