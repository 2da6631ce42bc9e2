import json
from pathlib import Path

import pytest

from benchmarks.catalogue import BENCHMARKS, Benchmark
from benchmarks.page import REGIONS, Page, with_regions
from benchmarks.report import OF_CEILING, Goal, Report
from codewell.errors import CodewellError

ISSUE = BENCHMARKS[0]


def report(bench: str, machine: dict[str, object], rate: float = 30_000.0) -> Report:
    made = Report(bench, machine)
    made.add("codewell", "requests/s", [rate, rate / 2, rate * 2])
    made.add("no database", "requests/s", [50_000.0])
    made.add("codewell / no database", OF_CEILING, [rate / 50_000])
    made.goals.append(Goal("requests/s of one issuer", rate, 25_000))
    return made


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A page with a region for each benchmark, and prose around them."""
    lines = ["# Benchmarks", "By hand, above."]
    for name in REGIONS:
        lines += [f"<!-- {name} -->", f"of {name} before", f"<!-- /{name} -->", f"By hand, below {name}."]
    (tmp_path / "benchmarks.md").write_text("\n".join(lines) + "\n")
    return tmp_path


def outside(page: str) -> str:
    """The page without the contents of its regions."""
    return with_regions(page, dict.fromkeys(REGIONS, ""))


def test_a_region_is_replaced_and_prose_is_kept(docs: Path) -> None:
    before = (docs / "benchmarks.md").read_text()
    Page(docs).record(ISSUE, report("issue", {"cores": 2, "load_before": 0.1}))
    after = (docs / "benchmarks.md").read_text()

    assert outside(after) == outside(before)
    assert "of issue before" not in after
    assert "| codewell | 30,000 | 15,000 to 60,000 | requests/s |" in after
    assert "| requests/s of one issuer | 30,000 | >= 25000 | yes |" in after
    assert "| [issue](#codewell-bench-issue) | requests/s of one issuer | 30,000 | >= 25000 | yes |" in after
    assert "(benchmarks/issue.svg)" in after
    assert "| cores | 2 |" in after
    # A benchmark without a report keeps its text.
    assert "of mint before" in after


def test_a_second_record_takes_the_place_of_the_first(docs: Path) -> None:
    Page(docs).record(ISSUE, report("issue", {"cores": 2}))
    first = (docs / "benchmarks.md").read_text()
    Page(docs).record(ISSUE, report("issue", {"cores": 2}, 20_000.0))
    assert "| requests/s of one issuer | 20,000 | >= 25000 | **no** |" in (docs / "benchmarks.md").read_text()
    Page(docs).record(ISSUE, report("issue", {"cores": 2}))

    assert (docs / "benchmarks.md").read_text() == first


def test_the_report_is_kept_as_it_was_printed(docs: Path) -> None:
    printed = report("issue", {"cores": 2}).as_json()
    Page(docs).record(ISSUE, Report.from_json(json.loads(json.dumps(printed))))

    assert json.loads((docs / "benchmarks" / "issue.json").read_text()) == printed
    assert Page(docs).reports()["issue"].as_json() == printed


def test_what_was_written_is_what_must_be_there(docs: Path) -> None:
    Page(docs).record(ISSUE, report("issue", {"cores": 2}))
    documents = Page(docs).documents()

    assert {path.name for path in documents} == {"benchmarks.md", "issue.svg"}
    assert {path: path.read_text("utf-8") for path in documents} == documents


def test_the_same_machine_is_said_once_with_its_loads(docs: Path) -> None:
    page = Page(docs)
    for bench, cores, load in (("issue", 2, 0.3), ("mint", 2, 0.1), ("generate", 4, 0.2)):
        page.record(Benchmark(bench), report(bench, {"cores": cores, "load_before": load}))
    text = (docs / "benchmarks.md").read_text()

    assert "| | issue, mint | generate |" in text
    assert "| cores | 2 | 4 |" in text
    assert "| load before | 0.1 to 0.3 | 0.2 to 0.2 |" in text


@pytest.mark.parametrize(
    "page",
    [
        "no region",
        "<!-- issue -->\nno end",
        "no begin\n<!-- /issue -->",
        "<!-- /issue -->\nturned round\n<!-- issue -->",
        "<!-- issue -->\n<!-- /issue -->\ntwice\n<!-- issue -->\n<!-- /issue -->",
    ],
)
def test_a_missing_region_is_a_clear_error(page: str) -> None:
    with pytest.raises(CodewellError, match=r"no region issue: put a line <!-- issue --> and below it"):
        with_regions(page, {"issue": "figures"})


def test_a_page_without_a_region_is_refused_before_anything_is_measured(docs: Path) -> None:
    path = docs / "benchmarks.md"
    path.write_text(path.read_text().replace("<!-- /browse -->", ""))

    with pytest.raises(CodewellError, match="no region browse"):
        Page(docs)


def test_a_page_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CodewellError, match="is not there: be in the folder of the source"):
        Page(tmp_path)


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"bench": "issue", "machine": {}, "results": [1], "goals": []}'])
def test_a_file_that_is_no_report_is_a_clear_error(docs: Path, kept: str) -> None:
    (docs / "benchmarks").mkdir()
    (docs / "benchmarks" / "issue.json").write_text(kept)

    with pytest.raises(CodewellError, match=r"issue\.json is no report: measure again"):
        Page(docs).reports()
