"""What the values of an XLS sheet do not tell: whether it has hidden rows, and which cells without a value are errors.

Reads the records of the sheet from the workbook's stream in the compound file, piece by piece.
"""

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader, BytesIO, RawIOBase
from typing import IO, Final, NamedTuple

from codewell.files.number_format import ShownCell

# Numbers from here on are no sectors.
_FREE: Final = 0xFFFFFFFA
_HEADER_BYTES: Final = 512
_ENTRY_BYTES: Final = 128
_ENTRY_IS_STREAM: Final = 2
# In an entry of the directory.
_BEGIN_PLACE: Final = 116
_BUFFER_BYTES: Final = 256 * 1024
_STREAMS: Final = ("Workbook", "Book")

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
    """The records can't be found."""


class XlsNotes(NamedTuple):
    """What the records of a sheet say beside its values."""

    hidden_rows: int
    errors: list[tuple[int, int, ShownCell]]
    """Row and column, from 0, and what the cell shows; in order."""


def notes(file: IO[bytes], place: int) -> XlsNotes:
    """Read the records of the workbook's sheet at this place, from 0. Raises XlsUnreadable."""
    try:
        stream = _workbook_stream(file)
        begins = [struct.unpack_from("<I", body)[0] for kind, body in _records(stream, 0) if kind == _SHEET]
        return _notes(_records(stream, begins[place]))
    except (struct.error, LookupError, StopIteration, OverflowError, ValueError) as error:
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
    depth = 0
    while True:
        kind, size = struct.unpack("<HH", stream.read(4))
        body = stream.read(size)
        depth += (kind == _BEGIN) - (kind == _END)
        if depth < 1:
            return
        if depth == 1:
            yield kind, body


def _workbook_stream(file: IO[bytes]) -> IO[bytes]:
    """The stream of a compound file that has the workbook."""
    header = file.read(_HEADER_BYTES)
    size = 1 << struct.unpack_from("<H", header, 30)[0]
    if size not in {512, 4096}:
        raise XlsUnreadable
    directory, small_max, small_table = struct.unpack_from("<I4xII", header, 48)
    table = array("I")

    def sector(place: int) -> bytes:
        file.seek((place + 1) * size)
        return file.read(size)

    def whole(first: int) -> bytes:
        return b"".join(map(sector, _chain(table, first)))

    for one in _table_sectors(header, sector):
        table.frombytes(sector(one))
    entries = whole(directory)
    begin, length = next(filter(None, (_find(entries, name) for name in _STREAMS)))
    if length >= small_max:
        return BufferedReader(_Sectors(file, _chain(table, begin), size), _BUFFER_BYTES)
    small = array("I", whole(small_table))
    all_small = whole(struct.unpack_from("<I", entries, _BEGIN_PLACE)[0])
    return BytesIO(b"".join(all_small[one * 64 : one * 64 + 64] for one in _chain(small, begin)))


def _table_sectors(header: bytes, sector: Callable[[int], bytes]) -> Iterator[int]:
    """The sectors of the table that says which sector follows another."""
    yield from (one for one in struct.unpack_from("<109I", header, 76) if one < _FREE)
    (following,) = struct.unpack_from("<I", header, 68)
    seen: set[int] = set()
    while following < _FREE:
        if following in seen:
            raise XlsUnreadable
        seen.add(following)
        *places, following = array("I", sector(following))
        yield from (one for one in places if one < _FREE)


def _chain(table: Sequence[int], first: int) -> list[int]:
    places: list[int] = []
    while first < _FREE:
        places.append(first)
        if len(places) > len(table):
            raise XlsUnreadable
        first = table[first]
    return places


def _find(entries: bytes, name: str) -> tuple[int, int] | None:
    """The first sector and the length of the stream of this name."""
    written = f"{name}\0".encode("utf-16-le")
    for at in range(0, len(entries), _ENTRY_BYTES):
        if entries[at : at + len(written)] == written and entries[at + 66] == _ENTRY_IS_STREAM:
            begin, length = struct.unpack_from("<II", entries, at + _BEGIN_PLACE)
            return begin, length
    return None


class _Sectors(RawIOBase):
    """Sectors of a file, one after the other."""

    def __init__(self, file: IO[bytes], places: Sequence[int], size: int) -> None:
        self._file = file
        self._places = places
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, counted from the begin."""
        if whence:
            raise ValueError(whence)
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        place, offset = divmod(self._at, self._size)
        if place >= len(self._places):
            return 0
        self._file.seek((self._places[place] + 1) * self._size + offset)
        found = self._file.read(min(len(buffer), self._size - offset))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
