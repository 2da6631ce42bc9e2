"""Detects which row of a file is its head: the one that names the columns."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from codewell.errors import FileRefused, FileUncertain
from codewell.files.code_names import is_code_name, may_be_head
from codewell.files.listing import Row, column_list, shown
from schemas.imports import ImportOptions

# Rows from the beginning that may be the head; those above it are titles.
_LOOKED_AT: Final = 20
# Without a digit in the first cell, it differs from its column if at least so many cells follow and each has one.
_CELLS_MIN: Final = 3
_PREFIX_MIN: Final = 3
_DIGIT: Final = re.compile(r"\d")


class Head(NamedTuple):
    """Where the names of the columns are, and where the codes begin."""

    row: int | None
    """Index of the head; None if the file has none."""
    first: int
    """Index of the first row of codes."""


def find_head(rows: Sequence[Row], begin: int, options: ImportOptions) -> Head:
    """Find the head among the first rows, of which those before `begin` are none. Raises FileUncertain."""
    filled = [place for place in range(begin, len(rows)) if any(map(str.strip, rows[place]))]
    if not filled:
        return Head(None, begin)
    if options.header_row is not None:
        if options.header_row > len(rows) or options.header is False:
            raise FileRefused(f"Row {options.header_row:,} is no head: give a row among the first {len(rows):,}.")
        return Head(options.header_row - 1, options.header_row)
    if options.header is not None:
        return Head(filled[0], filled[0] + 1) if options.header else Head(None, begin)
    found = _named(rows, filled[:_LOOKED_AT], options)
    if found is not None:
        _check_titles(rows, filled, found)
        return Head(found, found + 1)
    asked = asked_names(options)
    if asked:
        raise FileRefused(_missing(asked, rows[filled[0]], rows[filled[0] :]))
    first = filled[0]
    unlike = _unlike_cell(rows[first], [rows[place] for place in filled[1:]])
    if unlike is not None:
        raise FileUncertain(
            f"Cannot tell whether row {first + 1:,} ({_quoted(unlike)}) names the columns or holds a code: choose "
            "with the option header (--header or --no-header)."
        )
    return Head(None, begin)


def asked_names(options: ImportOptions) -> list[str]:
    """The columns that were asked for by name."""
    asked = [options.column, options.profile_column, options.expiry_column, *options.field_columns.values()]
    return [one for one in asked if one is not None and not one.isdecimal()]


def _missing(asked: Sequence[str], names: Row, rows: Sequence[Row]) -> str:
    there = {name.strip().casefold() for name in names}
    column = next((one for one in asked if one.strip().casefold() not in there), asked[0])
    return f"There is no column {shown([column])[0]} in a head. {column_list((), rows, len(names))}"


def _named(rows: Sequence[Row], places: Sequence[int], options: ImportOptions) -> int | None:
    """The row that has the names that were asked for, or a name that only a column of codes has."""
    asked = {one.strip().casefold() for one in asked_names(options)}
    if asked:
        return next((at for at in places if asked <= {cell.strip().casefold() for cell in rows[at]}), None)
    return next((at for at in places if any(map(is_code_name, rows[at]))), None)


def _check_titles(rows: Sequence[Row], filled: Sequence[int], head: int) -> None:
    """Rows above the head are titles if they have one cell, and the head has more."""
    above = [place for place in filled if place < head]
    if not above:
        return
    widths = [sum(1 for cell in rows[place] if cell.strip()) for place in (*above, head)]
    if widths[-1] > 1 and all(width == 1 for width in widths[:-1]):
        return
    if widths[0] >= widths[-1] > 1:
        columns = column_list(rows[above[0]], rows[above[0] + 1 :], len(rows[above[0]]))
        raise FileUncertain(
            f"Row {head + 1:,} has a name of a column of codes, but row {above[0] + 1:,} looks like the head: give its "
            f"row with the option header_row (--header-row), and the column of the codes (--column). {columns}"
        )
    title = _quoted(next(cell for cell in rows[above[0]] if cell.strip()))
    raise FileUncertain(
        f"Row {head + 1:,} names the columns, but row {above[0] + 1:,} above it ({title}) may be a code: delete what "
        f"is above the head, or give its row with the option header_row (--header-row {head + 1})."
    )


def _unlike_cell(first: Row, after: Sequence[Row]) -> str | None:
    """A cell of the first row that does not look like the others of its column, so that it may be a name."""
    for place, cell in enumerate(first):
        text = cell.strip()
        others = [row[place].strip() for row in after if len(row) > place and row[place].strip()]
        if text and not _is_like(text, others):
            return text
    return None


def _is_like(text: str, others: Sequence[str]) -> bool:
    if may_be_head(text):
        return False
    has_digit, has_space = bool(_DIGIT.search(text)), " " in text
    if has_digit and not has_space:
        return True
    if not others:
        return not has_space
    kinds = set().union(*map(_kinds, others))
    if not _kinds(text) <= kinds:
        return False
    if has_digit or len(others) < _CELLS_MIN or not all(map(_DIGIT.search, others)):
        return True
    prefix = text[:_PREFIX_MIN]
    return all(one.startswith(prefix) for one in others)


def _kinds(text: str) -> set[str]:
    """The kinds of characters of a text: cases of letters, digits, spaces, and each sign."""
    return {
        "upper" if one.isupper() else "lower" if one.islower() else "letter" if one.isalpha()
        else "digit" if one.isdigit() else one
        for one in text
    }  # fmt: skip


def _quoted(cell: str) -> str:
    return repr(cell[:40])
