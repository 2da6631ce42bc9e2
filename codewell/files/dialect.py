"""Detects how a text file separates and quotes its cells, from its first rows."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from codewell.errors import FileUncertain
from codewell.files.code_names import is_code_name
from schemas.imports import DELIMITERS

# A delimiter fits if this share of the rows has the most frequent number of cells.
_AGREEMENT_MIN: Final = 0.9
# Rows of one cell above the table that detection passes over.
_TITLE_ROWS_MAX: Final = 20
# Stands for no delimiter: no text has it.
_NONE: Final = "\x1f"
_SEP_LINE: Final = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


class Dialect(csv.Dialect):
    """Cells between delimiters, quoted if needed; a quote in a quoted cell is doubled."""

    lineterminator = "\n"
    quoting = csv.QUOTE_MINIMAL
    doublequote = True
    quotechar = '"'
    delimiter = _NONE
    strict = True


class FoundDialect(NamedTuple):
    """How the file is written."""

    dialect: type[Dialect]
    delimiter: str | None
    """None: each line is one cell."""
    has_sep_line: bool
    """The first line names the delimiter to Excel, as `sep=;`."""


def detect_dialect(lines: Sequence[str], asked: str | None) -> FoundDialect:
    """Detect the dialect of these lines; `asked` overrides detection. Raises FileUncertain if it is not certain."""
    named = _SEP_LINE.fullmatch(lines[0]) if lines else None
    body = lines[1:] if named else lines
    quote = _quote(body)
    if asked is not None:
        delimiter = None if asked == "none" else asked
    elif named:
        delimiter = named[1]
        if delimiter not in DELIMITERS:
            raise FileUncertain(f"The first line names the delimiter {delimiter!r}, which is not known: {_CHOOSE}.")
    else:
        delimiter = _detect(body, quote)
    return FoundDialect(_dialect(delimiter or _NONE, quote), delimiter, named is not None)


_CHOOSE: Final = "choose comma, semicolon, tab, bar or none (one column) with the option delimiter"


def _detect(lines: Sequence[str], quote: str) -> str | None:
    rows = {one: [row for row in _rows(lines, _dialect(one, quote)) if any(map(str.strip, row))] for one in DELIMITERS}
    fits = [one for one, found in rows.items() if _fits([len(row) for row in found])]
    first = next((line.strip() for line in lines if line.strip()), "")
    if is_code_name(first.strip(quote)):
        return _under_one_name(first, rows)
    if len(fits) > 1 and "\t" not in fits:
        # Such as a decimal comma in each row: a head that names codes tells which.
        fits = [one for one in fits if any(map(is_code_name, rows[one][0]))] or fits
    if "\t" in fits or len(fits) == 1:
        return "\t" if "\t" in fits else fits[0]
    if fits:
        names = " and ".join(_NAMES[one] for one in fits)
        raise FileUncertain(f"Cannot tell what separates the cells, {names} both fit: {_CHOOSE}.")
    parted = [one for one, found in rows.items() if any(len(row) > 1 for row in found)]
    if parted:
        name = _NAMES[parted[0]]
        raise FileUncertain(f"Cannot tell whether a {name} separates cells, as only some rows have one: {_CHOOSE}.")
    return None


def _under_one_name(first: str, rows: dict[str, list[list[str]]]) -> str | None:
    """One column by its head: a delimiter in a cell is a part of it, unless most rows have one."""
    for one, found in rows.items():
        parted = sum(len(row) > 1 for row in found[1:])
        if parted * 2 >= len(found) - 1 > 0:
            raise FileUncertain(
                f"The head is {first[:50]} alone, and most rows have a {_NAMES[one]}: {_CHOOSE}, or correct the head."
            )
    return None


def _fits(widths: list[int]) -> bool:
    titles = 0
    while titles < min(len(widths), _TITLE_ROWS_MAX) and widths[titles] == 1:
        titles += 1
    table = widths[titles:]
    if not table or (titles and len(table) == 1):
        return False
    width, rows = Counter(table).most_common(1)[0]
    return width > 1 and rows >= _AGREEMENT_MIN * len(table)


def _dialect(one: str, quote: str) -> type[Dialect]:
    class Found(Dialect):
        delimiter = one
        quotechar = quote

    return Found


def _rows(lines: Sequence[str], dialect: type[Dialect]) -> list[list[str]]:
    found: list[list[str]] = []
    # The last row of the sample may be cut, so what came before an error counts.
    with suppress(csv.Error):
        found.extend(csv.reader(lines, dialect))
    return found


def _quote(lines: Sequence[str]) -> str:
    """The quote character: an apostrophe if cells are quoted with apostrophes and none with double quotes."""
    text = "".join(lines)
    stripped = [line.strip() for line in lines if line.strip()]
    in_apostrophes = sum(line.startswith("'") and line.endswith("'") for line in stripped)
    return "'" if '"' not in text and stripped and in_apostrophes >= _AGREEMENT_MIN * len(stripped) else '"'
