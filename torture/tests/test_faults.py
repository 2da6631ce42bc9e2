"""Kinds of faults, each once, under load, with all promises checked independently of the product.

`make verify` has a quarter of the kinds in a run, and another quarter with another seed; `make test-nightly` has all.
"""

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

import pytest

from tests.support.seeded_random import VARIABLE
from torture.guards import GUARDS, Guard, without
from torture.kinds import KINDS, Kind
from torture.run import Outcome, run
from torture.schedule import Plan, What, schedule
from torture.site import Layout

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"
)

QUARTERS: Final = 4
# Takes two minutes, and has a test of its own in tests/e2e.
ELSEWHERE: Final = {"rolling upgrade"}


async def injected(
    plan: Plan, kinds: Sequence[Kind], directory: Path, layout: Layout = "one machine"
) -> Outcome:  # fmt: skip
    """Inject the kinds once; no promise may be broken."""
    sys.stdout.write(f"{VARIABLE}={plan.seed}\n")
    outcome = await run(plan, directory, kinds, lambda line: sys.stdout.write(f"{line}\n"), layout=layout)
    assert outcome.violations == [], outcome
    assert outcome.mishaps == []
    assert set(outcome.times) | set(outcome.left_out) == {kind.name for kind in kinds}
    return outcome


def new_seed() -> int:
    return int(os.environ.get(VARIABLE) or random.SystemRandom().randrange(10**6))


# A minute on an idle machine.
@pytest.mark.timeout(900)
async def test_a_quarter_of_the_kinds_of_fault(tmp_path: Path) -> None:
    seed = new_seed()
    plan = Plan(seed, requests=2_000, rate_per_s=200, what="once")
    kinds = [kind for kind in KINDS if kind.name not in ELSEWHERE]
    outcome = await injected(plan, kinds[seed % QUARTERS :: QUARTERS], tmp_path)
    assert outcome.published >= plan.requests


# Three minutes on an idle machine.
@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_every_kind_of_fault_once(tmp_path: Path) -> None:
    plan = Plan(new_seed(), requests=5_000, rate_per_s=400, what="once")
    outcome = await injected(plan, KINDS, tmp_path)
    assert outcome.deaths_at_points > 0
    assert outcome.answers_lost > 0
    assert outcome.failovers == 1


@pytest.mark.parametrize("what", get_args(What))
def test_the_same_seed_gives_the_same_schedule(what: What) -> None:
    plan = Plan(17, requests=0, rate_per_s=1, what=what)
    steps, again = schedule(plan, KINDS), schedule(plan, KINDS)
    assert steps == again
    assert [[moment.chance.random() for moment in step.moments()] for step in steps] == [
        [moment.chance.random() for moment in step.moments()] for step in again
    ]
    assert schedule(plan._replace(seed=18), KINDS) != steps


def test_every_kind_and_every_pair_has_its_turn() -> None:
    plan = Plan(17, requests=0, rate_per_s=1, what="kinds")
    assert {kind for step in schedule(plan, KINDS) for kind in step.kinds} == set(KINDS)
    pairs = [frozenset(kind.name for kind in step.kinds) for step in schedule(plan._replace(what="pairs"), KINDS)]
    assert len(pairs) == len(set(pairs)) == len(KINDS) * (len(KINDS) - 1) // 2


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_every_guard_can_be_taken_out(guard: Guard, tmp_path: Path) -> None:
    assert guard.under
    # Raises when the source has changed, and the long run would test nothing.
    copy = without(guard.edits, tmp_path)
    assert (copy / "services" / "issuer" / "worker.py").exists()
