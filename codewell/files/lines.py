"""Lines of text, none longer than a row may be, so that no file can fill the memory with one."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, TextIO

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits

ROW_CHARS_MAX: Final = 1_000_000


def text_lines(path: Path, encoding: str, limits: FileLimits) -> Generator[str, None, None]:
    """The lines of a text file with their ends as they are. Raises FileRefused where it is not in this encoding."""
    # Line ends are looked for in text, so an encoding in which \n is two bytes is right too.
    with path.open(encoding=encoding, newline="") as file:
        try:
            yield from limited_lines(file, limits)
        except UnicodeError as error:
            raise FileRefused(f"The file is not valid {encoding.removesuffix('-sig')}: give its encoding.") from error


def limited_lines(file: TextIO, limits: FileLimits) -> Iterator[str]:
    """Lines that are not longer than a row of this file may be."""
    size = min(ROW_CHARS_MAX, limits.columns_max * limits.cell_chars_max)
    readline = file.readline
    while line := readline(size):
        if len(line) == size:
            raise FileRefused(f"A row of the file has {size:,} characters or more: check that it is a list of codes.")
        yield line
