"""The command of the benchmark of forecasts."""

import click

from benchmarks.commands_report import REPETITIONS, measured, print_report, progress
from services.cli.output import json_option


@click.command()
@click.option(
    "--programs",
    type=click.IntRange(1, 100_000),
    default=10_000,
    show_default=True,
    help="Programs that gave codes in every hour of four weeks.",
)
@REPETITIONS
@json_option
def forecast(programs: int, repetitions: int, as_json: bool) -> None:
    """Forecast when many programs run out of codes.

    Beside one program at a time, and beside reading their rows alone.
    """
    from benchmarks.forecast import bench_forecast

    print_report(measured(lambda: bench_forecast(programs, repetitions, progress)), as_json)
