"""Huge pages are allowed for a run, and no more than before are left afterwards."""

from pathlib import Path

import pytest

from benchmarks.huge_pages import allowed_huge_pages


def test_pages_are_allowed_while_the_block_runs(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("7\n")

    with allowed_huge_pages(6_000, allowed) as is_allowed:
        assert is_allowed
        assert int(allowed.read_text()) == 7 + 3_300

    assert int(allowed.read_text()) == 7


def test_no_more_pages_stay_allowed_after_a_run_that_failed(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("0")

    with pytest.raises(KeyError), allowed_huge_pages(6_000, allowed):
        raise KeyError

    assert allowed.read_text() == "0"


def test_nothing_is_allowed_where_the_kernel_has_no_such_setting(tmp_path: Path) -> None:
    with allowed_huge_pages(6_000, tmp_path / "none") as is_allowed:
        assert not is_allowed

    assert list(tmp_path.iterdir()) == []
