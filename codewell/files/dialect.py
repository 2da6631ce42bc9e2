"""Detects how a text file separates and quotes its cells, from its first rows."""

import csv
from collections import Counter
from collections.abc import Sequence
from typing import Final

from schemas.imports import DELIMITERS

# A delimiter is accepted if this share of the rows has the most frequent number of cells.
_AGREEMENT_MIN: Final = 0.9


class Dialect(csv.Dialect):
    """Cells between delimiters, quoted if needed; a quote in a quoted cell is doubled."""

    lineterminator = "\n"
    quoting = csv.QUOTE_MINIMAL
    doublequote = True
    quotechar = '"'
    delimiter = ","


def detect_dialect(lines: Sequence[str], delimiter: str | None) -> type[Dialect]:
    """Detect the dialect of these lines; `delimiter` overrides detection. A single column is read with a comma."""

    class Found(Dialect):
        quotechar = _quote(lines)

    if delimiter is not None:
        Found.delimiter = delimiter
        return Found
    best = (0.0, 1)
    for one in DELIMITERS:

        class Tried(Found):
            delimiter = one

        widths = Counter(len(row) for row in _rows(lines, Tried) if row)
        if not widths:
            continue
        width, rows = widths.most_common(1)[0]
        agreement = rows / widths.total()
        if width > 1 and agreement >= _AGREEMENT_MIN and (agreement, width) > best:
            best = agreement, width
            Found.delimiter = one
    return Found


def _rows(lines: Sequence[str], dialect: type[Dialect]) -> list[list[str]]:
    try:
        return list(csv.reader(lines, dialect))
    except csv.Error:
        return []


def _quote(lines: Sequence[str]) -> str:
    """The quote character: an apostrophe if cells are quoted with apostrophes and none with double quotes."""
    text = "".join(lines)
    stripped = [line.strip() for line in lines if line.strip()]
    in_apostrophes = sum(line.startswith("'") and line.endswith("'") for line in stripped)
    return "'" if '"' not in text and stripped and in_apostrophes >= _AGREEMENT_MIN * len(stripped) else '"'
