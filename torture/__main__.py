"""Long manual runs: `python -m torture faults|without|report --help`. `make torture` runs them all."""

import asyncio
import json
import logging
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import click
import structlog
import uvloop

from torture import guards, report
from torture import patroni as patroni_cluster
from torture.kinds import BROKER_KINDS, KINDS, PATRONI_KINDS, Kind
from torture.orders import OrdersOutcome, run_orders
from torture.receipts import ReceiptsOutcome, run_receipts
from torture.retention import RetentionOutcome, run_retention
from torture.run import Outcome, run
from torture.schedule import Plan, What
from torture.site import Layout

T = TypeVar("T", Outcome, ReceiptsOutcome, OrdersOutcome, RetentionOutcome)
_RATE_PER_S: Final = 600.0
_GUARD_LIMIT_S: Final = 300.0

_seed = click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same schedule.")
_rate = click.option("--rate", type=float, default=_RATE_PER_S, show_default=True, help="Requests published (1/s).")
_only = click.option("--only", multiple=True, help="Kinds of faults, or a guard, by name; all if none is given.")
_minutes = click.option("--minutes", type=float, default=math.inf, help="Cut short after so long (min).")


@click.group()
def main() -> None:
    """Faults under load, with every promise checked."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.disable(logging.CRITICAL)


@main.command()
@click.argument("what", type=click.Choice(get_args(What)))
@_seed
@_rate
@_only
@click.option("--requests", type=int, default=0, show_default=True, help="Published at least.")
@_minutes
def faults(
    what: What,
    seed: int,
    rate: float,
    only: tuple[str, ...],
    requests: int,
    minutes: float,
) -> None:
    """Every kind of fault once, or as often as it is to be, or every pair of kinds, or only workers killed."""
    plan = Plan(seed, requests, rate, what)
    click.echo(f"{plan}")
    kinds = [kind for kind in KINDS if not only or kind.name in only]
    outcome = _in_scratch(lambda directory: run(plan, directory, kinds, _say, limit_s=60 * minutes))
    if what != "once":
        report.keep(outcome)
    _tell(outcome)
    sys.exit(1 if outcome.violations else 0)


@main.command()
@_seed
@_rate
@_only
@_minutes
def brokers(seed: int, rate: float, only: tuple[str, ...], minutes: float) -> None:
    """Faults of Kafka with three brokers, each several times: one dies, freezes, restarts, has a full disk."""
    _in_cluster(Plan(seed, 0, rate, "kinds"), BROKER_KINDS, only, minutes, "three brokers")


@main.command()
@_seed
@_rate
@_only
@_minutes
def patroni(seed: int, rate: float, only: tuple[str, ...], minutes: float) -> None:
    """Faults of Postgres with three nodes under Patroni, each several times: one dies, freezes, hands over."""
    if why_not := patroni_cluster.missing():
        raise click.ClickException(f"Patroni cannot run here: {why_not}.")
    _in_cluster(Plan(seed, 0, rate, "kinds"), PATRONI_KINDS, only, minutes, "Patroni")


def _in_cluster(plan: Plan, kinds: Sequence[Kind], only: tuple[str, ...], minutes: float, layout: Layout) -> None:
    click.echo(f"{plan}")
    chosen = [kind for kind in kinds if not only or kind.name in only]
    outcome = _in_scratch(lambda directory: run(plan, directory, chosen, _say, limit_s=60 * minutes, layout=layout))
    report.keep(outcome, {"three brokers": "brokers", "Patroni": "patroni"}.get(layout))
    _tell(outcome)
    sys.exit(1 if outcome.violations else 0)


@main.command()
@_seed
@_rate
@_only
def without(seed: int, rate: float, only: tuple[str, ...]) -> None:
    """Take out one guard after the other, and see which check finds it, within five minutes each."""
    found = []
    for guard in guards.GUARDS:
        if only and guard.name not in only:
            continue
        click.echo(f"without: {guard.name}")
        began = time.monotonic()
        plan = Plan(seed, 0, rate, "once")

        async def attempt(directory: Path, guard: guards.Guard = guard, plan: Plan = plan) -> Outcome:
            variables = {"PYTHONPATH": str(guards.without(guard.edits, directory / "copy"))}
            return await run(plan, directory, guard.under, _say, variables, guard.sql, _GUARD_LIMIT_S)

        outcome = _in_scratch(attempt)
        checks = list(dict.fromkeys(f"{one.promise}: {one.check}" for one in outcome.violations))
        found.append({"guard": guard.name, "checks": checks, "took_s": outcome.found_s or time.monotonic() - began})
        click.echo(f"  {checks[0] if checks else 'NOT FOUND'}, after {found[-1]['took_s']:.0f} s")
    report.keep_guards(found)
    sys.exit(0 if all(one["checks"] for one in found) else 1)


@main.command()
@_seed
@click.option("--sends", type=click.IntRange(1), default=1_000_000, show_default=True, help="Messages to send.")
@click.option("--share", type=click.FloatRange(0, 1), default=0.03, show_default=True, help="Share that fails.")
@click.option(
    "--without", "name", type=click.Choice([guard.name for guard in guards.RECEIPT_GUARDS]), help="Take out a guard."
)
def receipts(seed: int, sends: int, share: float, name: str | None) -> None:
    """Sends fail while workers are killed: each of their codes is returned, voided or kept, exactly once."""
    guard = next((one for one in guards.RECEIPT_GUARDS if one.name == name), None)

    async def attempt(directory: Path) -> ReceiptsOutcome:
        variables = _variables(guard, directory)
        return await run_receipts(sends, share, seed, directory, _say, variables, guard.sql if guard else ())

    _conclude(_in_scratch(attempt), guard)


@main.command()
@_seed
@click.option("--orders", type=int, default=5_000, show_default=True, help="Orders that ask for a code.")
@click.option("--codes", type=int, default=50, show_default=True, help="Codes of each program that they ask for.")
@click.option(
    "--without", "name", type=click.Choice([guard.name for guard in guards.ORDER_GUARDS]), help="Take out a guard."
)
def orders(seed: int, orders: int, codes: int, name: str | None) -> None:
    """Orders hold codes and are paid or paid back while issuers are killed: each code is used as often as it may."""
    guard = next((one for one in guards.ORDER_GUARDS if one.name == name), None)

    async def attempt(directory: Path) -> OrdersOutcome:
        return await run_orders(orders, codes, seed, directory, _say, _variables(guard, directory))

    _conclude(_in_scratch(attempt), guard)


@main.command()
@_seed
@click.option("--requests", type=int, default=20_000, show_default=True, help="Requests, each with up to two copies.")
@click.option(
    "--without", "name", type=click.Choice([guard.name for guard in guards.RETENTION_GUARDS]), help="Take out a guard."
)
def retention(seed: int, requests: int, name: str | None) -> None:
    """Old answers leave while workers are killed and requests come again: none gets a second code, none is lost."""
    guard = next((one for one in guards.RETENTION_GUARDS if one.name == name), None)

    async def attempt(directory: Path) -> RetentionOutcome:
        return await run_retention(requests, seed, directory, _say, _variables(guard, directory))

    _conclude(_in_scratch(attempt), guard)


def _variables(guard: guards.Guard | None, directory: Path) -> dict[str, str]:
    directory.chmod(0o755)
    return {} if guard is None else {"PYTHONPATH": str(guards.without(guard.edits, directory / "copy"))}


def _conclude(outcome: ReceiptsOutcome | OrdersOutcome | RetentionOutcome, guard: guards.Guard | None) -> None:
    """Print the outcome; the exit status is 1 where it is not as it should be with the guard or without."""
    for violation in outcome.violations[:50]:
        click.echo(f"VIOLATION {violation.promise}, {violation.check}: {violation.detail}"[:1_000])
    click.echo(json.dumps({**asdict(outcome), "violations": len(outcome.violations)}, indent=1))
    sys.exit(0 if bool(outcome.violations) == (guard is not None) else 1)


@main.command(name="report")
def write_report() -> None:
    """Write docs/reliability.md from what was kept."""
    report.write()


def _in_scratch(attempt: Callable[[Path], Coroutine[Any, Any, T]]) -> T:
    """Keep the workers' logs when an invariant was violated."""
    directory = Path(tempfile.mkdtemp(prefix="codewell-faults-"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(attempt(directory))
    if outcome.violations:
        click.echo(f"The workers' logs are in {directory / 'workers'}.")
    else:
        shutil.rmtree(directory)
    return outcome


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


def _tell(outcome: Outcome) -> None:
    for violation in outcome.violations[:50]:
        click.echo(f"VIOLATION {violation.promise}, {violation.check}: {violation.detail}"[:1_000])
    click.echo(json.dumps(report.figures(outcome), indent=1))


if __name__ == "__main__":
    main()
