"""The figures in `docs/benchmarks.md`: its prose is written by hand, its regions by `python -m benchmarks.page`.

A region lies between `<!-- NAME -->` and `<!-- /NAME -->`. It is rendered from `docs/benchmarks/NAME.json`, the output
of `codewell bench NAME --json`, together with the plot beside that file; the region `machine` describes the machines
of all measurements, and the region `goals` which goals are met.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.catalogue import BENCHMARKS, Benchmark
from benchmarks.plot import plot
from benchmarks.report import Goal, Report, figure
from codewell.errors import CodewellError

DOCS: Final = Path("docs")
MACHINE: Final = "machine"
GOALS: Final = "goals"
REGIONS: Final = (MACHINE, GOALS, *(one.name for one in BENCHMARKS))
# Differs from run to run, and is printed as a range.
_LOAD: Final = "load_before"


class Page:
    """The page and the reports beside it, in a folder of documents."""

    def __init__(self, docs: Path) -> None:
        """Raises CodewellError when the page is missing or lacks a region."""
        self._path = docs / "benchmarks.md"
        self._reports = docs / "benchmarks"
        with_regions(self._read(), dict.fromkeys(REGIONS, ""))

    def reports(self) -> dict[str, Report]:
        """The recorded reports, in the order of the page. Raises CodewellError when a file holds something else."""
        return {one.name: self._report(one.name) for one in BENCHMARKS if self._kept(one.name).exists()}

    def record(self, benchmark: Benchmark, report: Report) -> None:
        """Store a report, its plot and its region; replaces the previous ones."""
        self._reports.mkdir(exist_ok=True)
        self._kept(benchmark.name).write_text(
            json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n", "utf-8"
        )
        self.write()

    def write(self) -> None:
        """Render the page and its plots from the recorded reports."""
        for path, text in self.documents().items():
            path.write_text(text, "utf-8")

    def documents(self) -> dict[Path, str]:
        """The current page and plots; a benchmark without a report keeps its region."""
        reports = self.reports()
        if not reports:
            return {self._path: self._read()}
        regions = {name: "\n".join(_region(report)) for name, report in reports.items()}
        regions[MACHINE] = "\n".join(_machines(reports.values()))
        regions[GOALS] = "\n".join(_goals(reports.values()))
        plots = {
            self._reports / f"{one.name}.svg": plot(one, reports[one.name]) for one in BENCHMARKS if one.name in reports
        }
        return {self._path: with_regions(self._read(), regions), **plots}

    def _read(self) -> str:
        try:
            return self._path.read_text("utf-8")
        except FileNotFoundError:
            raise CodewellError(
                f"{self._path} is not there: be in the folder of the source, or say with --docs where it is."
            ) from None

    def _kept(self, name: str) -> Path:
        return self._reports / f"{name}.json"

    def _report(self, name: str) -> Report:
        try:
            return Report.from_json(json.loads(self._kept(name).read_text("utf-8")))
        except (KeyError, TypeError, ValueError) as error:
            raise CodewellError(
                f"{self._kept(name)} is no report: measure again with codewell bench all --only {name}."
            ) from error


def with_regions(page: str, regions: Mapping[str, str]) -> str:
    """The page with these texts in its regions of these names. Raises CodewellError where one has no region."""
    for name, text in regions.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        if (page.count(begin), page.count(end), rest.count(end)) != (1, 1, 1):
            raise CodewellError(
                f"The page has no region {name}: put a line {begin} and below it a line {end} where its "
                "figures belong, each once."
            )
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def _region(report: Report) -> Iterator[str]:
    name = report.bench
    yield from ("", f"![Plot of {name}](benchmarks/{name}.svg)", "")
    yield from ("| measured | median | lowest to highest | unit |", "|---|---:|---:|---|")
    for one in report.results:
        lowest, highest = map(figure, one.spread)
        yield f"| {one.name} | {figure(one.rate)} | {lowest} to {highest} | {one.unit} |"
    yield ""
    if report.goals:
        yield from ("| goal | seen | wanted | met |", "|---|---:|---:|---|")
        for goal in report.goals:
            yield _goal(goal)
        yield ""


def _goals(reports: Iterable[Report]) -> Iterator[str]:
    yield from ("", "| benchmark | goal | seen | wanted | met |", "|---|---|---:|---:|---|")
    for report in reports:
        for goal in report.goals:
            yield f"| [{report.bench}](#codewell-bench-{report.bench}) {_goal(goal)}"
    yield ""


def _goal(goal: Goal) -> str:
    return f"| {goal.name} | {figure(goal.value)} | {goal.goal} | {'yes' if goal.met else '**no**'} |"


def _machines(reports: Iterable[Report]) -> Iterator[str]:
    """A column for each benchmark's machine and versions; one for all benchmarks that ran on the same."""
    alike: dict[str, list[Report]] = {}
    for report in reports:
        facts = {name: value for name, value in report.machine.items() if name != _LOAD}
        alike.setdefault(json.dumps(facts), []).append(report)
    machines: Sequence[dict[str, Any]] = [json.loads(facts) for facts in alike]
    yield from ("", "| | " + " | ".join(", ".join(one.bench for one in group) for group in alike.values()) + " |")
    yield "|---|" + "---|" * len(machines)
    for name in dict.fromkeys(name for facts in machines for name in facts):
        yield f"| {name.replace('_', ' ')} | " + " | ".join(str(facts.get(name, "-")) for facts in machines) + " |"
    loads = [[report.machine[_LOAD] for report in group if _LOAD in report.machine] for group in alike.values()]
    yield "| load before | " + " | ".join(f"{min(some)} to {max(some)}" if some else "-" for some in loads) + " |"
    yield ""


if __name__ == "__main__":
    Page(DOCS).write()
