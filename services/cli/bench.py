"""Benchmarks: each measures the product beside a peer and a ceiling, and says which goals are met."""

import click

from services.cli.bench_report import REPETITIONS, measured, print_report, progress
from services.cli.extras import require
from services.cli.output import as_json


@click.group()
def bench() -> None:
    """Measure this machine with a fresh stack, which is gone afterwards. A figure is a median with its spread."""
    require("standalone")


@bench.command()
@click.option(
    "--codes", type=click.IntRange(20_000), default=2_000_000, show_default=True, help="How many codes are minted."
)
@REPETITIONS
@as_json
def mint(codes: int, repetitions: int, as_json: bool) -> None:
    """Mint codes and find their numbers on one core; FF1, dice with a set, and texts without the permutation."""
    from services.bench.mint import bench_mint

    print_report(bench_mint(codes, repetitions, progress), as_json)


@bench.command()
@click.option(
    "--codes",
    type=click.IntRange(1, 10**12),
    default=1_000_000_000,
    show_default=True,
    help="How many codes are generated in one program; a tenth and a thousandth of them in others.",
)
@click.option(
    "--stored",
    type=click.IntRange(1, 10_000_000),
    default=1_000_000,
    show_default=True,
    help="How many texts are stored by COPY.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="How many are issued from the largest program, and from one that has just enough.",
)
@REPETITIONS
@as_json
def generate(codes: int, stored: int, requests: int, repetitions: int, as_json: bool) -> None:
    """Generate a program's codes, which are ranges of numbers, and store codes as rows; issue from very many codes."""
    from services.bench.generate import bench_generate

    print_report(measured(lambda: bench_generate(codes, stored, requests, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes",
    type=click.IntRange(1_000, 100_000_000),
    default=1_000_000,
    show_default=True,
    help="How many codes the program has; half of them are attached.",
)
@REPETITIONS
@as_json
def export(codes: int, repetitions: int, as_json: bool) -> None:
    """Export a program's codes: Codewell, rows written one by one, and a bare COPY of the same rows."""
    from services.bench.export import bench_export

    print_report(measured(lambda: bench_export(codes, repetitions, progress)), as_json)


@bench.command("import")
@click.option(
    "--rows", type=click.IntRange(100, 20_000_000), default=1_000_000, show_default=True, help="Rows of the files."
)
@click.option(
    "--memory-rows",
    type=click.IntRange(0, 20_000_000),
    default=0,
    show_default=True,
    help="Rows of one more CSV whose import shows the memory; 10000000 take some minutes.",
)
@REPETITIONS
@as_json
def import_(rows: int, memory_rows: int, repetitions: int, as_json: bool) -> None:
    """Import a CSV and a workbook by the command line; the usual build; a bare COPY of the texts."""
    from services.bench.import_ import bench_import

    print_report(measured(lambda: bench_import(rows, memory_rows, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--requests", type=click.IntRange(400, 1_000_000), default=8_000, show_default=True, help="How many are attached."
)
@REPETITIONS
@as_json
def http(requests: int, repetitions: int, as_json: bool) -> None:
    """Attach, activate and look up over HTTP; the usual build, and a server that does next to nothing."""
    from services.bench.http import bench_http

    print_report(measured(lambda: bench_http(requests, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes", type=click.IntRange(20_000, 10**12), default=100_000_000, show_default=True, help="How many are made."
)
@click.option(
    "--attached",
    type=click.IntRange(10_000, 10_000_000),
    default=1_000_000,
    show_default=True,
    help="How many of them are attached, a tenth of these activated.",
)
@click.option(
    "--repetitions", type=click.IntRange(1, 100), default=9, show_default=True, help="How often each page is asked for."
)
@as_json
def browse(codes: int, attached: int, repetitions: int, as_json: bool) -> None:
    """Ask for the first page of a very large program's codes, by each filter."""
    from services.bench.browse import bench_browse

    print_report(measured(lambda: bench_browse(codes, attached, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--pools",
    type=click.IntRange(1, 100_000),
    default=10_000,
    show_default=True,
    help="How many are at half their mark.",
)
@REPETITIONS
@as_json
def fill(pools: int, repetitions: int, as_json: bool) -> None:
    """Fill very many pools that are at half their mark, by one generator and by four."""
    from services.bench.fill import bench_fill

    print_report(measured(lambda: bench_fill(pools, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--codes", type=click.IntRange(2, 1_000_000), default=100_000, show_default=True, help="How many are brought."
)
@click.option(
    "--request-max", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Codes of one request."
)
@REPETITIONS
@as_json
def remote(codes: int, request_max: int, repetitions: int, as_json: bool) -> None:
    """Bring codes from a service that takes 50 ms for an answer; the same requests without Codewell."""
    from services.bench.remote import bench_remote

    print_report(measured(lambda: bench_remote(codes, request_max, repetitions, progress)), as_json)


@bench.command()
@click.option(
    "--requests", type=click.IntRange(100, 1_000_000), default=100_000, show_default=True, help="How many are answered."
)
@REPETITIONS
@as_json
def processes(requests: int, repetitions: int, as_json: bool) -> None:
    """Start a standalone stack and let it work: start-up time, memory and CPU of each process."""
    from services.bench.processes import bench_processes

    print_report(measured(lambda: bench_processes(requests, repetitions, progress)), as_json)
