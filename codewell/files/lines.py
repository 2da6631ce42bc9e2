"""Reads lines with a length limit, so that no file can fill the memory with a single line."""

from collections.abc import Iterable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Final, TextIO

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits

ROW_CHARS_MAX: Final = 1_000_000
# As many bytes as a file decodes at once: what is wrong further on is not found sooner.
_PIECE_CHARS: Final = 8_192
_SEEN_CHARS_MAX: Final = 2_000_000


class TextLines(Iterator[str]):
    """The lines of a text file, line ends included: one by one, or many at once.

    Raises FileRefused if it is not in this encoding, and for a line of the maximum size of a row.
    """

    def __init__(self, path: Path, encoding: str, limits: FileLimits) -> None:
        # Line ends are found in decoded text, so encodings in which \n has two bytes work too.
        self._file = path.open(encoding=encoding, newline="")
        self._encoding = encoding
        self._size = _row_chars_max(limits)
        # Whole lines, some of which may be given already, and what was read behind them.
        self._whole = StringIO(newline="")
        self._rest = ""
        self._each = self._lines()

    def __iter__(self) -> Iterator[str]:  # noqa: PYI034  itself, but without a call of __next__ for each line
        return self._each

    def __next__(self) -> str:
        return next(self._each)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def seen(self, count: int) -> tuple[str, list[str]]:
        """The next lines, at most so many, none of them given: as they are in the file, and apart, without line feeds.

        They are parted by line feeds only: other line ends are left in them.
        """
        pieces = [self._whole.read() + self._rest]
        feeds, chars, piece = pieces[0].count("\n"), len(pieces[0]), pieces[0]
        while feeds < count and chars < _SEEN_CHARS_MAX and (piece := self._piece()):
            pieces.append(piece)
            feeds += piece.count("\n")
            chars += len(piece)
        self._rest = "".join(pieces)
        lines = self._rest.split("\n", count)
        # What is behind the last line feed is a line at the end of the file only.
        end = chars if feeds < count and not piece else chars - len(lines[-1])
        if end < chars or not lines[-1]:
            lines.pop()
        return self._rest[:end], lines

    def skip(self, chars: int) -> None:
        """Take lines with so many characters that were seen as given."""
        self._rest = self._rest[chars:]

    def _lines(self) -> Iterator[str]:
        while text := self._read():
            self._whole = StringIO(text, newline="")
            yield from _checked(self._whole, self._size)

    def _read(self) -> str:
        """Some whole lines; a line that is too long may have no end."""
        while True:
            piece = self._piece()
            text = self._rest + piece
            # A line feed may follow a carriage return at the end.
            end = (text.rfind("\n") + 1 or text.rfind("\r", 0, -1) + 1) if piece else len(text)
            if not end and len(text) >= self._size:
                end = len(text)
            self._rest = text[end:]
            if end or not piece:
                return text[:end]

    def _piece(self) -> str:
        try:
            return self._file.read(_PIECE_CHARS)
        except UnicodeError as error:
            name = self._encoding.removesuffix("-sig")
            raise FileRefused(f"The file is not valid {name}: give its encoding.") from error


def limited_lines(file: TextIO, limits: FileLimits) -> Iterator[str]:
    """Yield lines up to the maximum size of a row. Raises FileRefused for a longer one."""
    size = _row_chars_max(limits)
    return _checked(iter(partial(file.readline, size), ""), size)


def _checked(lines: Iterable[str], size: int) -> Iterator[str]:
    for line in lines:
        if len(line) >= size:
            raise FileRefused(f"A row of the file has {size:,} characters or more: check that it is a list of codes.")
        yield line


def _row_chars_max(limits: FileLimits) -> int:
    return min(ROW_CHARS_MAX, limits.columns_max * limits.cell_chars_max)
