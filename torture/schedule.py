"""Schedules the faults: a pure function of the plan and the seed."""

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from torture.kinds import Kind
from torture.moment import Moment

What = Literal["once", "kinds", "pairs", "kills"]

_PAIR_LASTS_MAX_S = 5.0
_KILL_ROUNDS = 10


class Plan(NamedTuple):
    """The plan of a run."""

    seed: int
    requests: int
    """Minimum number of published requests."""
    rate_per_s: float
    """Maximum rate of requests (1/s)."""
    what: What
    """Every kind once, or each kind repeated, or every pair of kinds once, or only killed workers."""


class Step(NamedTuple):
    """Faults that are injected together."""

    kinds: tuple[Kind, ...]
    seed: int
    times: tuple[int, ...]
    lasts_s: tuple[float, ...]

    @property
    def name(self) -> str:
        """The name for output."""
        parts = []
        for kind, times, lasts_s in zip(self.kinds, self.times, self.lasts_s, strict=True):
            more = f" {lasts_s:g} s" if lasts_s else f" x{times}" if times > 1 else ""
            parts.append(kind.name + more)
        return " + ".join(parts)

    def moments(self) -> list[Moment]:
        """Random generators, one for each kind, each seeded separately."""
        chance = random.Random(self.seed)
        return [
            Moment(random.Random(chance.getrandbits(64)), times, lasts_s)
            for times, lasts_s in zip(self.times, self.lasts_s, strict=True)
        ]


def schedule(plan: Plan, kinds: Sequence[Kind]) -> list[Step]:
    """The steps of a run with these kinds."""
    chance = random.Random(plan.seed)
    if plan.what == "once":
        return [Step((kind,), chance.getrandbits(64), (kind.short_times,), (kind.lasts_s[0],)) for kind in kinds]
    if plan.what == "kills":
        killed = [
            kind for kind in kinds if kind.name.startswith(("issuer killed", "generator killed", "lifecycle killed"))
        ]
        steps = [
            Step((kind,), chance.getrandbits(64), (kind.times,), (0,)) for _ in range(_KILL_ROUNDS) for kind in killed
        ]
    elif plan.what == "kinds":
        steps = []
        # Round by round, so that a run that is stopped early has had every kind.
        for number in range(max(kind.steps for kind in kinds)):
            some = [
                Step((kind,), chance.getrandbits(64), (kind.times,), (kind.lasts_s[number % len(kind.lasts_s)],))
                for kind in kinds
                if number < kind.steps
            ]
            chance.shuffle(some)
            steps += some
    else:
        steps = [
            Step(
                pair,
                chance.getrandbits(64),
                tuple(kind.short_times for kind in pair),
                tuple(min(kind.lasts_s[0], _PAIR_LASTS_MAX_S) for kind in pair),
            )
            for pair in combinations(kinds, 2)
        ]
        chance.shuffle(steps)
    return steps
