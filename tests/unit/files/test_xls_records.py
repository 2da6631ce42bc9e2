"""Records of XLS files: hidden rows and errors, also in files that are made to mislead their reader."""

import random
import struct
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest

from codewell.errors import FileRefused, FileUncertain
from codewell.files.limits import FileLimits
from codewell.files.number_format import ShownCell
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.files.xls_records import XlsNotes, XlsUnreadable, notes, workbook_stream
from schemas.imports import ImportOptions

CORPUS = Path(__file__).with_name("corpus")
ERRORS = (CORPUS / "xlwt-errors.xls").read_bytes()
NONE = 0xFFFFFFFF
LAST = 0xFFFFFFFE
SECTOR = 512
# Of BIFF 8 and of BIFF 5.
VERSIONS = (0x0600, 0x0500)


def record(kind: int, *body: bytes) -> bytes:
    content = b"".join(body)
    return struct.pack("<HH", kind, len(content)) + content


def row(place: int, options: int) -> bytes:
    return record(0x0208, struct.pack("<8H", place, 0, 1, 255, 0, 0, options, 0))


def book(*records: bytes, opens: bool = True, ends: bool = True, version: int = 0x0600) -> bytes:
    """The stream of a workbook whose one sheet has these records and a code."""
    globals_begin, sheet_begin = (record(0x0809, struct.pack("<HH12x", version, kind)) for kind in (0x05, 0x10))
    head = globals_begin + record(0x0042, struct.pack("<H", 1200 if version == 0x0600 else 1252))
    name, text = (b"\1\0A", b"\4\0\0AB-1") if version == 0x0600 else (b"\1A", b"\4\0AB-1")
    head += record(0x0085, struct.pack("<IH", len(head) + 14 + len(name), 0), name) + record(0x000A)
    label = record(0x0204, bytes(6), text)
    return head + sheet_begin * opens + b"".join(records) + label + record(0x000A) * ends


class Entry(NamedTuple):
    """An entry of a compound file's directory, a storage if it has no stream, and how the next ones hang on it."""

    name: str
    stream: bytes = b""
    right: int = NONE
    child: int = NONE


def compound(*entries: Entry, top: int = 1) -> bytes:
    """A compound file of these entries after its root. Streams are long ones, in sectors of their own."""
    count = 1 + len(entries) // 4
    table = [0xFFFFFFFD, *range(2, 1 + count), LAST]
    directory, sectors = entry(Entry("Root Entry", child=top), 5, LAST, 0), b""
    for one in entries:
        stream = one.stream.ljust(max(4096, -(-len(one.stream) // SECTOR) * SECTOR), b"\0") if one.stream else b""
        directory += entry(one, 2 if stream else 1, len(table) if stream else LAST, len(stream))
        table += [*range(len(table) + 1, len(table) + len(stream) // SECTOR), LAST] if stream else []
        sectors += stream
    sizes = struct.pack("<6H10I", 62, 3, 0xFFFE, 9, 6, 0, 0, 0, 1, 1, 0, 4096, LAST, 0, LAST, 0)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(24, b"\0") + sizes + struct.pack("<I", 0)
    written = struct.pack(f"<{len(table)}I", *table)
    return (
        header.ljust(SECTOR, b"\xff")
        + written.ljust(SECTOR, b"\xff")
        + directory.ljust(count * SECTOR, b"\0")
        + sectors
    )


def entry(one: Entry, kind: int, begin: int, length: int) -> bytes:
    written = f"{one.name}\0".encode("utf-16-le")
    links = struct.pack("<HBBIII36x", len(written), kind, 1, NONE, one.right, one.child)
    return written.ljust(64, b"\0") + links + struct.pack("<II4x", begin, length)


def notes_of(content: bytes) -> XlsNotes:
    return notes(workbook_stream(BytesIO(content)), 0)


def codes(path: Path, content: bytes) -> list[str]:
    """As an import reads them."""
    path.write_bytes(content)
    with open_table(path, scan(path, FileLimits()), ImportOptions(column="1"), FileLimits()) as table:
        return [cells[0] for cells in table.rows]


def test_errors_and_hidden_rows_are_found() -> None:
    content = book(
        record(0x0225, struct.pack("<HH", 0, 255)),
        row(1, 0x20),
        row(2, 0x10),
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


def test_a_short_stream_is_found_within_the_stream_of_short_ones() -> None:
    stream = workbook_stream(BytesIO((CORPUS / "libreoffice.xls").read_bytes()))
    assert len(stream.read()) < 4096
    assert notes(stream, 0) == XlsNotes(0, [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["Workbook", "Book", "WORKBOOK"])
def test_a_workbook_without_records_of_rows_is_read(tmp_path: Path, name: str, version: int) -> None:
    assert codes(tmp_path / "codes.xls", compound(Entry(name, book(version=version)))) == ["AB-1"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("opens", [True, False])
def test_hidden_rows_are_found_in_each_version_and_without_a_first_record(
    tmp_path: Path, version: int, opens: bool
) -> None:
    content = compound(Entry("Book", book(row(0, 0x20), opens=opens, version=version)))
    with pytest.raises(FileUncertain, match="has hidden rows"):
        codes(tmp_path / "codes.xls", content)


def test_the_newer_workbook_of_two_is_looked_at(tmp_path: Path) -> None:
    content = compound(Entry("Book", book(row(0, 0x20), version=0x0500), right=2), Entry("Workbook", book()))
    assert codes(tmp_path / "codes.xls", content) == ["AB-1"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (8, b"\1"),
        (28, b"\xff\xfe"),
        (34, b"\1"),
        (40, b"\1"),
        (44, b"\xff\xff"),
        (52, b"\1"),
        (56, b"\0\x20"),
        (64, b"\1"),
    ],
    ids=["class", "byte-order", "reserved", "directory-size", "table-size", "transaction", "short-max", "short-size"],
)
def test_a_header_that_is_a_little_wrong_hinders_nothing(tmp_path: Path, place: int, value: bytes) -> None:
    content = bytearray(compound(Entry("Workbook", book())))
    content[place : place + len(value)] = value
    assert codes(tmp_path / "codes.xls", bytes(content)) == ["AB-1"]


EMBEDDED = Entry("MBD0", right=3, child=2), Entry("Workbook", book()), Entry("Workbook", book(row(0, 0x20)))


@pytest.mark.parametrize(
    "content",
    [
        # python-calamine would give the codes of the first.
        compound(*EMBEDDED),
        compound(Entry("Workbook", book()), Entry("Workbook", book(row(0, 0x20))), top=2),
        compound(Entry("Workbook", book()), top=NONE),
        # One record up to the end of the stream, so that no sheet ends.
        compound(Entry("Workbook", book(ends=False) + record(0x1234, bytes(4096 - 4 - len(book(ends=False)))))),
        compound(Entry("Workbook", book(record(0x0208, bytes(8))))),
    ],
    ids=["embedded-first", "deleted-first", "not-listed", "no-end", "short-row"],
)
def test_codes_that_may_be_of_hidden_rows_are_not_read(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileUncertain, match="cannot be told which rows of the workbook are hidden: save it as XLSX"):
        codes(tmp_path / "codes.xls", content)


def test_a_workbook_with_another_one_embedded_is_read(tmp_path: Path) -> None:
    embedded = compound(
        Entry("Workbook", book(), right=2), Entry("MBD0", child=3), Entry("Workbook", book(row(0, 0x20)))
    )
    assert codes(tmp_path / "codes.xls", embedded) == ["AB-1"]


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = compound(Entry("Workbook", book(row(0, 0) * 400)))
    for size in (600, 1024, 1600, 2500, 5000):
        with pytest.raises(FileRefused):
            codes(tmp_path / "codes.xls", content[:size])


@pytest.mark.parametrize("seed", range(40))
def test_wrong_bytes_end_in_notes_or_in_a_refusal(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    content = bytearray(ERRORS)
    for _ in range(3):
        # Places in the header, in the table of sectors and in the directory.
        place = chance.choice([chance.randrange(24, 90), chance.randrange(len(content))])
        content[place] = chance.choice([0, 1, 2, 0xFF, chance.randrange(256)])
    with suppress(XlsUnreadable):
        assert notes_of(bytes(content)).hidden_rows < 100
    assert capfd.readouterr() == ("", "")


def circular(kind: str) -> bytes:
    content = bytearray(compound(Entry("Workbook", book())))
    begin, length = 2 * SECTOR + 128 + 116, 2 * SECTOR + 128 + 120
    match kind:
        case "table":
            # Each list of the table's sectors names itself as the next one, and the table many times.
            content += struct.pack("<I", 0) * 127 + struct.pack("<I", len(content) // SECTOR - 1)
            content[44:48] = struct.pack("<I", 109 + 127 * 1_000_000)
            content[68:76] = struct.pack("<II", len(content) // SECTOR - 2, 1_000_000)
        case "directory":
            content[SECTOR + 4 : SECTOR + 8] = struct.pack("<I", 1)
        case "stream":
            content[SECTOR + 8 : SECTOR + 12] = struct.pack("<I", 2)
            content[length : length + 4] = struct.pack("<I", 0xFFFFFFF0)
        case "short-streams":
            content[60:68] = struct.pack("<II", 2, 0xFFFFFF)
            content[SECTOR + 8 : SECTOR + 12] = struct.pack("<I", 2)
            content[begin : begin + 8] = struct.pack("<II", 2, 4000)
        case "siblings":
            content[2 * SECTOR + 128 + 68 : 2 * SECTOR + 128 + 80] = struct.pack("<III", 1, 1, 1)
    return bytes(content)


@pytest.mark.parametrize("kind", ["table", "stream", "short-streams"])
def test_sectors_that_go_in_circles_are_refused_at_once(kind: str) -> None:
    before = time.process_time()
    with pytest.raises(XlsUnreadable):
        notes_of(circular(kind))
    assert time.process_time() - before < 1


@pytest.mark.parametrize("kind", ["directory", "siblings"])
def test_a_directory_that_goes_in_circles_has_each_entry_once(kind: str) -> None:
    assert notes_of(circular(kind)) == XlsNotes(0, [])


def test_a_table_that_is_far_longer_than_the_file_is_refused_at_once() -> None:
    """olefile copies the table for each of its sectors: these would take minutes."""
    lists = 4_000
    content = bytearray(compound(Entry("Workbook", book())))
    first = len(content) // SECTOR - 1
    for place in range(lists):
        content += struct.pack("<128I", *[0] * 127, LAST if place == lists - 1 else first + place + 1)
    content[44:48] = struct.pack("<I", 109 + 127 * lists)
    content[68:76] = struct.pack("<II", first, lists)
    before = time.process_time()
    with pytest.raises(XlsUnreadable):
        notes_of(bytes(content))
    assert time.process_time() - before < 1
