"""What is found out about a file: its kind, encoding, delimiter, quotes, head and columns; and its rows."""

import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from codewell.errors import FileRefused
from codewell.files.columns import Columns
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.imports.candidates import CandidateRules, Chunk, chunks, expiry
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
    file.write_bytes("Code;ł\n".encode("cp1250"))
    assert read(file, encoding="windows-1250")[1] == [["Code", "ł"]]
    with pytest.raises(FileRefused, match="not valid utf-8:"):
        read(file, encoding="utf-8")


def test_a_byte_that_is_not_utf8_far_behind_is_found_before_anything_is_read(file: Path) -> None:
    file.write_bytes(b"code\n" + b"AB-12\n" * 100_000 + "Élodie à côté, déjà reçu\n".encode("cp1252"))
    assert read(file)[1][-1] == ["Élodie à côté", " déjà reçu"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimiter_is_found_out(file: Path, delimiter: str) -> None:
    row = delimiter.join(["A-{}", "x y", "1.5"])
    file.write_text("".join(row.format(n) + "\n" for n in range(5)))
    assert read(file)[1][3] == ["A-3", "x y", "1.5"]


def test_codes_with_a_delimiter_here_and_there_are_one_column(file: Path) -> None:
    file.write_text("A|B\nCD\nEF\nG;H\n")
    assert read(file)[1] == [["A|B"], ["CD"], ["EF"], ["G;H"]]


def test_quotes(file: Path) -> None:
    file.write_text('code,b\r\n"A,1","say ""x"""\r\n"B\n2",y\r\n', newline="")
    assert read(file)[1][1:] == [["A,1", 'say "x"'], ["B\n2", "y"]]
    file.write_text("'A,1','x'\n'B,2','y'\n")
    assert read(file)[1] == [["A,1", "x"], ["B,2", "y"]]


@pytest.mark.parametrize(
    ("text", "options", "header", "code"),
    [
        ("Voucher code\nAB12\n", {}, True, 0),
        ("AB12\nCD34\n", {}, False, 0),
        ("Name,Code\nPeter,AB12\n", {}, True, 1),
        ("Wert\nAB12\nCD34\nEF56\n", {}, True, 0),
        ("ABCD\nEFGH\nIJKL\nMNOP\n", {}, False, 0),
        ("x,y\nA,B\n", {"column": "y"}, True, 1),
        ("x,y\nA,B\n", {"column": "Y"}, False, None),
        ("x,y\nA,B\n", {"column": "Y", "header": True}, True, 1),
        ("x,y\nA,B\n", {"column": "2"}, False, 1),
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
    assert (columns.header, columns.code) == (header, code)


def test_workbooks(tmp_path: Path) -> None:
    columns, rows = read(Path(__file__).with_name("codes.xls"))
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
    file.write_text("A,B\n" * 200 + ",".join(["A"] * 10_000) + "\n")
    with pytest.raises(FileRefused, match="Row 201 has 10,000 columns"), opened(file) as found:
        list(found)


def opened(file: Path, limits: FileLimits = SMALL) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def found() -> Iterator[Iterator[Chunk]]:
        with open_table(file, scan(file, limits), ImportOptions(), limits) as table:
            yield chunks(table, RULES, limits, 0, 100)

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


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2027-01-31", "2027-02-01T00:00:00+00:00"),
        ("2027-01-31T10:00:00Z", "2027-01-31T10:00:00+00:00"),
        ("2027-01-31T10:00:00+02:00", "2027-01-31T08:00:00+00:00"),
        ("2027-01-31T10:00:00", None),
        ("2027-02-30", None),
        ("31.01.2027", None),
        ("never", None),
        ("9999-12-31", None),
    ],
)
def test_an_expiry(written: str, moment: str | None) -> None:
    found = expiry(written)
    assert (None if found is None else found.isoformat()) == moment


def test_more_pairs_of_expiry_and_fields_than_blocks_may_be_are_refused(file: Path) -> None:
    file.write_text("code,until\n" + "".join(f"A{n},2099-01-01T00:{n // 60:02}:{n % 60:02}Z\n" for n in range(1_001)))
    with (
        open_table(file, scan(file, SMALL), ImportOptions(expiry_column="until"), SMALL) as table,
        pytest.raises(FileRefused, match="more than 1,000 different combinations of expiry and custom fields"),
    ):
        list(chunks(table, RULES, SMALL, 0, 100))
