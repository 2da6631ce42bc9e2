"""Long manual runs: `python -m torture faults|without|report --help`. `make torture` runs them all."""

import asyncio
import json
import logging
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

import click
import structlog
import uvloop

from torture import guards, report
from torture.kinds import KINDS
from torture.run import Outcome, run
from torture.schedule import Plan, What

_RATE_PER_S: Final = 600.0
_GUARD_LIMIT_S: Final = 300.0

_seed = click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same schedule.")
_rate = click.option("--rate", type=float, default=_RATE_PER_S, show_default=True, help="Requests published (1/s).")
_only = click.option("--only", multiple=True, help="Kinds of faults, or a guard, by name; all if none is given.")


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
@click.option("--minutes", type=float, default=math.inf, help="Cut short after so long (min).")
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


@main.command(name="report")
def write_report() -> None:
    """Write docs/reliability.md from what was kept."""
    report.write()


def _in_scratch(attempt: Callable[[Path], Any]) -> Outcome:
    """Keep the workers' logs when an invariant was violated."""
    directory = Path(tempfile.mkdtemp(prefix="codewell-faults-"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome: Outcome = runner.run(attempt(directory))
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
