"""Cells of a CSV that a spreadsheet will open."""

from typing import Final

# A cell that begins with one of these is run as a formula by some spreadsheet, the full-width forms included.
_RUN: Final = tuple("=+-@\t\r\n|%\uff1d\uff0b\uff0d\uff20")


def harmless(cell: str) -> str:
    """The cell with an apostrophe in front where a spreadsheet would run it, also behind spaces."""
    return f"'{cell}" if cell.startswith(_RUN) or cell.lstrip().startswith(_RUN) else cell
