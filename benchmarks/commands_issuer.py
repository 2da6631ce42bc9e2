"""Commands that benchmark the issuer: throughput and latency."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from benchmarks.commands_report import FEW_REPETITIONS, REPETITIONS, measured, print_report, progress
from services.cli.output import json_option

_F = TypeVar("_F", bound=Callable[..., Any])


def _each_once(_context: click.Context, _option: click.Parameter, given: tuple[int, ...]) -> tuple[int, ...]:
    """The given numbers without duplicates, in ascending order."""
    return tuple(sorted(set(given)))


def _requests(default: int) -> Callable[[_F], _F]:
    return click.option(
        "--requests",
        type=click.IntRange(100, 1_000_000),
        default=default,
        show_default=True,
        help="Requests in the backlog.",
    )


def _issuers(*default: int) -> Callable[[_F], _F]:
    return click.option(
        "--issuers",
        type=click.IntRange(1, 24),
        multiple=True,
        callback=_each_once,
        default=default,
        show_default=True,
        help="Number of issuers; repeatable, to measure several numbers.",
    )


@click.command()
@click.option(
    "--requests",
    type=click.IntRange(100, 1_000_000),
    default=90_000,
    show_default=True,
    help="Requests in the backlog; the conventional one gets an eightieth, or a tenth in batches.",
)
@_issuers(1, 2)
@REPETITIONS
@json_option
def issue(requests: int, issuers: tuple[int, ...], repetitions: int, as_json: bool) -> None:
    """Answer a backlog of requests.

    Beside two conventional implementations, the issuer's loop without a database, librdkafka, and COPY.
    """
    from benchmarks.issue import bench_issue

    print_report(measured(lambda: bench_issue(requests, issuers, repetitions, progress)), as_json)


@click.command()
@_requests(120_000)
@click.option(
    "--programs", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="Number of programs."
)
@REPETITIONS
@json_option
def mixed(requests: int, programs: int, repetitions: int, as_json: bool) -> None:
    """Answer requests for many programs, and for one hot program.

    A tenth of the requests ask for two programs, and a tenth are refused.
    """
    from benchmarks.mixed import bench_mixed

    print_report(measured(lambda: bench_mixed(requests, programs, repetitions, progress)), as_json)


@click.command()
@_requests(100_000)
@click.option(
    "--attached",
    type=click.IntRange(1, 1_000_000_000),
    multiple=True,
    callback=_each_once,
    default=(20_000_000,),
    show_default=True,
    help="Codes attached before the run; repeatable. A million takes 250 MB of disk.",
)
@click.option(
    "--random",
    type=click.IntRange(0),
    default=2_000_000,
    show_default=True,
    help="Codes attached before the run with random request ids.",
)
@click.option(
    "--reuse/--no-reuse",
    default=True,
    help="Assign the codes of the first size, and measure the policies of reuse. A million takes 150 MB more of disk.",
)
@click.option("--audit", is_flag=True, help="Audit the databases at the end, which takes some minutes.")
@FEW_REPETITIONS
@json_option
def grown(
    requests: int, attached: tuple[int, ...], random: int, reuse: bool, audit: bool, repetitions: int, as_json: bool
) -> None:
    """Answer requests in a database with many stored answers.

    Beside the same requests in an empty database.
    """
    from benchmarks.grown import bench_grown

    print_report(
        measured(lambda: bench_grown(requests, attached, random, reuse, repetitions, audit, progress)), as_json
    )


@click.command()
@_requests(200_000)
@_issuers(1, 2, 4, 8)
@REPETITIONS
@json_option
def scale(requests: int, issuers: tuple[int, ...], repetitions: int, as_json: bool) -> None:
    """Answer requests for one program with more and more issuers.

    Reports deadlocks and lock waits.
    """
    from benchmarks.scale import bench_scale

    print_report(measured(lambda: bench_scale(requests, issuers, repetitions, progress)), as_json)


@click.command()
@click.option(
    "--rate",
    "rates",
    type=click.IntRange(1, 100_000),
    multiple=True,
    callback=_each_once,
    default=(1_000, 10_000),
    show_default=True,
    help="Requests per second; repeatable.",
)
@click.option("--seconds", type=click.IntRange(1, 600), default=3, show_default=True, help="Duration of each load (s).")
@click.option(
    "--warm-up",
    type=click.IntRange(1, 600),
    default=15,
    show_default=True,
    help="Duration of the load before the measurement, which warms up the broker's JVM (s).",
)
@REPETITIONS
@json_option
def latency(rates: tuple[int, ...], seconds: int, warm_up: int, repetitions: int, as_json: bool) -> None:
    """Measure latency from due time to answer.

    Beside a Kafka echo.
    """
    from benchmarks.latency import bench_latency

    print_report(measured(lambda: bench_latency(rates, seconds, warm_up, repetitions, progress)), as_json)


@click.command()
@_requests(100_000)
@REPETITIONS
@json_option
def replay(requests: int, repetitions: int, as_json: bool) -> None:
    """Answer requests twice, then after an offset reset.

    Compares all answers.
    """
    from benchmarks.replay import bench_replay

    print_report(measured(lambda: bench_replay(requests, repetitions, progress)), as_json)


@click.command()
@click.option(
    "--receipts",
    type=click.IntRange(1_000, 500_000),
    default=60_000,
    show_default=True,
    help="Receipts in the backlog; the conventional consumer gets a twentieth.",
)
@REPETITIONS
@json_option
def receipts(receipts: int, repetitions: int, as_json: bool) -> None:
    """Settle a backlog of receipts of failed sends.

    Beside one transaction a receipt, and the same consumer without a database.
    """
    from benchmarks.receipts import bench_receipts

    print_report(measured(lambda: bench_receipts(receipts, repetitions, progress)), as_json)


@click.command()
@_requests(90_000)
@REPETITIONS
@json_option
def lifecycle(requests: int, repetitions: int, as_json: bool) -> None:
    """Publish what happens to codes.

    Beside an issuer, whose cost is compared with that of an issuer alone, and from a backlog.
    """
    from benchmarks.lifecycle import bench_lifecycle

    print_report(measured(lambda: bench_lifecycle(requests, repetitions, progress)), as_json)
