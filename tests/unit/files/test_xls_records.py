"""Records of XLS files: hidden rows and errors, also in files that are made to mislead their reader."""

import random
import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from codewell.files.number_format import ShownCell
from codewell.files.xls_records import XlsUnreadable, notes

CORPUS = Path(__file__).with_name("corpus")
ERRORS = (CORPUS / "xlwt-errors.xls").read_bytes()
NONE = 0xFFFFFFFF
LAST = 0xFFFFFFFE


def record(kind: int, *body: bytes) -> bytes:
    content = b"".join(body)
    return struct.pack("<HH", kind, len(content)) + content


def book(*records: bytes) -> bytes:
    """A compound file whose workbook's stream is short, and so within the stream of short ones."""
    begin = record(0x0809, bytes(16))
    sheet = begin + b"".join(records) + record(0x000A)
    head = begin + record(0x0085, struct.pack("<I", 64), b"\0\0\1\0A") + record(0x000A)
    stream = head.ljust(64, b"\0") + sheet
    small = -(-len(stream) // 64)
    table = [0xFFFFFFFD, LAST, LAST, *range(4, 3 + -(-len(stream) // 512)), LAST]
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(30, b"\0") + struct.pack("<H", 9)
    header = header.ljust(48, b"\0") + struct.pack("<I4xIIIII", 1, 4096, 2, 1, LAST, 0) + struct.pack("<I", 0)
    return b"".join(
        part.ljust(-(-len(part) // 512) * 512, fill)
        for part, fill in (
            (header, b"\xff"),
            (struct.pack(f"<{len(table)}I", *table), b"\xff"),
            (entry("Root Entry", 5, 3, small * 64) + entry("Workbook", 2, 0, len(stream)), b"\0"),
            (struct.pack(f"<{small}I", *range(1, small), LAST), b"\xff"),
            (stream, b"\0"),
        )
    )


def entry(name: str, kind: int, begin: int, length: int) -> bytes:
    written = f"{name}\0".encode("utf-16-le")
    return written.ljust(64, b"\0") + struct.pack("<HB49xII4x", len(written), kind, begin, length)


def test_errors_and_hidden_rows_are_found_in_a_short_stream() -> None:
    content = book(
        record(0x0225, struct.pack("<HH", 0, 255)),
        record(0x0208, struct.pack("<HHHHHHHH", 1, 0, 1, 255, 0, 0, 0x20, 0)),
        record(0x0208, struct.pack("<HHHHHHHH", 2, 0, 1, 255, 0, 0, 0x10, 0)),
        record(0x0205, struct.pack("<HHHBB", 4, 1, 0, 0x07, 1)),
        record(0x0205, struct.pack("<HHHBB", 4, 2, 0, 1, 0)),
        # A chart within the sheet.
        record(0x0809, bytes(16)) + record(0x0205, struct.pack("<HHHBB", 9, 9, 0, 0x07, 1)) + record(0x000A),
        record(0x0006, struct.pack("<HHHBBBB2xH", 3, 0, 0, 2, 0, 0x2A, 0, 0xFFFF), bytes(8)),
        record(0x0006, struct.pack("<HHHBBBB2xH", 5, 0, 0, 0, 0, 0, 0, 0xFFFF), bytes(8)),
        record(0x0006, struct.pack("<HHHd", 6, 0, 0, 2.0), bytes(8)),
    )
    found = notes(BytesIO(content), 0)
    assert found.hidden_rows == 1
    assert found.errors == [(3, 0, ShownCell("error", "#N/A")), (4, 1, ShownCell("error", "#DIV/0!"))]


def test_a_sheet_whose_rows_are_hidden_by_default_has_hidden_rows() -> None:
    assert notes(BytesIO(book(record(0x0225, struct.pack("<HH", 2, 255)))), 0).hidden_rows == 1


@pytest.mark.parametrize("seed", range(40))
def test_wrong_bytes_end_in_notes_or_in_a_refusal(seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(ERRORS)
    for _ in range(3):
        # Places in the header, in the table of sectors and in the directory.
        place = chance.choice([chance.randrange(24, 90), chance.randrange(len(content))])
        content[place] = chance.choice([0, 1, 2, 0xFF, chance.randrange(256)])
    with suppress(XlsUnreadable):
        assert notes(BytesIO(bytes(content)), 0).hidden_rows < 100


def test_a_table_that_goes_in_circles_is_refused() -> None:
    content = bytearray(book())
    # The next part of the list of the table's sectors is a sector that says so itself.
    content[68:76] = struct.pack("<II", 3, NONE)
    content[4 * 512 : 5 * 512] = struct.pack("<I", NONE) * 127 + struct.pack("<I", 3)
    with pytest.raises(XlsUnreadable):
        notes(BytesIO(bytes(content)), 0)
    content = bytearray(book())
    # A chain of the directory.
    content[512 + 4 : 512 + 8] = struct.pack("<I", 1)
    with pytest.raises(XlsUnreadable):
        notes(BytesIO(bytes(content)), 0)
