"""CSV lines as in RFC 4180, in UTF-8, with protection from formula injection.

A cell that begins with `=`, `+`, `-` or `@`, or their full-width forms, after any white space, is a formula to a
spreadsheet. So is what follows `;`, tab or a line end within a cell, where a spreadsheet separates at those. A leading
apostrophe makes it text. `raw` leaves every cell unchanged.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
_SIGN: Final = r"[=+\-@＝＋－＠]"  # noqa: RUF001  the full-width characters are meant
_FORMULA_START: Final = re.compile(rf"[\t\r\n]|\s*{_SIGN}")
# A spreadsheet that separates at `;` or tab ignores the quotes of a cell that is not the first one of its line, so what
# follows a separator or a line end within the cell begins another cell there.
_FORMULA_WITHIN: Final = re.compile(rf"([;\t\r\n])(?=[\s\"]*{_SIGN})")
# Some spreadsheets also split cells at `;` and tab.
_NEEDS_QUOTES: Final = re.compile('[,;\t"\r\n]')

# Matches a cell that begins with a possible formula start or white space. Without a match in a run of lines, no cell
# needs a check. The look-behind for the start of a cell comes last, as few characters get that far.
_SUSPECT_CELL: Final = re.compile(rb"[=+\-@\t\r\x0b\x0c\x1c-\x20\x80-\xff](?<=[,\n].)", re.DOTALL)
_SUSPECT_TEXT: Final = re.compile('["\r,;\t]|\n[^A-Za-z0-9]')


def begins_formula(text: str) -> bool:
    """Whether a spreadsheet evaluates the text as a formula."""
    return _FORMULA_START.match(text) is not None


def escape_formula(cell: str) -> str:
    """Return the cell in a form that no spreadsheet evaluates as a formula."""
    safe = _FORMULA_WITHIN.sub(r"\1'", cell)
    return f"'{safe}" if begins_formula(safe) else safe


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
