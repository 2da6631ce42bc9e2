"""Reads lines with a length limit, so that no file can fill the memory with a single line."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, TextIO

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits

ROW_CHARS_MAX: Final = 1_000_000


def text_lines(path: Path, encoding: str, limits: FileLimits) -> Generator[str, None, None]:
    """Yield the lines of a text file, line ends included. Raises FileRefused if it is not in this encoding."""
    # Line ends are found in decoded text, so encodings in which \n has two bytes work too.
    with path.open(encoding=encoding, newline="") as file:
        try:
            yield from limited_lines(file, limits)
        except UnicodeError as error:
            raise FileRefused(f"The file is not valid {encoding.removesuffix('-sig')}: give its encoding.") from error


def limited_lines(file: TextIO, limits: FileLimits) -> Iterator[str]:
    """Yield lines up to the maximum size of a row. Raises FileRefused for a longer one."""
    size = min(ROW_CHARS_MAX, limits.columns_max * limits.cell_chars_max)
    readline = file.readline
    while line := readline(size):
        if len(line) == size:
            raise FileRefused(f"A row of the file has {size:,} characters or more: check that it is a list of codes.")
        yield line
