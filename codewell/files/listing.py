"""Shows the columns of a table with samples, in sentences for people."""

from collections.abc import Sequence
from typing import Final

_COLUMNS_LISTED_MAX: Final = 20
_SAMPLES: Final = 3
_SAMPLE_CHARS: Final = 30
_CELL_CHARS: Final = 200
Row = Sequence[str]


def listed(names: Row, rows: Sequence[Row], width: int) -> list[tuple[int, str, list[str]]]:
    """The columns with a cell: number from 1, name or an empty text, and the first cells."""
    columns = [
        (place + 1, names[place][:_CELL_CHARS] if place < len(names) else "", _samples(rows, place))
        for place in range(width)
    ]
    return [one for one in columns if one[1] or one[2]]


def cells_of(table: Sequence[Row], place: int) -> list[str]:
    """The cells of a column that are not empty."""
    return [row[place].strip() for row in table if len(row) > place and row[place].strip()]


def _samples(table: Sequence[Row], place: int) -> list[str]:
    return [cell[:_CELL_CHARS] for cell in cells_of(table, place)[:_SAMPLES]]


def column_list(names: Row, table: Sequence[Row], width: int) -> str:
    """All columns with samples, in a sentence."""
    columns = listed(names, table, max(width, len(names)))
    parts = [
        f"{number} {shown([name])[0] + ' ' if name else ''}({', '.join(shown(samples)) or 'empty'})"
        for number, name, samples in columns[:_COLUMNS_LISTED_MAX]
    ]
    more = f", and {len(columns) - _COLUMNS_LISTED_MAX} more" if len(columns) > _COLUMNS_LISTED_MAX else ""
    return f"The columns are: {'; '.join(parts)}{more}."


def shown(texts: Sequence[str]) -> list[str]:
    """Texts cut to what a person needs, without what a terminal would interpret."""
    return [
        "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text[:_SAMPLE_CHARS])
        + ("…" if len(text) > _SAMPLE_CHARS else "")
        for text in texts
    ]
