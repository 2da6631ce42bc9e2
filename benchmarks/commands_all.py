"""Commands that run all benchmarks: to write the page of figures, and to detect regressions."""

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codewell.errors import CodewellError
from services.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    import asyncio

    from benchmarks.comparison import Compared
    from benchmarks.suite import Measured

_ONLY = click.option("--only", multiple=True, metavar="NAME", help="Only this benchmark; repeatable.")
_DOCS = click.option(
    "--docs",
    type=click.Path(file_okay=False, path_type=Path),
    default="docs",
    show_default=True,
    help="Directory of benchmarks.md and benchmarks/.",
)
_REPETITIONS = click.option(
    "--repetitions", type=click.IntRange(1, 100), default=3, show_default=True, help="Repetitions of each benchmark."
)


@click.command("all")
@_ONLY
@_REPETITIONS
@_DOCS
@json_option
def bench_all(only: tuple[str, ...], repetitions: int, docs: Path, as_json: bool) -> None:
    """Run all benchmarks and write docs/benchmarks.md."""
    from benchmarks.catalogue import chosen
    from benchmarks.page import Page
    from benchmarks.suite import each

    benchmarks, page = chosen(only), Page(docs)
    seen: list[Measured] = []

    async def work(stop: "asyncio.Event") -> None:
        async for one in each(benchmarks, stop, _progress, short=False, repetitions=repetitions):
            seen.append(one)
            if one.report is not None:
                page.record(one.benchmark, one.report)

    _run(work)
    _print([_row(one) for one in seen], as_json)
    _refuse_failed(seen)


@click.command()
@_ONLY
@_REPETITIONS
@_DOCS
@json_option
def check(only: tuple[str, ...], repetitions: int, docs: Path, as_json: bool) -> None:
    """Compare short benchmarks with the recorded figures.

    Fails if a figure fell by more than a fifth. Runs only benchmarks that have a ceiling.
    """
    from benchmarks.catalogue import chosen
    from benchmarks.comparison import comparable, compare
    from benchmarks.page import Page
    from benchmarks.suite import each

    recorded = comparable(chosen(only), Page(docs).reports())
    seen: list[Measured] = []
    found: list[Compared] = []

    async def work(stop: "asyncio.Event") -> None:
        async for one in each(list(recorded), stop, _progress, short=True, repetitions=repetitions):
            seen.append(one)
            if one.report is not None:
                found.extend(compare(one.benchmark.name, recorded[one.benchmark], one.report))

    _run(work)
    _print([_compared(one, as_json) for one in found], as_json)
    _refuse_failed(seen)
    _refuse_fallen(found)


def _run(work: Callable[["asyncio.Event"], Coroutine[Any, Any, None]]) -> None:
    from codewell.infra.process.lifecycle import run

    run(work)


def _row(measured: "Measured") -> dict[str, object]:
    goals = measured.report.goals if measured.report else []
    return {
        "bench": measured.benchmark.name,
        "seconds": round(measured.seconds, 1),
        "goals": len(goals),
        "met": sum(goal.met for goal in goals),
        "failed": measured.report is None,
    }


def _compared(one: "Compared", as_json: bool) -> dict[str, object]:
    change = round(one.change, 3)
    return {
        "bench": one.bench,
        "name": one.name,
        "recorded": one.recorded,
        "now": one.now,
        "change": change if as_json else f"{change:+.0%}",
    }


def _refuse_failed(seen: "Sequence[Measured]") -> None:
    failed = [one.benchmark.name for one in seen if one.report is None]
    if failed:
        raise CodewellError(
            f"Failed: {', '.join(failed)}. The reasons are printed above; their recorded figures are unchanged."
        )


def _refuse_fallen(found: "Sequence[Compared]") -> None:
    fallen = [
        f"{one.bench}: {one.name} ({one.recorded} to {'nothing' if one.now is None else one.now})"
        for one in found
        if one.fell
    ]
    if fallen:
        raise CodewellError(f"Fell by more than a fifth: {'; '.join(fallen)}.")


def _print(rows: "Sequence[dict[str, object]]", as_json: bool) -> None:
    if not as_json:
        print_table(rows, "Nothing was measured.")
        return
    for row in rows:
        print_json(row)


def _progress(text: str) -> None:
    click.echo(text, err=True)
