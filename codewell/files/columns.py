"""Detects which columns hold what, and whether the first row is a header."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from codewell.errors import FileRefused
from schemas.imports import ImportOptions

# Common names of the column of codes; matched as whole words of a column name.
_CODE_WORDS: Final = frozenset(
    {"code", "codes", "coupon", "coupons", "gutschein", "gutscheincode", "kupon", "promo", "promocode", "promocodes",
     "voucher", "vouchers", "vouchercode", "couponcode", "код", "промокод"}
)  # fmt: skip
_DIGIT: Final = re.compile(r"\d")
_COLUMNS_LISTED_MAX: Final = 20
# Without digits in the first row, it is a header if at least so many rows follow and each of them has a digit.
_ROWS_MIN: Final = 3


class Columns(NamedTuple):
    """Column indexes, from 0."""

    header: bool
    names: tuple[str, ...]
    """The header row; empty without one."""
    code: int
    profile: int | None
    expiry: int | None
    fields: tuple[tuple[str, int], ...]


def detect_columns(first: Sequence[Sequence[str]], options: ImportOptions) -> Columns:
    """Detect the columns from the first rows of a file. Raises FileRefused if a requested column is missing."""
    width = max(map(len, first), default=0)
    head = tuple(cell.strip() for cell in first[0]) if first else ()
    asked = [options.column, options.profile_column, options.expiry_column, *options.field_columns.values()]
    header = options.header if options.header is not None else _has_header(head, first, asked)
    names = head if header else ()

    def place(column: str | None) -> int | None:
        return None if column is None else _column_index(column, names, width)

    code = place(options.column)
    return Columns(
        header,
        names,
        _code_column(names, width) if code is None else code,
        place(options.profile_column),
        place(options.expiry_column),
        tuple((name, _column_index(column, names, width)) for name, column in options.field_columns.items()),
    )


def _has_header(head: Sequence[str], first: Sequence[Sequence[str]], asked: Sequence[str | None]) -> bool:
    if any(column is not None and column in head and not column.isdecimal() for column in asked):
        return True
    if any(_is_code_name(name) for name in head):
        return True
    behind = [row[0] for row in first[1:] if row]
    no_digits = all(head) and not any(map(_DIGIT.search, head))
    return no_digits and len(behind) >= _ROWS_MIN and all(map(_DIGIT.search, behind))


def _is_code_name(name: str) -> bool:
    return not _CODE_WORDS.isdisjoint(re.split(r"[\W_]+", name.lower()))


def _code_column(names: Sequence[str], width: int) -> int:
    found = [place for place, name in enumerate(names) if _is_code_name(name)]
    if found or width <= 1 or not names:
        return found[0] if found else 0
    raise FileRefused(f"Cannot tell which column holds the codes: give it. The file has {_column_list(names)}.")


def _column_index(column: str, names: Sequence[str], width: int) -> int:
    """The index of a column, given by name (exact, else case-insensitive) or by number from 1."""
    for fits in (column.__eq__, lambda name: name.lower() == column.lower()):
        found = [place for place, name in enumerate(names) if fits(name)]
        if len(found) > 1:
            raise FileRefused(f"Two columns are called {column}: give the number of one, from 1.")
        if found:
            return found[0]
    if column.isdecimal() and 1 <= int(column) <= width:
        return int(column) - 1
    there = _column_list(names) if names else f"columns 1 to {width} without names"
    raise FileRefused(f"There is no column {column}: the file has {there}.")


def _column_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _COLUMNS_LISTED_MAX} more" if len(names) > _COLUMNS_LISTED_MAX else ""
    return f"{', '.join(name[:100] for name in names[:_COLUMNS_LISTED_MAX])}{more}"
