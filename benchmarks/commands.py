"""Benchmark commands: each measures the product beside a peer and a ceiling, and reports the goals."""

import click

from benchmarks.commands_all import bench_all, check
from benchmarks.commands_forecast import forecast
from benchmarks.commands_issuer import grown, issue, latency, lifecycle, mixed, receipts, replay, scale
from benchmarks.commands_report import REPETITIONS, measured, print_report, progress
from benchmarks.commands_retention import retention
from services.cli.commands import Commands
from services.cli.output import json_option


@click.group(cls=Commands)
def bench() -> None:
    """Run benchmarks on a fresh stack, which is removed afterwards.

    Each figure is a median with its lowest and highest value.
    """


@bench.command()
@click.option(
    "--codes", type=click.IntRange(20_000), default=2_000_000, show_default=True, help="Number of codes to mint."
)
@REPETITIONS
@json_option
def mint(codes: int, repetitions: int, as_json: bool) -> None:
    """Mint and decode codes on one core.

    Beside FF1, random codes with a set, and texts without the permutation.
    """
    from benchmarks.mint import bench_mint

    print_report(bench_mint(codes, repetitions, progress), as_json)


@bench.command()
@click.option(
    "--codes",
    type=click.IntRange(1, 10**12),
    default=1_000_000_000,
    show_default=True,
    help="Codes to generate in one program; a tenth and a thousandth of them in others.",
)
@click.option(
    "--stored",
    type=click.IntRange(1, 10_000_000),
    default=1_000_000,
    show_default=True,
    help="Number of texts to store by COPY.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="Requests to answer from the largest program, and from one with just enough codes.",
)
@REPETITIONS
@json_option
def generate(codes: int, stored: int, requests: int, repetitions: int, as_json: bool) -> None:
    """Generate codes as ranges, store codes as rows, issue codes."""
    from benchmarks.generate import bench_generate

    print_report(measured(lambda: bench_generate(codes, stored, requests, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes",
    type=click.IntRange(1, 10**9),
    default=10_000_000,
    show_default=True,
    help="Codes to reserve in a program of a template.",
)
@click.option(
    "--stored",
    type=click.IntRange(2, 10_000_000),
    default=100_000,
    show_default=True,
    help="Codes of a list, of which half are reserved.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 1_000_000),
    default=100_000,
    show_default=True,
    help="Requests to answer from a reservation, and from a pool.",
)
@REPETITIONS
@json_option
def reservations(codes: int, stored: int, requests: int, repetitions: int, as_json: bool) -> None:
    """Reserve and release codes, and issue reserved ones.

    Beside claims of a program that has no reservation.
    """
    from benchmarks.reservations import bench_reservations

    print_report(measured(lambda: bench_reservations(codes, stored, requests, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes",
    type=click.IntRange(1_000, 100_000_000),
    default=1_000_000,
    show_default=True,
    help="Codes of the program; half of them are attached.",
)
@REPETITIONS
@json_option
def export(codes: int, repetitions: int, as_json: bool) -> None:
    """Export a program's codes.

    Beside rows written one by one, and a bare COPY of the same rows.
    """
    from benchmarks.export import bench_export

    print_report(measured(lambda: bench_export(codes, repetitions, progress)), as_json)


@bench.command("import")
@click.option(
    "--rows", type=click.IntRange(100, 20_000_000), default=1_000_000, show_default=True, help="Rows of each file."
)
@click.option(
    "--memory-rows",
    type=click.IntRange(0, 20_000_000),
    default=0,
    show_default=True,
    help="Rows of another CSV file that measures memory; 10000000 take some minutes.",
)
@REPETITIONS
@json_option
def import_(rows: int, memory_rows: int, repetitions: int, as_json: bool) -> None:
    """Import a CSV file and a workbook.

    Beside a conventional implementation, and a bare COPY of the texts.
    """
    from benchmarks.import_ import bench_import

    print_report(measured(lambda: bench_import(rows, memory_rows, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--requests",
    type=click.IntRange(400, 1_000_000),
    default=8_000,
    show_default=True,
    help="Number of attach requests.",
)
@REPETITIONS
@json_option
def http(requests: int, repetitions: int, as_json: bool) -> None:
    """Attach, activate and look up codes over HTTP.

    Beside a conventional implementation, and a server that does almost nothing.
    """
    from benchmarks.http import bench_http

    print_report(measured(lambda: bench_http(requests, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--requests",
    type=click.IntRange(400, 1_000_000),
    default=8_000,
    show_default=True,
    help="Number of activations; half as many pairs of a hold and an activation.",
)
@REPETITIONS
@json_option
def till(requests: int, repetitions: int, as_json: bool) -> None:
    """Hold and activate codes for orders over HTTP.

    Beside a conventional implementation, and a server that does almost nothing.
    """
    from benchmarks.till import bench_till

    print_report(measured(lambda: bench_till(requests, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes", type=click.IntRange(20_000, 10**12), default=100_000_000, show_default=True, help="Codes of the program."
)
@click.option(
    "--attached",
    type=click.IntRange(10_000, 10_000_000),
    default=1_000_000,
    show_default=True,
    help="Attached codes; a tenth of them are activated.",
)
@click.option(
    "--repetitions",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Rounds of three requests for each page.",
)
@json_option
def browse(codes: int, attached: int, repetitions: int, as_json: bool) -> None:
    """List the first page of a very large program, by each filter."""
    from benchmarks.browse import bench_browse

    print_report(measured(lambda: bench_browse(codes, attached, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes", type=click.IntRange(20_000, 10**12), default=10**9, show_default=True, help="Codes of the program."
)
@click.option(
    "--attached",
    type=click.IntRange(10_000, 10_000_000),
    default=500_000,
    show_default=True,
    help="Attached codes; a tenth of them are activated.",
)
@click.option("--pages", type=click.IntRange(2, 1_000), default=40, show_default=True, help="Requests for each page.")
@click.option(
    "--requests",
    type=click.IntRange(100, 100_000),
    default=6_000,
    show_default=True,
    help="Attach requests with and without watched pages; half as many activations.",
)
@click.option(
    "--repetitions", type=click.IntRange(1, 100), default=9, show_default=True, help="Pairs with and without them."
)
@json_option
def console(codes: int, attached: int, pages: int, requests: int, repetitions: int, as_json: bool) -> None:
    """Show pages of a large program, and the API beside them.

    The rate of the API with 20 watched pages is compared with the rate without.
    """
    from benchmarks.console import bench_console

    print_report(measured(lambda: bench_console(codes, attached, pages, requests, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--pools",
    type=click.IntRange(1, 100_000),
    default=10_000,
    show_default=True,
    help="Pools that hold half of their pool_max.",
)
@REPETITIONS
@json_option
def fill(pools: int, repetitions: int, as_json: bool) -> None:
    """Fill many pools with one generator and with four."""
    from benchmarks.fill import bench_fill

    print_report(measured(lambda: bench_fill(pools, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes", type=click.IntRange(2, 1_000_000), default=400_000, show_default=True, help="Codes to deliver."
)
@click.option(
    "--request-max", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Maximum codes per request."
)
@REPETITIONS
@json_option
def remote(codes: int, request_max: int, repetitions: int, as_json: bool) -> None:
    """Fetch codes from a remote service that answers in 50 ms.

    Beside the same requests without Codewell.
    """
    from benchmarks.remote import bench_remote

    print_report(measured(lambda: bench_remote(codes, request_max, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--requests", type=click.IntRange(100, 1_000_000), default=100_000, show_default=True, help="Requests to answer."
)
@REPETITIONS
@json_option
def processes(requests: int, repetitions: int, as_json: bool) -> None:
    """Measure start-up time, memory and CPU of each process."""
    from benchmarks.processes import bench_processes

    print_report(measured(lambda: bench_processes(requests, repetitions, progress)), as_json)


for _benchmark in (
    issue, mixed, grown, retention, scale, latency, replay, receipts, lifecycle, forecast, bench_all, check,
):  # fmt: skip
    bench.add_command(_benchmark)
