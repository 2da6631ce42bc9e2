"""Rows of plain files are taken many at once: what comes of them is what comes of one row after the other."""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codewell.errors import FileRefused
from codewell.files import lines, table, text_rows
from codewell.files.limits import FileLimits
from codewell.files.lines import TextLines
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.files.text_rows import TextRows
from codewell.imports.candidates import CandidateRules, UsualCandidates
from codewell.imports.chunks import chunks
from schemas.imports import ImportOptions

RULES = CandidateRules(datetime(2026, 12, 1, tzinfo=UTC), frozenset(), frozenset(), False)
SMALL = FileLimits(cell_chars_max=150)
# Each of them alone is no usual row.
ODD = [
    "", " A", "A ", "A\tB", "=A", '="A"', "+A", "1.5E+12", "NULL", "-", "Code", "A,B", '"A"', '"A\nB"', "'A'", 'A"B',
    "=SUM(A1)", "A\0", "A\rB", "A\r\r", "A\x0bB", "A\x85B", "A\u2028B", "A\u00a0B", "A\u200bB", "A" * 151, "A" * 201,
    "AB-1", "ab-1",
]  # fmt: skip
USUAL = st.one_of(
    st.integers(0, 50).map("AB-{}".format), st.text("ABab09-_\u00e9\u0416\u4e00#", min_size=1, max_size=6)
)
ROWS = st.lists(st.one_of(USUAL, USUAL, USUAL, st.sampled_from(ODD)), max_size=40)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows") / "codes.csv"


def found(file: Path, after: int, size: int, limits: FileLimits, **options: Any) -> list[Any]:
    """All that comes of the file's rows, ended by its refusal."""
    given = ImportOptions(header=True, column="Code", **options)
    got: list[Any] = []
    try:
        with open_table(file, scan(file, limits), given, limits) as opened:
            got.extend(
                chunk._replace(candidates=list(chunk.candidates), bad=sorted(chunk.bad))
                for chunk in chunks(opened, RULES, limits, after, size, given)
            )
    except FileRefused as refused:
        got.append(str(refused))
    return got


def one_by_one(_: TextRows, count: int, are_usual: Any) -> list[str]:
    return []


@given(
    ROWS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.integers(0, 12), st.integers(1, 9),
    st.integers(1, 12), st.sampled_from([FileLimits(), SMALL]), st.sampled_from([None, ",", ";"]),
)  # fmt: skip
def test_rows_come_to_the_same_many_at_once(
    file: Path, rows: list[str], end: str, is_ended: bool, after: int, size: int, piece: int, limits: FileLimits,
    delimiter: str | None,
) -> None:  # fmt: skip
    text = end.join(["Code", "AB-1000", "AB-1001", *rows]) + end * is_ended
    file.write_bytes(text.encode())
    options = {"delimiter": delimiter or "none"}
    with patch.object(table, "_FIRST_ROWS", 2), patch.object(lines, "_PIECE_CHARS", piece):
        got = found(file, after, size, limits, **options)
        with patch.object(TextRows, "whole", one_by_one):
            assert got == found(file, after, size, limits, **options)


@pytest.mark.parametrize("odd", ODD)
def test_no_other_row_is_taken_for_a_usual_one(file: Path, odd: str) -> None:
    file.write_bytes(f"Code\nAB-1\nAB-2\n{odd}\nAB-3".encode())
    for delimiter, limits in product(("none", ","), (FileLimits(), SMALL)):
        with patch.object(table, "_FIRST_ROWS", 3):
            got = found(file, 0, 2, limits, delimiter=delimiter)
            with patch.object(TextRows, "whole", one_by_one):
                assert got == found(file, 0, 2, limits, delimiter=delimiter)


@pytest.mark.parametrize("head", ["Note,Code", "Code,Off"])
def test_rows_without_a_cell_that_counts_are_not_usual(file: Path, head: str) -> None:
    file.write_text(f"{head}\n1,AB-1\n2,AB-2\nAB-3\nAB-4\n")
    options = ImportOptions(column="Code", delimiter=",", field_columns={} if head == "Note,Code" else {"off": "Off"})
    rules = RULES._replace(required=frozenset(options.field_columns))
    with (
        patch.object(table, "_FIRST_ROWS", 3),
        open_table(file, scan(file, FileLimits()), options, FileLimits()) as opened,
    ):
        last = list(chunks(opened, rules, FileLimits(), 0, 2, options))[-1]
    assert [one.row for one in last.bad] == [4, 5]


def test_a_row_after_many_usual_ones_has_its_own_limit(file: Path) -> None:
    file.write_text("Code\n" + "".join(f"AB-{n}\n" for n in range(999)) + '"CD"\n')
    with patch.object(text_rows, "ROW_CHARS_MAX", 4_000):
        got = found(file, 0, 100, FileLimits(), delimiter="none")
    assert got[-1].candidates[-1].text == "CD"


def test_case_variants_are_those_of_earlier_rows(file: Path) -> None:
    file.write_text("Ab\nCd\naB\nEf\n")
    with open_table(file, scan(file, FileLimits()), ImportOptions(header=False), FileLimits()) as opened:
        got = list(chunks(opened, RULES, FileLimits(), 0, 2, ImportOptions(header=False)))
    assert [chunk.case_variants for chunk in got] == [0, 1]


def test_usual_rows_are_taken_many_at_once(file: Path) -> None:
    texts = [f"AB-{n}" for n in range(10_300)]
    file.write_text("".join(f"{text}\r\n" for text in ["Code", *texts]))
    with open_table(file, scan(file, FileLimits()), ImportOptions(), FileLimits()) as opened:
        got = list(chunks(opened, RULES, FileLimits(), 0, 5_000, ImportOptions()))
    assert [isinstance(chunk.candidates, UsualCandidates) for chunk in got] == [False, True, True]
    assert [one.text for chunk in got for one in chunk.candidates] == texts
    assert [one.row for chunk in got for one in chunk.candidates] == list(range(2, 10_302))
    assert [one.row for one in got[1].candidates[1:3]] == [5_003, 5_004]


@given(st.text("AB\r\n", max_size=60), st.integers(1, 9), st.lists(st.tuples(st.integers(1, 6), st.booleans())))
def test_lines_are_seen_as_they_are_given(file: Path, text: str, piece: int, steps: list[tuple[int, bool]]) -> None:
    """By turns one by one and many at once, of which some are taken."""
    file.write_bytes(text.encode())
    given: list[str] = []
    with patch.object(lines, "_PIECE_CHARS", piece):
        opened = TextLines(file, "utf-8", FileLimits())
        for count, is_taken in steps:
            seen, apart = opened.seen(count)
            assert seen.count("\n") == len(apart) - (not seen.endswith("\n") and seen != "")
            assert "\n".join(apart) == seen.removesuffix("\n")
            assert len(apart) <= count
            if is_taken:
                opened.skip(len(seen))
                given += StringIO(seen, newline="")
            elif line := next(opened, ""):
                given.append(line)
        given += _all(opened)
        opened.close()
    assert given == list(StringIO(text, newline=""))


def _all(opened: TextLines) -> Iterator[str]:
    while line := next(opened, ""):
        yield line
