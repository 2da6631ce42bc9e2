"""Parses rows of cells from the lines of a text file."""

import csv
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from codewell.errors import FileRefused
from codewell.files.dialect import Dialect
from codewell.files.limits import FileLimits
from codewell.files.lines import ROW_CHARS_MAX, TextLines

# The limit that the library begins with.
_FIELD_CHARS_MIN: Final = 131_072

AreUsual = Callable[[list[str]], bool]
"""Whether these cells, each of which is a row, are what most rows are."""


class TextRows:
    """Rows parsed from text lines, with a size limit for each; `chars` counts the characters read for them so far."""

    def __init__(self, sample: list[str], lines: Iterator[str], dialect: type[Dialect], limits: FileLimits) -> None:
        """`sample` are the first lines, which were taken already."""
        self.chars = 0
        self._count = 0
        self._row_chars_end = ROW_CHARS_MAX
        self._lines = chain(sample, lines)
        self._text = lines if isinstance(lines, TextLines) else None
        self._dialect = dialect
        self._limits = limits

    def __iter__(self) -> Iterator[list[str]]:
        """Yield each row once. Raises FileRefused."""
        columns_max, cell_chars_max = self._limits.columns_max, self._limits.cell_chars_max
        # This limit is global to the process, whose exports may have longer cells.
        csv.field_size_limit(max(cell_chars_max, _FIELD_CHARS_MIN))
        begin = self.chars
        try:
            for row in csv.reader(self._limited_lines(), self._dialect):
                self._count += 1
                self._row_chars_end = self.chars + ROW_CHARS_MAX
                if self.chars - begin > cell_chars_max and any(len(cell) > cell_chars_max for cell in row):
                    raise self._too_long(self._count)
                begin = self.chars
                if len(row) > columns_max:
                    raise FileRefused(
                        f"Row {self._count:,} has {len(row):,} columns, more than {columns_max:,}: leave some out."
                    )
                yield row
        except csv.Error as error:
            if "field larger" not in str(error):
                raise FileRefused(
                    f"Row {self._count + 1:,} has an unclosed quote, or text after a closing one: double quotes inside "
                    "of a cell, and put the whole cell in quotes."
                ) from error
            raise self._too_long(self._count + 1) from error

    def _too_long(self, row: int) -> FileRefused:
        return FileRefused(
            f"Row {row:,} has a cell of more than {self._limits.cell_chars_max:,} characters: check for an unclosed "
            "quote."
        )

    def whole(self, count: int, are_usual: AreUsual) -> list[str]:
        """The next rows, at most so many, each as its only cell, if they are usual; else none is taken."""
        if self._text is None:
            return []
        text, cells = self._text.seen(count)
        if self._dialect.quotechar in text or self._dialect.delimiter in text:
            return []
        if "\r" in text:
            cells = [cell.removesuffix("\r") for cell in cells]
        if max(map(len, cells), default=0) > self._limits.cell_chars_max or not are_usual(cells):
            return []
        self._text.skip(len(text))
        self._count += len(cells)
        self.chars += len(text)
        self._row_chars_end = self.chars + ROW_CHARS_MAX
        return cells

    def _limited_lines(self) -> Iterator[str]:
        """A row with quoted cells may span many lines, so it has a limit of its own."""
        for line in self._lines:
            self.chars += len(line)
            if self.chars > self._row_chars_end:
                raise FileRefused(
                    f"A row of the file has more than {ROW_CHARS_MAX:,} characters: check for an unclosed quote."
                )
            yield line
