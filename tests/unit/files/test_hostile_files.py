"""Files made to fill the memory of whoever reads them, or to be read as something that is no text."""

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from codewell.errors import FileRefused
from codewell.files.limits import MIB, FileLimits
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.imports.candidates import CandidateRules, chunks
from schemas.imports import ImportOptions
from tests.support.workbooks import packed, workbook

RULES = CandidateRules(datetime(2026, 12, 1, tzinfo=UTC), frozenset(), frozenset(), False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def read(path: Path, options: ImportOptions | None = None) -> int:
    """How many rows it has."""
    with open_table(path, scan(path, FileLimits()), options or ImportOptions(), FileLimits()) as table:
        return sum(chunk.rows for chunk in chunks(table, RULES, FileLimits(), 0, 10_000))


@contextmanager
def within(mib: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib * MIB
    finally:
        tracemalloc.stop()


def test_a_row_that_goes_on_over_all_lines_is_refused(file: Path) -> None:
    file.write_bytes(b'"' + b'ab\n","' * 400_000)
    with within(24), pytest.raises(FileRefused, match="more than 1,000,000 characters: check for an unclosed quote"):
        read(file)


@pytest.mark.parametrize("before", [0, 500])
def test_rows_of_any_width_take_no_memory(file: Path, before: int) -> None:
    file.write_bytes(b"ab\n" * before + (b",".join([b"ab"] * 100_000) + b"\n") * 30)
    with within(32), pytest.raises(FileRefused, match=f"Row {before + 1} has 100,000 columns, more than 1,000"):
        read(file)


def test_rows_of_the_greatest_width_take_no_memory(file: Path) -> None:
    file.write_bytes((b",".join([b"ab"] * 1_000) + b"\n") * 3_000)
    with within(112):
        assert read(file) == 3_000


def test_long_rows_take_no_memory(file: Path) -> None:
    # One such letter makes each of the others in its text take four bytes.
    file.write_text((",".join(["x" * 30_000 + "\N{WRAPPED PRESENT}"] * 10) + "\n") * 120)
    with within(64):
        assert read(file) == 120


def test_a_packed_file_with_an_endless_directory_is_refused_unread(file: Path) -> None:
    size = 60_000 * 46
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, size, 4, 0)
    file.write_bytes(b"PK\x03\x04" + (b"PK\x01\x02" + bytes(42)) * 60_000 + end)
    with within(8), pytest.raises(FileRefused, match="directory is too long"):
        read(file)


@pytest.mark.parametrize(
    "name", ["utf-7", "UTF_7", "u7", "unicode_escape", "raw_unicode_escape", "idna", "punycode", "undefined", "rot13"]
)
def test_an_encoding_that_no_file_is_in_is_refused(file: Path, name: str) -> None:
    # Half a character in some of them.
    file.write_bytes(b"+2AA-\n\\ud800\n")
    with pytest.raises(FileRefused, match=f"no encoding {name}"):
        read(file, ImportOptions(encoding=name))


def test_names_of_sheets_without_end_are_cut(tmp_path: Path) -> None:
    import zipfile

    whole = workbook(tmp_path / "whole", [["A"]])
    sheets = "".join(
        f'<sheet name="{n}{"x" * 5_000}" sheetId="{n}" r:id="r1" xmlns:r="http://schemas.openxmlformats.org/'
        'officeDocument/2006/relationships"/>'
        for n in range(1, 100)
    )
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "many", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "xl/workbook.xml":
                content = b"<workbook><sheets>" + sheets.encode() + b"</sheets></workbook>"
            new.writestr(name, content)
    with pytest.raises(FileRefused, match="no sheet Other") as refused:
        read(tmp_path / "many", ImportOptions(sheet="Other"))
    assert len(str(refused.value)) < 3_000


@pytest.mark.parametrize(
    "row",
    [
        # A sheet is as large as its farthest cell says.
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        # Entities of entities are not unfolded.
        "<row r='2'><c r='A2' t='inlineStr'><is><t>&lol;</t></is></c></row>",
        "<row>" * 100_000,
        "<row r='18446744073709551615'><c r='ZZZZZZZZ18446744073709551615'><v>1</v></c></row>",
    ],
    ids=["far", "entity", "deep", "number"],
)
def test_a_sheet_that_is_not_what_it_seems_is_refused_or_read_within_the_limits(tmp_path: Path, row: str) -> None:
    bomb = packed(tmp_path / "bomb", ['<row r="1"><c r="A1"><v>1</v></c></row>', row])
    with within(32), pytest.raises(FileRefused, match=r"512 MiB|cannot be read|columns|compressed unusually strongly"):
        read(bomb)


def test_many_empty_rows_are_no_rows(tmp_path: Path) -> None:
    rows = ('<row r="1"><c r="A1"><v>1</v></c></row>', *(f'<row r="{n}"/>' for n in range(2, 200_000)))
    with within(32):
        assert read(packed(tmp_path / "empty", rows)) == 1


def test_an_xls_with_lying_sizes_is_refused_or_read_within_the_limits(tmp_path: Path) -> None:
    content = bytearray(Path(__file__).with_name("codes.xls").read_bytes())
    # How many sectors its table has, where its directory is, and the first of its tables.
    for place in (0x2C, 0x30, 0x44, 0x4C):
        lying = bytearray(content)
        lying[place : place + 4] = b"\xf0\xff\xff\x7f"
        path = tmp_path / f"lying-{place}"
        path.write_bytes(lying)
        with within(32), suppress(FileRefused):
            assert read(path) < 100
