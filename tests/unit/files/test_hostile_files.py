"""Files made to fill the memory of whoever reads them, or to be read as something that is no text."""

import re
import struct
import time
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
from codewell.imports.candidates import CandidateRules
from codewell.imports.chunks import chunks
from schemas.imports import ImportOptions
from tests.support.workbooks import packed, workbook

RULES = CandidateRules(datetime(2026, 12, 1, tzinfo=UTC), frozenset(), frozenset(), False)
COMMA = ImportOptions(delimiter=",", column="1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def read(path: Path, options: ImportOptions | None = None) -> int:
    """How many rows it has."""
    options = options or ImportOptions()
    with open_table(path, scan(path, FileLimits()), options, FileLimits()) as table:
        return sum(chunk.rows for chunk in chunks(table, RULES, FileLimits(), 0, 10_000, options))


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
        read(file, COMMA)


@pytest.mark.parametrize("before", [0, 500])
def test_rows_of_any_width_take_no_memory(file: Path, before: int) -> None:
    file.write_bytes(b"ab\n" * before + (b",".join([b"ab"] * 100_000) + b"\n") * 30)
    with within(32), pytest.raises(FileRefused, match=f"Row {before + 1} has 100,000 columns, more than 1,000"):
        read(file, COMMA)


def test_rows_of_the_greatest_width_take_no_memory(file: Path) -> None:
    file.write_bytes((b",".join([b"ab"] * 1_000) + b"\n") * 3_000)
    with within(112):
        assert read(file, COMMA) == 3_000


def test_long_rows_take_no_memory(file: Path) -> None:
    # One such letter makes each of the others in its text take four bytes.
    file.write_text((",".join(["x" * 30_000 + "\N{WRAPPED PRESENT}"] * 10) + "\n") * 120)
    with within(64):
        assert read(file, COMMA) == 120


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


def test_a_far_cell_is_refused_before_cells_are_made(tmp_path: Path) -> None:
    """A workbook of 1 KB whose cells A1 and CV160000 span 16 million."""
    bomb = packed(tmp_path / "bomb", ['<row r="1"><c r="A1"><v>1</v></c></row>', _far(160_000)])
    with pytest.raises(FileRefused, match="spans 160,000 rows and 100 columns, more than 10,000,000 cells"):
        read(bomb)
    assert _peak_mib(bomb) < 100


def test_a_declared_size_is_refused_before_cells_are_read(tmp_path: Path) -> None:
    whole = packed(tmp_path / "bomb", ['<row r="1"><c r="A1"><v>1</v></c></row>'])
    _rewrite(whole, "xl/worksheets/sheet1.xml", b"<sheetData>", b'<dimension ref="A1:CV160000"/><sheetData>')
    with pytest.raises(FileRefused, match="spans 160,000 rows"):
        read(whole)


def test_a_far_row_is_no_million_empty_rows(tmp_path: Path) -> None:
    rows = ['<row r="900000"><c r="A900000"/></row>', '<row r="900001"><c r="A900001" t="str"><v>x</v></c></row>']
    bomb = packed(tmp_path / "bomb", ['<row r="1"><c r="A1"><v>1</v></c></row>', *rows])
    with pytest.raises(FileRefused, match="Rows 2 to 900,000 of the sheet are empty"):
        read(bomb)


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/_rels/workbook.xml.rels"])
def test_entities_of_entities_are_refused_where_they_are_declared(tmp_path: Path, part: str) -> None:
    whole = workbook(tmp_path / "book", [["AB-1"]])
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    _rewrite(whole, part, b"<", f'<!DOCTYPE x [<!ENTITY l0 "lol">{lol}]><'.encode(), 1)
    with within(32), pytest.raises(FileRefused, match=r"declares a document type|cannot be read"):
        read(whole)
    assert _peak_mib(whole) < 100


def test_the_size_of_a_sheet_is_measured_whatever_the_case_of_its_name(tmp_path: Path) -> None:
    bomb = packed(tmp_path / "bomb", ['<row r="1"><c r="A1"><v>1</v></c></row>', _far(160_000)])
    _rewrite(bomb, "xl/_rels/workbook.xml.rels", b"sheet1.xml", b"SHEET1.xml")
    with pytest.raises(FileRefused, match="spans 160,000 rows"):
        read(bomb)


def test_a_sheet_whose_content_is_not_found_is_refused_unread(tmp_path: Path) -> None:
    whole = workbook(tmp_path / "book", [["AB-1"]])
    _rewrite(whole, "xl/_rels/workbook.xml.rels", b"worksheets/", b"../xl/worksheets/")
    with pytest.raises(FileRefused, match="a sheet has no content"):
        read(whole)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    """One library would measure the one, another read the other."""
    import zipfile

    whole = workbook(tmp_path / "book", [["AB-1"]])
    with zipfile.ZipFile(whole, "a") as book:
        book.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    with pytest.raises(FileRefused, match="two parts of one name"):
        read(whole)


def test_a_sheet_that_hides_all_rows_is_refused(tmp_path: Path) -> None:
    whole = workbook(tmp_path / "book", [["AB-1"]])
    hidden = b'<sheetFormatPr zeroHeight="1"/><sheetData>'
    _rewrite(whole, "xl/worksheets/sheet1.xml", b"<sheetData>", hidden)
    with pytest.raises(FileRefused, match="has hidden rows"):
        read(whole)


def test_a_row_without_height_is_a_hidden_one(tmp_path: Path) -> None:
    book = packed(tmp_path / "book", ['<row r="1" ht="0" customHeight="1"><c r="A1"><v>1</v></c></row>'])
    with pytest.raises(FileRefused, match="has hidden rows"):
        read(book)


def test_names_of_sheets_bring_no_escapes_to_a_terminal(tmp_path: Path) -> None:
    whole = workbook(tmp_path / "book", [["AB-1"]])
    _rewrite(whole, "xl/workbook.xml", b'name="Codes"', b'name="C&#x9b;31m&#10;"')
    with pytest.raises(FileRefused, match="no sheet Other") as refused:
        read(whole, ImportOptions(sheet="Other"))
    assert str(refused.value).isprintable()


def test_a_file_that_grows_while_it_is_read_is_refused(file: Path) -> None:
    file.write_text("".join(f"AB-{n}\n" for n in range(500)))
    scanned = scan(file, FileLimits())
    with open_table(file, scanned, ImportOptions(), FileLimits()) as table:
        rows = chunks(table, RULES, FileLimits(), 0, 100, ImportOptions())
        assert next(rows).rows == 100
        with file.open("a") as out:
            out.write("LATE-1\n")
        with pytest.raises(FileRefused, match="changed while it was read"):
            list(rows)


def test_a_file_that_is_replaced_after_its_scan_is_refused(file: Path) -> None:
    file.write_text("AB-1\nAB-2\n")
    scanned = scan(file, FileLimits())
    other = file.with_name("other")
    other.write_text("CD-1\nCD-2\n")
    other.replace(file)
    with (
        open_table(file, scanned, ImportOptions(), FileLimits()) as table,
        pytest.raises(FileRefused, match="changed while it was read"),
    ):
        list(table.rows)


def test_a_pipe_is_refused_unread(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileRefused, match="not a regular file"):
        scan(tmp_path / "pipe", FileLimits())


def _far(row: int) -> str:
    return f'<row r="{row}"><c r="CV{row}"><v>1</v></c></row>'


def _rewrite(path: Path, part: str, old: bytes, new: bytes, count: int = -1) -> None:
    """Replace bytes in a part of a workbook."""
    import zipfile

    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            book.writestr(name, content.replace(old, new, count) if name == part else content)


def _peak_mib(path: Path) -> float:
    """The memory that the child takes at most to refuse a workbook."""
    import subprocess
    import sys

    code = (
        "import atexit, pathlib, sys; from codewell.files.sheet_child import main; "
        "atexit.register(lambda: print(pathlib.Path('/proc/self/status').read_text())); main(*sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, str(path), "", "1000"]
    child = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode in {3, 4}
    return int(re.findall(r"VmHWM:\s+(\d+) kB", child.stdout)[0]) / 1024


def test_a_long_cell_does_not_hold_the_process(file: Path) -> None:
    """The square of its length once took some twenty seconds for each such cell, without a pause for other threads."""
    file.write_text("code\n" + ("x@" + "." * 32_000 + " b\n") * 3)
    before = time.process_time()
    with suppress(FileRefused):
        read(file)
    assert time.process_time() - before < 5


def test_json_that_is_too_deep_to_parse_is_refused(file: Path) -> None:
    file.write_text("[1," + "[" * 3_990 + "\n")
    # From Python 3.13 on it is not too deep, but ends too early.
    with pytest.raises(FileRefused, match=r"The file is JSON|Cannot tell which column"):
        read(file)
