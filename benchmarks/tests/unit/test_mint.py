import os
import sys

import pytest

from benchmarks.mint import TEMPLATE, bench_mint, dice, plain_counters
from benchmarks.report import OF_CEILING
from codewell.errors import CodewellError
from codewell.minting.minter import Minter
from codewell.minting.template import Template


def test_dice_make_as_many_different_codes_as_asked_for() -> None:
    made = dice(500)

    assert len(made) == 500
    assert all(TEMPLATE.fits(code) for code in made)


def test_plain_counters_make_each_text_of_a_space_once() -> None:
    template = Template.parse("{[ab] 1}-{[012] 2}")
    texts = plain_counters(template)

    assert texts(0, 4) == ["a-00", "a-01", "a-02", "a-10"]
    made = texts(0, 10) + texts(10, template.space - 10)
    assert len(set(made)) == template.space
    assert all(template.fits(code) for code in made)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process on a core")
def test_all_are_measured_and_all_cores_are_given_back() -> None:
    cores = os.sched_getaffinity(0)
    said: list[str] = []

    report = bench_mint(20_000, 2, said.append)

    assert os.sched_getaffinity(0) == cores
    assert [result.unit for result in report.results] == ["codes/s"] * 6 + ["times"] * 2 + [OF_CEILING, "times"]
    assert all(0 < result.spread[0] <= result.rate <= result.spread[1] for result in report.results)
    assert len(said) == 12
    assert {goal.limit for goal in report.goals} == {3_000_000, 1_000_000}
    assert {"cores", "cpu", "memory_gb", "python", "postgres", "kafka"} <= report.machine.keys()


def test_codes_that_are_made_twice_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Minter, "mint", lambda _minter, _first, count: ["smFg-2497-DMPB"] * count)

    with pytest.raises(CodewellError, match="some are the same"):
        bench_mint(20_000, 1, lambda _: None)
