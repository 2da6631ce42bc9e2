"""The command of the benchmark of old answers that leave."""

import click

from benchmarks.commands_report import FEW_REPETITIONS, measured, print_report, progress
from services.cli.output import json_option


@click.command()
@click.option(
    "--answers",
    type=click.IntRange(1_000, 100_000_000),
    default=200_000,
    show_default=True,
    help="Old answers that leave in each way; five times as many beside an issuer.",
)
@click.option(
    "--requests",
    type=click.IntRange(100, 1_000_000),
    default=100_000,
    show_default=True,
    help="Requests that the issuer answers meanwhile.",
)
@click.option(
    "--there",
    type=click.IntRange(0, 1_000_000_000),
    default=0,
    show_default=True,
    help="Answers that stay, beside which it is measured once more. A million takes 210 MB of disk.",
)
@FEW_REPETITIONS
@json_option
def retention(answers: int, requests: int, there: int, repetitions: int, as_json: bool) -> None:
    """Let old answers leave the database.

    Beside a bare DELETE of as many, and beside an issuer.
    """
    from benchmarks.retention import bench_retention

    print_report(measured(lambda: bench_retention(answers, requests, there, repetitions, progress)), as_json)
