"""CSV lines as in RFC 4180, in UTF-8, with protection from formula injection.

A cell that begins with `=`, `+`, `-` or `@`, or their full-width forms, after any white space, is a formula to a
spreadsheet. A leading apostrophe makes it text. `raw` leaves every cell unchanged.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
_FORMULA_START: Final = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")  # noqa: RUF001  the full-width characters are meant
# Some spreadsheets also split cells at `;` and tab, so that a formula could follow one.
_NEEDS_QUOTES: Final = re.compile('[,;\t"\r\n]')

# Matches a cell that begins with a possible formula start or white space. Without a match in a run of lines, no cell
# needs a check. The look-behind for the start of a cell comes last, as few characters get that far.
_SUSPECT_CELL: Final = re.compile(rb"[=+\-@\t\r\x0b\x0c\x1c-\x20\x80-\xff](?<=[,\n].)", re.DOTALL)
_SUSPECT_TEXT: Final = re.compile('["\r,;\t]|\n[^A-Za-z0-9]')


def escape_formula(cell: str) -> str:
    """Return the cell in a form that no spreadsheet evaluates as a formula."""
    return f"'{cell}" if _FORMULA_START.match(cell) else cell


def csv_line(cells: Iterable[str], raw: bool = False) -> str:
    """One CSV line, with its line end."""
    safe = cells if raw else map(escape_formula, cells)
    return ",".join([_quoted(cell) for cell in safe]) + "\r\n"


def csv_lines(texts: Sequence[str], rest: Sequence[str], raw: bool = False) -> bytes:
    """One line for each text, all with the same other cells, joined in one step for speed."""
    joined = "\n".join(texts)
    if _SUSPECT_TEXT.search(f"\n{joined}"):
        return "".join([csv_line([text, *rest], raw) for text in texts]).encode()
    # Texts without line breaks: the pattern above would have matched one.
    tail = csv_line(["", *rest], raw)
    return (joined.replace("\n", tail) + tail).encode() if texts else b""


def rewrite_copy_output(copied: bytes, raw: bool = False) -> bytes:
    """Convert complete CSV lines of Postgres' COPY, which end in LF, to this module's form: CRLF, protected cells."""
    if not any(mark in copied for mark in (b'"', b";", b"\t")) and (raw or not _SUSPECT_CELL.search(b"\n" + copied)):
        return copied.replace(b"\n", b"\r\n")
    rows = csv.reader(io.StringIO(copied.decode(), newline=""), strict=True)
    return "".join([csv_line(row, raw) for row in rows]).encode()


def _quoted(cell: str) -> str:
    if not _NEEDS_QUOTES.search(cell):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'
