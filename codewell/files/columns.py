"""Finds the columns of a table. A column that is not certain is refused, with all columns listed."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from codewell.errors import FileRefused, FileUncertain
from codewell.files import code_names
from codewell.files.head import find_head
from codewell.files.listing import Row, cells_of, column_list, shown
from schemas.imports import ImportOptions

# So many codes in the sample tell by their repetition that they are none.
_CODES_MIN: Final = 4
# The codes of languages, countries and currencies have as many letters, or digits.
_COUNTRY_CHARS: Final = (2, 3)
_CHOOSE: Final = "name it with the option column (--column), by its name or its number"


class Columns(NamedTuple):
    """Column indexes, from 0."""

    header: int | None
    """Index of the head's row, from 0; None without one."""
    first: int
    """Index of the first row of codes."""
    names: tuple[str, ...]
    """The head; empty without one."""
    width: int
    """Cells of a row; further ones are no columns."""
    code: int
    profile: int | None
    expiry: int | None
    fields: tuple[tuple[str, int], ...]


def find_columns(rows: Sequence[Row], begin: int, options: ImportOptions) -> Columns:
    """Find the columns from the first rows of a file; rows before `begin` are no part of the table.

    Raises FileRefused if a column that was asked for is missing, and if the head or the column of codes is not certain.
    """
    all_filled = _filled(rows[begin:])
    if options.column is None and options.header is None and len(all_filled) > 1:
        # The list of columns says more than a question about the head.
        _refuse_without_code_name(rows, begin, options)
    head = find_head(rows, begin, options)
    names = tuple(cell.strip() for cell in rows[head.row]) if head.row is not None else ()
    table = rows[head.first :]
    if not any(any(map(str.strip, row)) for row in table):
        raise FileRefused(f"The file has a head ({', '.join(shown(names))}) and no rows: choose a file with codes.")
    width = len(names) or max(map(len, table))
    if names and _common_width(table) > width:
        raise FileUncertain(
            f"Row {(head.row or 0) + 1:,} names {width:,} columns, but most rows have {_common_width(table):,} cells: "
            "correct the head, or choose the delimiter with the option delimiter."
        )
    if not names:
        width = _common_width(table)
    code = _code_column(names, table, width) if options.column is None else _index(options.column, names, table, width)

    def place(column: str | None) -> int | None:
        return None if column is None else _index(column, names, table, width)

    found = Columns(
        head.row, head.first, names, width, code, place(options.profile_column), place(options.expiry_column),
        tuple((name, _index(column, names, table, width)) for name, column in options.field_columns.items()),
    )  # fmt: skip
    if found.code in {found.profile, found.expiry} or (found.profile is not None and found.profile == found.expiry):
        raise FileRefused("One column is given for two things: give each of codes, profiles and expiries its own.")
    return found


def _refuse_without_code_name(rows: Sequence[Row], begin: int, options: ImportOptions) -> None:
    if options.header_row is None and not any(any(map(code_names.is_code_name, row)) for row in rows[begin:]):
        first = next((row for row in rows[begin:] if any(map(str.strip, row))), ())
        below = rows[begin + 1 :] or rows[begin:]
        columns = column_list(first, below, len(first))
        raise FileUncertain(f"Cannot tell which column holds the codes: {_CHOOSE}. {columns}")


def _code_column(names: Row, table: Sequence[Row], width: int) -> int:
    """The column that is certain: the only one, or the only one with a name that no other kind of column has."""
    found = [place for place, name in enumerate(names) if code_names.is_code_name(name)]
    filled = sorted(place for place in _filled([names, *table]) if place < width)
    if not found and len(filled) == 1:
        found = filled
    elif len(found) == 1 and code_names.is_plain_code_name(names[found[0]]):
        found += [place for place in filled if place not in found and _rivals(names[place], table, place)]
    if len(found) != 1:
        several = "Several columns may hold" if found else "Cannot tell which column holds"
        raise FileUncertain(f"{several} the codes: {_CHOOSE}. {column_list(names, table, width)}")
    cells = cells_of(table, found[0])
    unlike = code_names.unlike_codes(cells)
    if unlike is not None:
        raise FileUncertain(
            f"Column {found[0] + 1} looks like {unlike}, not codes: {_CHOOSE}. {column_list(names, table, width)}"
        )
    if len(cells) >= _CODES_MIN and len(set(cells)) * 2 < len(cells) and len(filled) > 1:
        raise FileUncertain(
            f"Column {found[0] + 1} has the same cell again and again, so it may hold no codes: {_CHOOSE}. "
            f"{column_list(names, table, width)}"
        )
    if len(filled) > 1 and cells and all(map(_is_like_a_country, cells)):
        raise FileUncertain(
            f"Column {found[0] + 1} looks like codes of countries, languages or the like: "
            f"{_CHOOSE}. {column_list(names, table, width)}"
        )
    return found[0]


def _is_like_a_country(cell: str) -> bool:
    return len(cell) in _COUNTRY_CHARS and (cell.isalpha() or cell.isdecimal())


def _rivals(name: str, table: Sequence[Row], place: int) -> bool:
    """Whether a column beside one that is called `code` may be the one with the codes."""
    cells = cells_of(table, place)
    looks_so = bool(cells) and code_names.unlike_codes(cells) is None and not all(map(str.isdecimal, cells))
    return code_names.mentions_codes(name) and looks_so and len(set(cells)) * 2 > len(cells)


def _index(column: str, names: Row, table: Sequence[Row], width: int) -> int:
    """The index of a column, given by name (exact, else without regard to case) or by number from 1."""
    number = int(column) - 1 if column.isdecimal() and len(column) < 10 else None
    for fits in (column.__eq__, lambda name: name.casefold() == column.strip().casefold()):
        found = [place for place, name in enumerate(names) if fits(name)]
        if len(found) > 1:
            raise FileUncertain(f"Several columns are called {column[:100]}: give the number of one, from 1.")
        if found and number is not None and number != found[0] and number < width:
            raise FileUncertain(f"{column} is the name of column {found[0] + 1}, and a number: rename that column.")
        if found:
            return found[0]
    if number is not None and 0 <= number < width:
        return number
    raise FileRefused(f"There is no column {column[:100]}. {column_list(names, table, width)}")


def _filled(rows: Sequence[Row]) -> set[int]:
    return {place for row in rows for place, cell in enumerate(row) if cell.strip()}


def _common_width(table: Sequence[Row]) -> int:
    """The most frequent width of rows, without empty cells at their ends."""
    widths = [max((place + 1 for place, cell in enumerate(row) if cell.strip()), default=0) for row in table]
    full = [len(row) for row, width in zip(table, widths, strict=True) if width]
    counts = {one: full.count(one) for one in set(full)}
    common = max(counts, key=lambda one: (counts[one], one), default=0)
    return max(common, 1) if max(widths, default=0) >= common else max(widths)
