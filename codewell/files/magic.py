"""Recognizes files that are neither text tables nor workbooks by their first bytes."""

import json
import re
from typing import Final

from codewell.errors import FileRefused

# What the file is, and what the person can do about it.
_AS_TABLE: Final = "save the codes as CSV or XLSX"
_BINARY: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF-", "a PDF"), (b"\x89PNG\r\n", "a picture (PNG)"), (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"), (b"RIFF", "a picture or sound"), (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"), (b"BM\x00", "a picture (BMP)"), (b"{\\rtf", "a rich text document (RTF)"),
    (b"\x1f\x8b", "packed (gzip)"), (b"BZh", "packed (bzip2)"), (b"\xfd7zXZ\0", "packed (xz)"),
    (b"\x28\xb5\x2f\xfd", "packed (zstd)"), (b"7z\xbc\xaf\x27\x1c", "packed (7z)"), (b"Rar!", "packed (RAR)"),
    (b"\x7fELF", "a program"), (b"MZ\x90\0", "a program"), (b"SQLite format 3\0", "a database (SQLite)"),
    (b"PAR1", "a Parquet file"), (b"Obj\x01", "an Avro file"), (b"ARROW1", "an Arrow file"),
    (b"\x09\x08\x10\0", "an old workbook (Excel 4)"), (b"\x09\x04\x06\0", "an old workbook (Excel 4)"),
    (b"%!PS", "a PostScript file"), (b"\xca\xfe\xba\xbe", "a program"), (b"ID3", "a sound (MP3)"),
)  # fmt: skip
_MARKUP: Final = re.compile(r"\s*<(?:!doctype|html|head|body|table|\?xml|svg|[a-z_][\w:.-]*[\s>])", re.IGNORECASE)
_SQL: Final = re.compile(
    r"(?:\s*(?:--|/\*|#)[^\n]*\n)*\s*(?:INSERT\s+INTO|CREATE\s+(?:TABLE|DATABASE)|DROP\s+TABLE|COPY\s+\S+\s*\(|"
    r"SET\s+\w+\s*=|BEGIN;|START\s+TRANSACTION|PRAGMA\s)",
    re.IGNORECASE,
)
_MAIL: Final = re.compile(r"(?:[A-Za-z-]+: [^\n]*\r?\n){3}")
# As database shells and Markdown draw them.
_DRAWN: Final = re.compile(r"(?=.*\S)\s*[|+]?[-+|:= \u2500-\u257f]{3,}\s*")
_DRAWN_LINES: Final = 3
_PRIVATE_KEY: Final = "-----BEGIN "
_LOOKED_AT_CHARS: Final = 4_000


def refuse_other_kind(sample: bytes) -> None:
    """Raise FileRefused if the file begins as one of another kind does, such as a PDF."""
    for magic, name in _BINARY:
        if sample.startswith(magic):
            raise FileRefused(f"The file is {name}, not a table: {_AS_TABLE}.")


def refuse_other_text(text: str) -> None:
    """Raise FileRefused if this beginning of a text file is markup, JSON, SQL or a mail, and no table."""
    head = text[:_LOOKED_AT_CHARS].lstrip("\ufeff")
    if _MARKUP.match(head):
        raise FileRefused(f"The file is HTML or XML, not a table, whatever its name ends with: {_AS_TABLE}.")
    if _is_json(head):
        raise FileRefused(f"The file is JSON, not a table: {_AS_TABLE}.")
    if _SQL.match(head):
        raise FileRefused(f"The file is SQL, not a table: {_AS_TABLE}.")
    if any(map(_DRAWN.fullmatch, head.splitlines()[:_DRAWN_LINES])):
        raise FileRefused(f"The file is a drawn table, with lines of dashes: {_AS_TABLE}.")
    if head.startswith("BEGIN:V"):
        raise FileRefused(f"The file is a contact or calendar, not a table: {_AS_TABLE}.")
    if _MAIL.match(head):
        raise FileRefused(f"The file is a mail, not a table: {_AS_TABLE}.")
    if head.startswith(_PRIVATE_KEY):
        raise FileRefused(f"The file is a key or certificate, not a table: {_AS_TABLE}.")


def _is_json(head: str) -> bool:
    start = head.lstrip()
    if re.match(r'(?:\{\s*(?:"|\}|$)|\[\s*(?:[\[{"]|\]|$))', start):
        return True
    line = start.split("\n", 1)[0].strip()
    try:
        return isinstance(json.loads(line), (dict, list))
    except ValueError:
        return False
    except RecursionError:
        return True
