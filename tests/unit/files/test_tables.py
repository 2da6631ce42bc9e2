"""What is found out about a file: its kind, encoding, delimiter, quotes, head and columns; and its rows."""

import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from codewell.errors import FileRefused, FileUncertain
from codewell.files.columns import Columns
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.imports.candidates import CandidateRules, Chunk
from codewell.imports.chunks import chunks
from schemas.imports import ImportOptions
from tests.support.workbooks import packed, workbook

RULES = CandidateRules(datetime(2026, 12, 1, tzinfo=UTC), frozenset(), frozenset(), False)
SMALL = FileLimits(bytes_max=1_000_000, columns_max=1_000)


def read(path: Path, limits: FileLimits = SMALL, **options: Any) -> tuple[Columns, list[list[str]]]:
    with open_table(path, scan(path, limits), ImportOptions(**options), limits) as table:
        return table.columns, list(table.rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


NAMES = "Code;Имя\n" + "".join(f"AB-{n};Пётр Сергеевич Смирнов\n" for n in range(20))
FRENCH = "Code;Nom\n" + "".join(f"AB-{n};Élodie Lefèvre à côté, déjà reçu\n" for n in range(20))
POLISH = "Code;Nazwa\n" + "".join(f"AB-{n};Łukasz Żółć, święta wiążą się źle\n" for n in range(20))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *[(NAMES, name) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1251")],
        (FRENCH, "cp1252"),
        (POLISH, "cp1250"),
        ("Code;Jméno\nA-1;Tomáš Dvořák\n", "cp1250"),
        ("Code;Name\nA-1;Müller, Größe 42\n", "cp1252"),
        ("Code;Nombre\nA-1;¿Qué mañana?\n", "cp1252"),
        ("Code;Имя\nA-1;Анна\n", "cp1251"),
    ],
)
def test_an_encoding_is_found_out(file: Path, text: str, encoding: str) -> None:
    if encoding in {"utf-16-le", "utf-16-be"}:
        # Without a mark it must be plain.
        text = "Code;Name\nAB-1;Peter\n"
    file.write_bytes(text.encode(encoding))
    columns, rows = read(file)
    assert columns.names == tuple(text.splitlines()[0].split(";"))
    assert rows[1] == text.splitlines()[1].split(";")


def test_an_encoding_that_is_said_counts(file: Path) -> None:
    file.write_bytes("Code;ł\nA;b\n".encode("cp1250"))
    assert read(file, encoding="windows-1250")[1] == [["Code", "ł"], ["A", "b"]]
    with pytest.raises(FileRefused, match="not valid utf-8:"):
        read(file, encoding="utf-8")


@pytest.mark.parametrize("name", ["utf-8", "utf-16-le", "utf-16-be", "UTF_16_LE", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_is_no_text_if_the_encoding_is_given(file: Path, name: str) -> None:
    for mark in ("", "\ufeff"):
        file.write_bytes(f"{mark}AB-1\nAB-2\n".encode(name))
        assert read(file, encoding=name, header=False)[1] == [["AB-1"], ["AB-2"]]


def test_a_byte_that_is_not_utf8_far_behind_is_found_before_anything_is_read(file: Path) -> None:
    file.write_bytes(b"code\n" + b"AB-12\n" * 100_000 + "Élodie à côté, déjà reçu\n".encode("cp1252"))
    with pytest.raises(FileRefused, match="which letters it has is not certain") as refused:
        read(file)
    assert "'Élodie à côté, déjà reçu' (windows-1252)" in str(refused.value)
    assert read(file, encoding="windows-1252")[1][-1] == ["Élodie à côté, déjà reçu"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimiter_is_found_out(file: Path, delimiter: str) -> None:
    row = delimiter.join(["A-{}", "x y", "1.5"])
    file.write_text("".join(row.format(n) + "\n" for n in range(5)))
    assert read(file, column="1")[1][3] == ["A-3", "x y", "1.5"]


def test_codes_with_a_delimiter_here_and_there_are_one_column_if_that_is_said(file: Path) -> None:
    file.write_text("A|B\nCD\nEF\nG;H\n")
    with pytest.raises(FileRefused, match="only some rows have one: choose comma, semicolon, tab, bar or none"):
        read(file)
    assert read(file, delimiter="none", header=False)[1] == [["A|B"], ["CD"], ["EF"], ["G;H"]]


def test_quotes(file: Path) -> None:
    file.write_text('code,b\r\n"A,1","say ""x"""\r\n"B\n2",y\r\n', newline="")
    assert read(file)[1][1:] == [["A,1", 'say "x"'], ["B\n2", "y"]]
    file.write_text("'A,1','x'\n'B,2','y'\n")
    assert read(file, column="1")[1] == [["A,1", "x"], ["B,2", "y"]]


@pytest.mark.parametrize(
    ("text", "options", "header", "code"),
    [
        ("Voucher code\nAB12\n", {}, True, 0),
        ("AB12\nCD34\n", {}, False, 0),
        ("Name,Code\nPeter,AB12\n", {}, True, 1),
        ("Wert\nAB12\nCD34\nEF56\n", {}, None, None),
        ("Wert\nAB12\nCD34\nEF56\n", {"header": True}, True, 0),
        ("SERIAL\nABCDEF\nGHIJKL\n", {}, None, None),
        ("PROMO-7F3K\nPROMO-9X2M\nPROMO-4T8W\n", {}, False, 0),
        ("PROMO-KKKK\nPROMO-9X2M\nPROMO-4T8W\nPROMO-4T8X\n", {}, False, 0),
        ("ABCD\nEFGH\nIJKL\nMNOP\n", {}, False, 0),
        ("x,y\nA,B\n", {"column": "y"}, True, 1),
        ("x,y\nA,B\n", {"column": "Y"}, True, 1),
        ("x,y\nA,B\n", {"column": "Y", "header": True}, True, 1),
        ("x,y\nA,B\n", {"column": "2"}, None, None),
        ("x,y\nA,B\n", {"column": "2", "header": False}, False, 1),
        ("A,B\nC,D\n", {"column": "2"}, False, 1),
        ("Code\nAB12\n", {"header": False}, False, 0),
        ("Wert,Was\nAB1,2\n", {"header": True}, None, None),
        ("code,code\nA,B\n", {"column": "code"}, None, None),
        ("A,B\n", {"column": "3"}, None, None),
        ("A,B\n", {"column": "0"}, None, None),
    ],
)
def test_the_head_and_the_column_of_codes(
    file: Path, text: str, options: dict[str, Any], header: bool | None, code: int | None
) -> None:
    file.write_text(text)
    if code is None:
        with pytest.raises(FileRefused, match="column"):
            read(file, **options)
        return
    columns, _ = read(file, **options)
    assert (columns.header is not None, columns.code) == (header, code)


@pytest.mark.parametrize("row", [99, 100])
def test_a_head_is_given_by_its_row_up_to_the_last_that_may_be_one(file: Path, row: int) -> None:
    file.write_text("Title,\n" * (row - 1) + "Name,Code\n" + "".join(f"A,B-{n}\n" for n in range(300)))
    columns, rows = read(file, header_row=row, delimiter=",")
    assert (columns.header, columns.first, columns.code) == (row - 1, row, 1)
    assert len(rows) == row + 300


def test_workbooks(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="Cannot tell which sheet holds the codes: name one of Codes, Other"):
        read(Path(__file__).with_name("codes.xls"))
    columns, rows = read(Path(__file__).with_name("codes.xls"), sheet="Codes")
    assert columns.names == ("Code", "Profile", "Until", "Discount")
    assert rows[1:3] == [["XLS-1", "p-1", "2099-01-31", "10"], ["123456", "", "", "12.5"]]
    assert read(Path(__file__).with_name("codes.xls"), sheet="Other")[1][2] == ["", "B3"]
    with pytest.raises(FileRefused, match="no sheet Third: the workbook has Codes, Other"):
        read(Path(__file__).with_name("codes.xls"), sheet="Third")
    path = workbook(tmp_path / "book", [["Code", "b"], ["A,1", "ü"], ["", "x"]])
    assert read(path)[1] == [["Code", "b"], ["A,1", "ü"], ["", "x"]]


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_are_refused(file: Path, seed: int) -> None:
    file.write_bytes(random.Random(seed).randbytes(50_000))
    with pytest.raises(FileRefused, match=r"neither text nor a workbook|encoding"):
        read(file)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_a_workbook_that_is_cut_off_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    whole = workbook(tmp_path / "book", [[f"C-{n}"] for n in range(500)])
    if kind == "xls":
        whole = Path(__file__).with_name("codes.xls")
    content = whole.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(content[: max(10, int(len(content) * share))])
    with pytest.raises(FileRefused):
        read(cut)


@pytest.mark.parametrize("seed", range(8))
def test_a_workbook_with_wrong_bytes_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(workbook(tmp_path / "book", [[f"C-{n}"] for n in range(500)]).read_bytes())
    for _ in range(20):
        content[chance.randrange(4, len(content))] = chance.randrange(256)
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    # What is still a workbook is read; nothing else may be raised.
    with suppress(FileRefused):
        assert len(read(broken)[1]) <= 500


def test_a_file_with_ten_thousand_columns_is_refused(file: Path) -> None:
    file.write_text(",".join(["A"] * 10_000) + "\n")
    with pytest.raises(FileRefused, match="10,000 columns, more than 1,000"):
        read(file)
    file.write_text("A\n" * 200 + ",".join(["A"] * 10_000) + "\n")
    with pytest.raises(FileRefused, match="Row 201 has 10,000 columns"), opened(file) as found:
        list(found)


def opened(file: Path, limits: FileLimits = SMALL) -> Any:
    options = ImportOptions(column="1", delimiter=",")

    from contextlib import contextmanager

    @contextmanager
    def found() -> Iterator[Iterator[Chunk]]:
        with open_table(file, scan(file, limits), options, limits) as table:
            yield chunks(table, RULES, limits, 0, 100, options)

    return found()


def test_a_cell_of_any_length_takes_no_memory(file: Path) -> None:
    with file.open("wb") as out:
        out.write(b"code\nA\n")
        # A gigabyte that takes no room on the disk.
        out.truncate(1 << 30)
    with pytest.raises(FileRefused, match="characters"):
        read(file, FileLimits(bytes_max=1 << 31), encoding="utf-8")
    with file.open("wb") as out:
        out.write(b'code\n"' + b"x\n" * 400_000)
    with pytest.raises(FileRefused, match="unclosed quote"):
        read(file)


def test_a_file_above_its_limit_is_refused(file: Path) -> None:
    file.write_bytes(b"A\n" * 501)
    with pytest.raises(FileRefused, match="more than 1,000 bytes"):
        scan(file, FileLimits(bytes_max=1_000))


def test_a_workbook_that_says_it_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = packed(tmp_path / "bomb", ['<row r="1"><c r="A1"><v>' + "0" * 3_000_000 + "</v></c></row>"])
    with pytest.raises(FileRefused, match="unpacks to 3,00"):
        read(bomb, FileLimits(unpacked_bytes_max=1_000_000))
    with pytest.raises(FileRefused, match="compressed unusually strongly"):
        read(bomb)


def test_a_bomb_behind_a_directory_that_lies_is_refused_within_its_limits(tmp_path: Path) -> None:
    rows = (
        f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{n}{"x" * 30_000}</t></is></c></row>' for n in range(1, 30_000)
    )
    bomb = packed(tmp_path / "bomb", rows)
    content = bytearray(bomb.read_bytes())
    # The unpacked size of the last entry in the directory.
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = (1_000).to_bytes(4, "little")
    bomb.write_bytes(content)
    with pytest.raises(FileRefused, match=r"512 MiB|cannot be read"):
        read(bomb, FileLimits())


def test_a_packed_file_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "z", "w") as packed_file:
        packed_file.writestr("codes.csv", "A\n")
    with pytest.raises(FileRefused, match="not a workbook"):
        read(tmp_path / "z")


def test_more_pairs_of_expiry_and_fields_than_blocks_may_be_are_refused(file: Path) -> None:
    file.write_text("code,until\n" + "".join(f"A{n},2099-01-01T00:{n // 60:02}:{n % 60:02}Z\n" for n in range(1_001)))
    with (
        open_table(file, scan(file, SMALL), ImportOptions(expiry_column="until"), SMALL) as table,
        pytest.raises(FileRefused, match="more than 1,000 different combinations of expiry and custom fields"),
    ):
        list(chunks(table, RULES, SMALL, 0, 100, ImportOptions(expiry_column="until")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("code\nAnna <a@b.de>\nBert <c@d.de>\n", "looks like mail addresses"),
        ("code\n+49 170 1234567\n+49 170 1234568\n", "looks like phone numbers"),
        ("code\n1999.99\n2999.99\n", "looks like amounts"),
        ("code\n10:00\n11:30:05\n", "looks like dates or times"),
        ("code\n1 Jan 2026\n2. März 2026\n", "looks like dates or times"),
        ("- AB1\n- AB2\n- AB3\n", "items of a list with marks"),
        ("1. AB1\n2. AB2\n3. AB3\n", "items of a list with marks"),
        ("codes:\n  - AB1\n  - AB2\n", "items of a list with marks"),
        ("code      name      \nAB-1      Anna      \nAB-2      Bert      \n", "columns that are aligned by spaces"),
        ("code;text\nde;hallo\nen;hello\nfr;salut\n", "codes of countries"),
        ("id,code,token\n1,200,abc\n2,404,def\n", "codes of countries"),
        ("code;gift card\nEUR;AAAA-1\nUSD;BBBB-2\n", "Several columns may hold"),
        ("code,serial\nSKU-1,AB-1111\nSKU-2,AB-1112\n", "Several columns may hold"),
        ("unique_code_1\nab12\nab13\n", "names the columns or holds a code"),
        ("Code2026\nAB12\nAB13\n", "names the columns or holds a code"),
    ],
)
def test_what_is_likely_no_code_is_asked_about(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(FileUncertain, match=says):
        read(file)


def test_a_first_line_of_spaces_is_no_drawn_table(file: Path) -> None:
    file.write_text("    \nAB1\nAB2\n")
    assert [row for row in read(file)[1] if any(map(str.strip, row))] == [["AB1"], ["AB2"]]


def test_a_cell_of_a_workbook_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "long.xlsx", [["A" * 50], ["B" * 51]])
    limits = FileLimits(cell_chars_max=50)
    with (
        pytest.raises(FileRefused, match="Row 2 has a cell of more than 50 characters: shorten it"),
        open_table(path, scan(path, limits), ImportOptions(header=False), limits),
    ):
        pass
