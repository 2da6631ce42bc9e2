import pytest

from benchmarks.catalogue import Benchmark
from benchmarks.comparison import comparable, compare
from benchmarks.report import OF_CEILING, Report
from codewell.errors import CodewellError

ISSUE = Benchmark("issue", ("--requests=100",), ceilings=("no database",))
HTTP = Benchmark("http", ("--requests=100",), ceilings=("nothing",))
BROWSE = Benchmark("browse")


def report(**shares: float) -> Report:
    made = Report("issue", {})
    made.add("codewell", "requests/s", [1.0])
    for name, share in shares.items():
        made.add(name, OF_CEILING, [share])
    return made


def test_what_fell_by_more_than_a_fifth_is_named() -> None:
    now = report(fell=0.55, held=0.57, rose=0.9)
    found = list(compare("issue", {"fell": 0.7, "held": 0.7, "rose": 0.7}, now))

    assert [one.name for one in found if one.fell] == ["fell"]
    assert [round(one.change, 2) for one in found] == [-0.21, -0.19, 0.29]


def test_a_share_that_is_not_measured_any_more_fell() -> None:
    [found] = compare("issue", {"gone": 0.7}, report(new=0.7))

    assert (found.name, found.now, found.fell) == ("gone", None, True)


def test_those_without_a_ceiling_are_left_out() -> None:
    recorded = {"issue": report(share=0.7), "browse": report()}

    assert comparable([ISSUE, BROWSE], recorded) == {ISSUE: {"share": 0.7}}


def test_only_shares_of_a_ceiling_are_compared() -> None:
    assert report(share=0.7).shares() == {"share": 0.7}


@pytest.mark.parametrize("recorded", [{"issue": report(share=0.7)}, {"issue": report(share=0.7), "http": report()}])
def test_a_ceiling_without_a_recorded_share_is_a_clear_error(recorded: dict[str, Report]) -> None:
    with pytest.raises(CodewellError, match="No share of a ceiling is recorded of http: record it"):
        comparable([ISSUE, HTTP], recorded)


def test_nothing_to_compare_is_a_clear_error() -> None:
    with pytest.raises(CodewellError, match="No ceiling is measured by browse"):
        comparable([BROWSE], {"browse": report()})
