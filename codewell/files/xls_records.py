"""What the values of an XLS sheet do not tell: whether it has hidden rows, and which cells without a value are errors.

Reads the records of the sheet from the workbook's stream, which `olefile` finds in the compound file. Where a part of
the file contradicts another one, `olefile` gives a shorter stream. Such a stream will do if it holds the record that
ends the sheet.
"""

import os
import struct
from collections.abc import Iterator
from typing import IO, Final, NamedTuple

from codewell.files.number_format import ShownCell

# The newer one first: a file may have both.
_STREAMS: Final = ("workbook", "book")
_ENTRY_BYTES: Final = 128
_NAME_BYTES: Final = 64
_SECTOR_BYTES_MAX: Final = 4096
# The header says how many sectors the table of sectors has, and how many sectors list those that it does not list.
_HEADER_BYTES: Final = 512
_TABLE_SIZES: Final = "<I24xI"
_TABLE_SIZES_PLACE: Final = 44
_TABLE_SECTORS_OF_HEADER: Final = 109
# By each of its sectors, or more.
_TABLE_SECTOR_COVERS_BYTES: Final = 64 * 1024

_BEGIN: Final = 0x0809
_END: Final = 0x000A
_SHEET: Final = 0x0085
_ROW: Final = 0x0208
_DEFAULT_ROW: Final = 0x0225
_FORMULA: Final = 0x0006
_ERROR: Final = 0x0205
_ROW_IS_HIDDEN: Final = 0x20
_ROWS_ARE_HIDDEN: Final = 0x02
_RESULT_IS_ERROR: Final = 2
_ERRORS: Final = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A",
}  # fmt: skip


class XlsUnreadable(Exception):
    """The records can't be found, so it is not known which rows are hidden."""


class XlsNotes(NamedTuple):
    """What the records of a sheet say beside its values."""

    hidden_rows: int
    errors: list[tuple[int, int, ShownCell]]
    """Row and column, from 0, and what the cell shows; in order."""


def workbook_stream(file: IO[bytes]) -> IO[bytes]:
    """The stream of a compound file that has the workbook, in memory. Raises XlsUnreadable."""
    try:
        return _workbook_stream(file)
    # What olefile raises for a broken file is more than its own errors, which are OSErrors.
    except (OSError, struct.error, LookupError, StopIteration, ArithmeticError, ValueError, RecursionError) as error:
        raise XlsUnreadable from error


def notes(stream: IO[bytes], place: int) -> XlsNotes:
    """Read the records of the workbook's sheet at this place, from 0. Raises XlsUnreadable."""
    try:
        begins = [struct.unpack_from("<I", body)[0] for kind, body in _records(stream, 0) if kind == _SHEET]
        return _notes(_records(stream, begins[place]))
    except (struct.error, LookupError) as error:
        raise XlsUnreadable from error


def _notes(records: Iterator[tuple[int, bytes]]) -> XlsNotes:
    hidden, errors = 0, []
    for kind, body in records:
        code = None
        if kind == _ROW:
            hidden += bool(struct.unpack_from("<H", body, 12)[0] & _ROW_IS_HIDDEN)
        elif kind == _DEFAULT_ROW:
            hidden += bool(struct.unpack_from("<H", body)[0] & _ROWS_ARE_HIDDEN)
        elif kind == _ERROR and body[7]:
            code = body[6]
        elif kind == _FORMULA and body[12:14] == b"\xff\xff" and body[6] == _RESULT_IS_ERROR:
            code = body[8]
        if code is not None:
            row, column = struct.unpack_from("<HH", body)
            errors.append((row, column, ShownCell("error", _ERRORS.get(code, "#N/A"))))
    return XlsNotes(hidden, sorted(errors))


def _records(stream: IO[bytes], begin: int) -> Iterator[tuple[int, bytes]]:
    """The records of a part of the stream, without those of charts within it."""
    stream.seek(begin)
    # A part may lack its first record: python-calamine reads it all the same.
    depth, is_first = 1, True
    while True:
        kind, size = struct.unpack("<HH", stream.read(4))
        body = stream.read(size)
        depth += (kind == _BEGIN and not is_first) - (kind == _END)
        is_first = False
        if depth < 1:
            return
        if depth == 1:
            yield kind, body


def _workbook_stream(file: IO[bytes]) -> IO[bytes]:
    from olefile import OleFileIO

    bounded = _ReadOnce(file)
    sectors, lists = struct.unpack_from(_TABLE_SIZES, bounded.read(_HEADER_BYTES), _TABLE_SIZES_PLACE)
    # olefile copies the table for each of its sectors.
    if lists and sectors > _TABLE_SECTORS_OF_HEADER + 2 * bounded.size // _TABLE_SECTOR_COVERS_BYTES:
        raise XlsUnreadable
    with OleFileIO(bounded) as container:
        directory = container.directory_fp.getvalue()
        names = [
            directory[at : at + _NAME_BYTES].decode("utf-16-le", "replace").partition("\0")[0].lower()
            for at in range(0, len(directory), _ENTRY_BYTES)
        ]
        name = next(one for one in _STREAMS if one in names)
        # python-calamine takes the first of the directory, even one of an embedded or of a deleted workbook.
        if names.index(name) != next(one.sid for one in container.root.kids if one.name.lower() == name):
            raise XlsUnreadable
        stream: IO[bytes] = container.openstream(name)
        return stream


class _ReadOnce:
    """A file of which no more bytes are read than it has: chains of sectors that go in circles end in an error."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        # The header is read twice, and the last sector may be cut off.
        self._left = self.size + 2 * _SECTOR_BYTES_MAX

    def read(self, size: int) -> bytes:
        """Read some bytes."""
        self._left -= size
        if self._left < 0:
            raise XlsUnreadable
        return self._file.read(size)
