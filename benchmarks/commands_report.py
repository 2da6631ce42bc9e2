"""Runs one benchmark and prints its report."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import click

from codewell.errors import CodewellError
from services.cli.output import print_facts, print_json, print_table

if TYPE_CHECKING:
    from benchmarks.report import Report


def _repetitions(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--repetitions",
        type=click.IntRange(1, 100),
        default=default,
        show_default=True,
        help="Repetitions of each measurement.",
    )


REPETITIONS: Final = _repetitions(5)
FEW_REPETITIONS: Final = _repetitions(3)
"""Of a benchmark that takes minutes to fill its database."""
_FIGURE_WIDTH: Final = 13


def measured(work: Callable[[], Awaitable["Report"]]) -> "Report":
    """Run a benchmark to its end. Raises CodewellError when it is stopped before."""
    import asyncio

    from codewell.infra.process.lifecycle import run, run_until_stopped
    from codewell.infra.telemetry.logs import configure

    reports: list[Report] = []

    async def kept(stop: asyncio.Event) -> None:
        async def working() -> None:
            reports.append(await work())

        await run_until_stopped(stop, working())

    # Kafka's clients warn of each new partition that has no leader yet.
    configure("bench", "error")
    run(kept)
    if not reports:
        raise CodewellError(
            "The benchmark was stopped before its end: run it again. None of its processes is left running."
        )
    return reports[0]


def progress(text: str) -> None:
    """Print the progress."""
    click.echo(text, err=True)


def print_report(report: "Report", as_json: bool) -> None:
    """Print the report, as text or as one JSON object."""
    if as_json:
        print_json(report.as_json())
        return
    print_facts(report.machine)
    click.echo()
    head = [f"{word:>{_FIGURE_WIDTH}}" for word in ("median", "lowest", "highest")]
    rows = [
        {"measured": one.name, **dict(zip(head, map(_figure, (one.rate, *one.spread)), strict=True)), "unit": one.unit}
        for one in report.results
    ]
    print_table(rows, "No measurements.")
    click.echo()
    goals = [
        {"goal": one.name, f"{'seen':>{_FIGURE_WIDTH}}": _figure(one.value), "wanted": one.goal, "met": one.met}
        for one in report.goals
    ]
    print_table(goals, "No goals.")


def _figure(value: float) -> str:
    """A figure in a column of fixed width."""
    from benchmarks.report import figure

    return f"{figure(value):>{_FIGURE_WIDTH}}"
