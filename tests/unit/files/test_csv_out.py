"""Cells and lines of CSV, one by one and many at once."""

import csv
import io
from pathlib import Path

import pytest

from codewell.files.csv_writer import csv_line, csv_lines, escape_formula, rewrite_copy_output
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.files.table import open_table
from schemas.imports import ImportOptions

RUN = ["=1+1", "+1", "-1", "@SUM(A1)", "\t1", "\rx", "\nx", " =1", "\u00a0=1", "\u3000+1",
       "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "=", "-"]  # fmt: skip
LEFT = ["", "a", "a=1", "1-1", " a", "'=1", "smFg-2497-DMPB", "{x}", "ü", "🎁=1", "a\n1", "x,=1", '"=1"', "#", "."]


@pytest.mark.parametrize("cell", RUN)
def test_what_a_spreadsheet_would_run_becomes_text(cell: str) -> None:
    assert escape_formula(cell) == "'" + cell


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("x;=1+1;y", "x;'=1+1;y"), ("x\t=1", "x\t'=1"), ("x\n=1", "x\n'=1"), ("x\r\n@y", "x\r'\n'@y"),
        ("x; \u00a0-1", "x;' \u00a0-1"), ('x;"=1+1;y', "x;'\"=1+1;y"), ("x;\uff1d1;+2", "x;'\uff1d1;'+2"),
        ("=1;=2", "'=1;'=2"), ("\t=1", "'\t'=1"), (";=1", ";'=1"), ("a;1;2", "a;1;2"), ("a-1;b=2", "a-1;b=2"),
    ],
)  # fmt: skip
def test_what_follows_another_separator_becomes_text(cell: str, safe: str) -> None:
    """A spreadsheet that separates at `;` or tab does not see the quotes of a cell that is not the line's first."""
    assert escape_formula(cell) == safe
    for separator in ";\t":
        line = csv_line(["A-1", cell, "end"])
        parts = [part for row in csv.reader(io.StringIO(line, newline=""), delimiter=separator) for part in row]
        assert not any(part.lstrip(' \u00a0"')[:1] in set("=+-@\uff1d") and part for part in parts), parts


@pytest.mark.parametrize("cell", LEFT)
def test_what_it_would_not_run_stays(cell: str) -> None:
    assert escape_formula(cell) == cell


def test_a_line_is_as_the_standard_has_it() -> None:
    assert csv_line(["a", "b,c", 'd"e', "", "f\ng"]) == 'a,"b,c","d""e",,"f\ng"\r\n'


def read(written: bytes) -> list[list[str]]:
    text = written.decode()
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("odd", [*RUN, *LEFT[1:]])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_many_lines_are_what_each_is_alone(odd: str, place: int, raw: bool) -> None:
    texts = [odd if n == place else f"A-{n}" for n in range(3)]
    one_by_one = "".join(csv_line([text, "pooled", ""], raw) for text in texts).encode()

    if not {"\r", "\n"} & set(odd):
        assert csv_lines(texts, ["pooled", ""], raw) == one_by_one
    for column in range(3):
        rows = [["A", "B", "C"] for _ in range(3)]
        rows[place][column] = odd
        # As Postgres writes it: quotes where they are needed, and bare line feeds.
        copied = "".join(csv_line(row, raw=True)[:-2] + "\n" for row in rows).encode()
        assert read(rewrite_copy_output(copied, raw)) == [
            row if raw else [escape_formula(cell) for cell in row] for row in rows
        ]


def test_no_texts_are_no_lines() -> None:
    assert csv_lines([], ["pooled"]) == b""


@pytest.mark.parametrize("cell", ["x;=1+1", "x\t=1+1"])
@pytest.mark.parametrize("raw", [True, False])
def test_what_other_spreadsheets_part_cells_at_is_quoted(cell: str, raw: bool) -> None:
    expected = f'"{cell if raw else escape_formula(cell)}",b\r\n'
    assert csv_line([cell, "b"], raw) == expected
    assert csv_lines([cell], ["b"], raw) == rewrite_copy_output(f"{cell},b\n".encode(), raw) == expected.encode()


def test_the_limit_of_a_cell_in_imports_is_none_of_exports(tmp_path: Path) -> None:
    file, limits = tmp_path / "codes.csv", FileLimits(cell_chars_max=100)
    file.write_text("Code\nAB-1\n")
    with open_table(file, scan(file, limits), ImportOptions(), limits) as table:
        assert list(table.rows) == [["Code"], ["AB-1"]]
    line = f'AB-1,"{"x" * 1_999},"\r\n'.encode()
    assert rewrite_copy_output(line.replace(b"\r", b"")) == line
