import json
from pathlib import Path

import pytest

from benchmarks.catalogue import BENCHMARKS, Benchmark, chosen
from benchmarks.commands import bench
from benchmarks.page import DOCS, Page
from benchmarks.report import OF_CEILING
from codewell.errors import CodewellError

_ROOT = Path(__file__).parents[3]


def test_every_benchmark_is_in_the_list_and_on_the_page() -> None:
    assert {one.name for one in BENCHMARKS} == set(bench.commands) - {"all", "check"}
    Page(_ROOT / DOCS)


@pytest.mark.parametrize("one", BENCHMARKS, ids=lambda one: one.name)
def test_its_command_takes_the_options_of_a_short_run(one: Benchmark) -> None:
    taken = bench.commands[one.name].make_context(one.name, [*one.short, "--repetitions=2", "--json"]).params

    assert (taken["repetitions"], taken["as_json"]) == (2, True)
    assert one.ceilings or not one.short


@pytest.mark.parametrize("one", [one for one in BENCHMARKS if one.short], ids=lambda one: one.name)
def test_a_share_to_compare_a_short_run_with_is_recorded(one: Benchmark) -> None:
    recorded = json.loads((_ROOT / DOCS / "benchmarks" / f"{one.name}.json").read_text())

    assert OF_CEILING in {result["unit"] for result in recorded["results"]}


def test_roles_follow_the_names_of_results() -> None:
    one = Benchmark("issue", peers=("usual build",), ceilings=("no database",))

    assert one.role("codewell / no database") == one.role("codewell") == "product"
    assert one.role("usual build: attach") == "peer"
    assert one.role("no database") == "ceiling"


def test_those_that_are_named_are_chosen_in_the_order_of_the_page() -> None:
    assert chosen(()) == list(BENCHMARKS)
    assert [one.name for one in chosen(("mint", "issue"))] == ["issue", "mint"]
    with pytest.raises(CodewellError, match="There is no benchmark mnit: name some of issue, mixed"):
        chosen(("mnit", "issue"))
