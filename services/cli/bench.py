"""Benchmarks: each measures the product beside a peer and a ceiling, and says which goals are met."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from services.cli.output import as_json, print_facts, print_json, print_table
from services.errors import CodewellError

if TYPE_CHECKING:
    from services.bench.report import Report

_F = TypeVar("_F", bound=Callable[..., Any])
_FIGURE_WIDTH = 13
_REPETITIONS = click.option(
    "--repetitions", type=click.IntRange(1, 100), default=5, show_default=True, help="How often each is measured."
)

_FIVE = click.option(
    "--repetitions", type=click.IntRange(1, 100), default=5, show_default=True, help="How often each is measured."
)


def _each_once(_context: click.Context, _option: click.Parameter, given: tuple[int, ...]) -> tuple[int, ...]:
    """Each number that was given, from the lowest on."""
    return tuple(sorted(set(given)))


def _requests(default: int) -> Callable[[_F], _F]:
    return click.option(
        "--requests",
        type=click.IntRange(100, 1_000_000),
        default=default,
        show_default=True,
        help="How many requests wait to be answered.",
    )


def _issuers(*default: int) -> Callable[[_F], _F]:
    return click.option(
        "--issuers",
        type=click.IntRange(1, 24),
        multiple=True,
        callback=_each_once,
        default=default,
        show_default=True,
        help="How many processes answer; give it once for each number of them.",
    )


@click.group()
def bench() -> None:
    """Measure this machine with a fresh stack, which is gone afterwards. A figure is a median with its spread."""


@bench.command()
@click.option(
    "--requests",
    type=click.IntRange(100, 1_000_000),
    default=150_000,
    show_default=True,
    help="How many requests wait to be answered; the usual build gets an eightieth, or a tenth in batches.",
)
@_issuers(1, 2)
@_FIVE
@as_json
def issue(requests: int, issuers: tuple[int, ...], repetitions: int, as_json: bool) -> None:
    """Answer a backlog of requests: issuers, two usual builds, and the issuer's loop without a database."""
    from services.bench.issue import bench_issue

    _print(_run(lambda: bench_issue(requests, issuers, repetitions, _progress)), as_json)


@bench.command()
@_requests(200_000)
@click.option(
    "--programs", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="How many there are."
)
@_FIVE
@as_json
def mixed(requests: int, programs: int, repetitions: int, as_json: bool) -> None:
    """Answer requests for many programs, a tenth for two of them, a tenth refused; and for one hot program."""
    from services.bench.mixed import bench_mixed

    _print(_run(lambda: bench_mixed(requests, programs, repetitions, _progress)), as_json)


@bench.command()
@_requests(100_000)
@click.option(
    "--attached",
    type=click.IntRange(1, 1_000_000_000),
    multiple=True,
    callback=_each_once,
    default=(20_000_000,),
    show_default=True,
    help="How many codes are attached before; give it once for each size. A million takes 250 MB of disk.",
)
@click.option(
    "--random", type=click.IntRange(0), default=5_000_000, show_default=True, help="The same with random request ids."
)
@click.option("--audit", is_flag=True, help="Audit the databases at the end, which takes minutes.")
@_FIVE
@as_json
def grown(requests: int, attached: tuple[int, ...], random: int, audit: bool, repetitions: int, as_json: bool) -> None:
    """Answer requests beside very many answers that are there already, and in an empty database."""
    from services.bench.grown import bench_grown

    _print(_run(lambda: bench_grown(requests, attached, random, repetitions, audit, _progress)), as_json)


@bench.command()
@_requests(100_000)
@_issuers(1, 2, 4, 8)
@_FIVE
@as_json
def scale(requests: int, issuers: tuple[int, ...], repetitions: int, as_json: bool) -> None:
    """Answer requests for one program with more and more issuers; deadlocks and waits for locks."""
    from services.bench.scale import bench_scale

    _print(_run(lambda: bench_scale(requests, issuers, repetitions, _progress)), as_json)


@bench.command()
@click.option(
    "--rate",
    "rates",
    type=click.IntRange(1, 100_000),
    multiple=True,
    callback=_each_once,
    default=(1_000, 5_000, 10_000),
    show_default=True,
    help="Requests a second; give it once for each rate.",
)
@click.option("--seconds", type=click.IntRange(1, 600), default=4, show_default=True, help="How long each load lasts.")
@_FIVE
@as_json
def latency(rates: tuple[int, ...], seconds: int, repetitions: int, as_json: bool) -> None:
    """Measure the time from a request that is due to its answer, beside a Kafka echo."""
    from services.bench.latency import bench_latency

    _print(_run(lambda: bench_latency(rates, seconds, repetitions, _progress)), as_json)


@bench.command()
@_requests(150_000)
@_FIVE
@as_json
def replay(requests: int, repetitions: int, as_json: bool) -> None:
    """Answer requests, and answer them again after their group's offsets were reset; all answers are compared."""
    from services.bench.replay import bench_replay

    _print(_run(lambda: bench_replay(requests, repetitions, _progress)), as_json)


@bench.command()
@click.option(
    "--codes", type=click.IntRange(20_000), default=2_000_000, show_default=True, help="How many codes are minted."
)
@_REPETITIONS
@as_json
def mint(codes: int, repetitions: int, as_json: bool) -> None:
    """Mint codes and find their numbers on one core; FF1, dice with a set, and texts without the permutation."""
    from services.bench.mint import bench_mint

    _print(bench_mint(codes, repetitions, _progress), as_json)


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
@_REPETITIONS
@as_json
def generate(codes: int, stored: int, requests: int, repetitions: int, as_json: bool) -> None:
    """Generate a program's codes, which are ranges of numbers, and store codes as rows; issue from very many codes."""
    from services.bench.generate import bench_generate

    _print(_run(lambda: bench_generate(codes, stored, requests, repetitions, _progress)), as_json)


@bench.command()
@click.option(
    "--codes",
    type=click.IntRange(1_000, 100_000_000),
    default=1_000_000,
    show_default=True,
    help="How many codes the program has; half of them are attached.",
)
@_REPETITIONS
@as_json
def export(codes: int, repetitions: int, as_json: bool) -> None:
    """Export a program's codes: Codewell, rows written one by one, and a bare COPY of the same rows."""
    from services.bench.export import bench_export

    _print(_run(lambda: bench_export(codes, repetitions, _progress)), as_json)


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
@_REPETITIONS
@as_json
def import_(rows: int, memory_rows: int, repetitions: int, as_json: bool) -> None:
    """Import a CSV and a workbook by the command line; the usual build; a bare COPY of the texts."""
    from services.bench.import_ import bench_import

    _print(_run(lambda: bench_import(rows, memory_rows, repetitions, _progress)), as_json)


@bench.command()
@click.option(
    "--requests", type=click.IntRange(400, 1_000_000), default=12_000, show_default=True, help="How many are attached."
)
@_REPETITIONS
@as_json
def http(requests: int, repetitions: int, as_json: bool) -> None:
    """Attach, activate and look up over HTTP; the usual build, and a server that does next to nothing."""
    from services.bench.http import bench_http

    _print(_run(lambda: bench_http(requests, repetitions, _progress)), as_json)


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

    _print(_run(lambda: bench_browse(codes, attached, repetitions, _progress)), as_json)


@bench.command()
@click.option(
    "--pools",
    type=click.IntRange(1, 100_000),
    default=10_000,
    show_default=True,
    help="How many are at half their mark.",
)
@_REPETITIONS
@as_json
def fill(pools: int, repetitions: int, as_json: bool) -> None:
    """Fill very many pools that are at half their mark, by one generator and by four."""
    from services.bench.fill import bench_fill

    _print(_run(lambda: bench_fill(pools, repetitions, _progress)), as_json)


@bench.command()
@click.option(
    "--codes", type=click.IntRange(2, 1_000_000), default=100_000, show_default=True, help="How many are brought."
)
@click.option(
    "--request-max", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Codes of one request."
)
@_REPETITIONS
@as_json
def remote(codes: int, request_max: int, repetitions: int, as_json: bool) -> None:
    """Bring codes from a service that takes 50 ms for an answer; the same requests without Codewell."""
    from services.bench.remote import bench_remote

    _print(_run(lambda: bench_remote(codes, request_max, repetitions, _progress)), as_json)


@bench.command()
@click.option(
    "--requests", type=click.IntRange(100, 1_000_000), default=200_000, show_default=True, help="How many are answered."
)
@_REPETITIONS
@as_json
def processes(requests: int, repetitions: int, as_json: bool) -> None:
    """Start a standalone stack and let it work: start-up time, memory and CPU of each process."""
    from services.bench.processes import bench_processes

    _print(_run(lambda: bench_processes(requests, repetitions, _progress)), as_json)


def _run(work: Callable[[], Awaitable["Report"]]) -> "Report":
    import asyncio

    from services.runtime.process import run, until
    from services.telemetry.logs import configure

    reports: list[Report] = []

    async def kept(stop: asyncio.Event) -> None:
        async def working() -> None:
            reports.append(await work())

        await until(stop, working())

    # Kafka's clients warn of each new partition that has no leader yet.
    configure("bench", "error")
    run(kept)
    if not reports:
        raise CodewellError("The benchmark was stopped before its end; nothing of it is left running.")
    return reports[0]


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _print(report: "Report", as_json: bool) -> None:
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
    print_table(rows, "Nothing was measured.")
    click.echo()
    goals = [
        {"goal": one.name, f"{'seen':>{_FIGURE_WIDTH}}": _figure(one.value), "wanted": one.goal, "met": one.met}
        for one in report.goals
    ]
    print_table(goals, "There is no goal for this.")


def _figure(value: float) -> str:
    """In columns of one width."""
    from services.bench.report import figure

    return f"{figure(value):>{_FIGURE_WIDTH}}"
