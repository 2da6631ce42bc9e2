"""Errors and formulas whose result a workbook lacks: they are no empty cells, and their rows are bad ones."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.imports.candidates import BadRow, Candidate, CandidateRules
from codewell.imports.chunks import chunks
from schemas.imports import ImportOptions
from tests.support.workbooks import packed

RULES = CandidateRules(datetime(2026, 12, 1, tzinfo=UTC), frozenset({"off"}), frozenset(), False)
ERROR = ('t="e"', "<v>#N/A</v>")
# As spreadsheets, openpyxl and others write them.
RESULT_MISSING = [("", "<f>A1&amp;1</f><v></v>"), ("", "<f>A1&amp;1</f><v/>"), ('t="str"', "<f>A1&amp;1</f>")]
WITHOUT_VALUE = [ERROR, ("", '<f t="shared" si="0"/>'), *RESULT_MISSING]
Cell = str | tuple[str, str]


def book(path: Path, *rows: list[Cell]) -> Path:
    return packed(
        path / "book.xlsx",
        (
            f'<row r="{n}">{"".join(_cell(f"{chr(65 + at)}{n}", cell) for at, cell in enumerate(row))}</row>'
            for n, row in enumerate(rows, 1)
        ),
    )


def _cell(place: str, cell: Cell) -> str:
    if isinstance(cell, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{cell}</t></is></c>' if cell else ""
    return f'<c r="{place}" {cell[0]}>{cell[1]}</c>'


def read(path: Path, **options: Any) -> tuple[list[Candidate], list[BadRow]]:
    given, limits = ImportOptions(**options), FileLimits()
    with open_table(path, scan(path, limits), given, limits) as table:
        found = list(chunks(table, RULES, limits, 0, 100, given))
    return [one for chunk in found for one in chunk.candidates], [one for chunk in found for one in chunk.bad]


@pytest.mark.parametrize("cell", WITHOUT_VALUE)
def test_they_are_listed_as_bad_rows_wherever_they_stand(tmp_path: Path, cell: Cell) -> None:
    good, bad = read(book(tmp_path, ["Code"], ["AB-1"], [cell], ["AB-2"], [cell], [], [cell]))
    reason = "placeholder" if cell == ERROR else "formula"
    assert [(one.row, one.text) for one in good] == [(2, "AB-1"), (4, "AB-2")]
    assert sorted((one.row, one.reason) for one in bad) == [(3, reason), (5, reason), (6, "empty"), (7, reason)]


@pytest.mark.parametrize("cell", WITHOUT_VALUE)
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"expiry_column": "More"}, "bad_expiry"),
        ({"profile_column": "More"}, "bad_profile"),
        ({"field_columns": {"off": "More"}}, "bad_field"),
    ],
)
def test_they_are_no_missing_expiry_profile_or_field(
    tmp_path: Path, cell: Cell, options: dict[str, Any], reason: str
) -> None:
    good, bad = read(book(tmp_path, ["Code", "More"], ["AB-1"], ["AB-2", cell]), column="Code", **options)
    assert [one.text for one in good] == ["AB-1"]
    assert [(one.row, one.reason) for one in bad] == [(3, reason)]


def test_they_are_shown_in_the_list_of_bad_rows(tmp_path: Path) -> None:
    _, bad = read(book(tmp_path, ["Code"], ["AB-1"], [ERROR], [RESULT_MISSING[0]]))
    assert [(one.text, one.detail) for one in bad] == [
        ("#N/A", "#N/A is an error in place of a value: correct it"),
        (
            "=A1&1",
            "=A1&1 is a formula whose result the file lacks: open the file in a spreadsheet and save it again",
        ),
    ]


def test_a_result_without_characters_is_an_empty_cell(tmp_path: Path) -> None:
    blank = ('t="str"', '<f>IF(A2="","",A2)</f><v></v>')
    good, bad = read(
        book(tmp_path, ["Code", "Until"], ["AB-1", blank], ["AB-2", "2099-01-31"], [blank]), expiry_column="Until"
    )
    assert [(one.text, one.kind.expires_at is None) for one in good] == [("AB-1", True), ("AB-2", False)]
    assert bad == []


def test_a_sheet_of_nothing_else_is_not_passed_over(tmp_path: Path) -> None:
    import zipfile

    path = book(tmp_path, ["Code"], ["AB-1"])
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name).decode() for name in old.namelist()}
    formulas = '<worksheet><sheetData><row r="1"><c r="A1"><f>Codes!A1</f></c></row></sheetData></worksheet>'
    parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace(
        "</sheets>", '<sheet name="Other" sheetId="2" r:id="r2"/></sheets>'
    )
    relations = "xl/_rels/workbook.xml.rels"
    own = parts[relations][parts[relations].index("<Relationship ") : parts[relations].index("</Relationships>")]
    other = own.replace("r1", "r2").replace("sheet1", "sheet2")
    parts[relations] = parts[relations].replace("</Relationships>", f"{other}</Relationships>")
    with zipfile.ZipFile(path, "w") as new:
        for name, text in {**parts, "xl/worksheets/sheet2.xml": formulas}.items():
            new.writestr(name, text)
    with pytest.raises(FileRefused, match="Cannot tell which sheet holds the codes: name one of Codes, Other"):
        read(path)
