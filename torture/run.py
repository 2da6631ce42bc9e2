"""One run: inject faults step by step under load; await recovery after each, and check every promise at the end."""

import asyncio
import math
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from codewell.infra.kafka.clients import producer
from torture import stream, webhooks
from torture.checker import Checker, Figures, look_at_producers, rules
from torture.kinds import Kind
from torture.ledger import Violation
from torture.load import Load
from torture.schedule import Plan, Step, schedule
from torture.site import PREFIX, Layout, Site, running_site

HEAL_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.05
_FIRST_ANSWERS: Final = 200
_START_LIMIT_S: Final = 90.0
_END_LIMIT_S: Final = 300.0
_SHOWN_MAX: Final = 5

Say = Callable[[str], object]


@dataclass
class Outcome:
    """The result of a run."""

    plan: Plan
    steps: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    healed_s: dict[str, list[float]] = field(default_factory=dict)
    """Recovery times by step kinds (s): until all requests from before the fault's end are answered."""
    times: Counter[str] = field(default_factory=Counter)
    """Injections by kind of fault."""
    figures: Figures = field(default_factory=lambda: Figures(0, 0, 0, 0, 0))
    published: int = 0
    copies_published: int = 0
    kills: int = 0
    deaths_at_points: int = 0
    answers_lost: int = 0
    remote_wrongs: int = 0
    failovers: int = 0
    upgrade_pauses_s: list[float] = field(default_factory=list)
    """The longest time without an answer in each rolling upgrade and its return (s)."""
    own_ends: Counter[str] = field(default_factory=Counter)
    """Workers that ended without a stop request, by kind and exit status."""
    violations: list[Violation] = field(default_factory=list)
    mishaps: list[str] = field(default_factory=list)
    """Faults whose injection or removal failed."""
    took_s: float = 0.0
    found_s: float | None = None
    """When the first violation was found, from the first request's answer (s)."""


class Run:
    """A run in progress."""

    def __init__(self, site: Site, load: Load, checker: Checker, outcome: Outcome, say: Say) -> None:
        self._site = site
        self._load = load
        self._checker = checker
        self._outcome = outcome
        self._say = say

    async def warm_up(self) -> None:
        """Wait until the deployment answers."""
        if not await self._answered(lambda: len(self._checker.ledger.answered) >= _FIRST_ANSWERS, _START_LIMIT_S):
            self._checker.ledger.violate("I7", "nothing is answered", "before the first fault")

    async def step(self, number: int, of: int, step: Step) -> None:
        """Inject the faults of one step, remove them, and wait until the deployment has recovered."""
        site, ledger = self._site, self._checker.ledger
        before, known = len(site.workers.deaths), len(ledger.violations)
        moments = step.moments()
        began = time.monotonic()
        acts = [kind.act(site, moment) for kind, moment in zip(step.kinds, moments, strict=True)]
        for failed in await asyncio.gather(*acts, return_exceptions=True):
            if isinstance(failed, BaseException):
                self._outcome.mishaps.append(f"{step.name}: {failed!r}")
                self._say(f"  went otherwise than planned: {failed!r}")
        for kind, moment in zip(step.kinds, moments, strict=True):
            self._outcome.times[kind.name] += moment.times
        ended = time.monotonic()
        asked = ledger.asked.keys() - ledger.answered.keys()
        if not await self._answered(lambda: not asked - ledger.answered.keys(), HEAL_LIMIT_S):
            left = asked - ledger.answered.keys()
            ledger.violate("I7", "not healed in 60 s", f"{step.name}: {len(left)} requests wait, as {min(left)}")
        healed_s = time.monotonic() - ended
        self._outcome.healed_s.setdefault(" + ".join(kind.name for kind in step.kinds), []).append(healed_s)
        self._outcome.steps += 1
        if not await self._looked(ended + HEAL_LIMIT_S):
            ledger.violate("I7", "Kafka or Postgres is away", step.name)
        self._say(
            f"{number:>4}/{of} {step.name}: {ended - began:.1f} s, healed after {healed_s:.1f} s; "
            f"{len(ledger.asked):,} requests, {len(site.workers.deaths) - before} deaths, "
            f"{len(ledger.violations)} violations"
        )
        for violation in ledger.violations[known : known + _SHOWN_MAX]:
            self._say(f"  {violation.promise}, {violation.check}: {violation.detail}"[:500])

    async def _looked(self, deadline: float) -> bool:
        """Whether the checker could read offsets and database. A server that has just restarted may refuse once."""
        checker = self._checker
        for look in (checker.look_at_offsets, partial(checker.look_at_database, whole=False)):
            while not await look():
                if time.monotonic() > deadline:
                    return False
                await asyncio.sleep(_POLL_S)
        return True

    async def end(self) -> None:
        """Stop the load, and check everything."""
        ledger, checker = self._checker.ledger, self._checker
        while self._load.published < self._outcome.plan.requests and not ledger.violations:
            await asyncio.sleep(_POLL_S)
        self._load.paused = True
        if not await self._answered(lambda: not ledger.waiting, HEAL_LIMIT_S):
            ledger.violate("I3", "requests without an answer", f"{ledger.waiting}, as {ledger.unanswered()}")
        if not await self._answered(lambda: not ledger.poisoned.keys() - ledger.buried, HEAL_LIMIT_S):
            ledger.violate("I3", "bad messages without a dead letter", f"{len(ledger.poisoned) - len(ledger.buried)}")
        async with asyncio.timeout(_END_LIMIT_S):
            while behind := await checker.behind():
                await asyncio.sleep(_POLL_S)
                if ledger.violations:
                    ledger.violate("I7", "offsets are not committed", repr(behind))
                    break
        await checker.look_at_offsets()
        if not await checker.look_at_database(whole=True):
            ledger.violate("I7", "the database is away", "at the end")
        await checker.compare()
        for found in (stream.found, webhooks.found):
            for one in await found(self._site, self._say):
                ledger.violate(*one)

    async def _answered(self, is_so: Callable[[], bool], limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while not is_so():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True


async def run(
    plan: Plan,
    directory: Path,
    kinds: Sequence[Kind],
    say: Say,
    variables: Mapping[str, str] | None = None,
    sql: Iterable[str] = (),
    until_s: float | None = None,
    limit_s: float = math.inf,
    layout: Layout = "one machine",
) -> Outcome:
    """Run a plan; stop after the step in which `limit_s` (s) passed.

    With `until_s` (s) the plan is repeated until the first violation, or until that time has passed.
    """
    outcome = Outcome(plan)
    began = time.monotonic()
    async with running_site(directory, random.Random(plan.seed), variables or {}, sql, layout) as site:
        checker = Checker(site.bootstrap, PREFIX, site.postgres_url, await rules(site.postgres_url()))
        ledger = checker.ledger
        async with _loaded(site, checker, plan) as load:
            possible = []
            for kind in kinds:
                why_not = kind.why_not(site)
                if why_not is None:
                    possible.append(kind)
                else:
                    outcome.left_out[kind.name] = why_not
            steps = schedule(plan, possible)
            going = Run(site, load, checker, outcome, say)
            await going.warm_up()
            number = 0
            while not (until_s is not None and (ledger.violations or time.monotonic() - began > until_s)):
                if until_s is None and (number >= len(steps) or time.monotonic() - began > limit_s):
                    break
                await going.step(number + 1, len(steps), steps[number % len(steps)])
                look_at_producers(ledger, site.brokers.data, PREFIX)
                number += 1
                if ledger.violations and outcome.found_s is None:
                    outcome.found_s = time.monotonic() - began
            if until_s is None or not ledger.violations:
                await going.end()
            look_at_producers(ledger, site.brokers.data, PREFIX)
            outcome.published, outcome.copies_published = load.published, load.copies
        outcome.figures, outcome.violations = checker.figures, ledger.violations
        outcome.kills, outcome.deaths_at_points = site.kills, site.deaths_at_points
        outcome.answers_lost, outcome.failovers = site.postgres.answers_lost, site.failovers
        outcome.remote_wrongs = site.service.wrongs
        outcome.upgrade_pauses_s = site.upgrade_pauses_s
        for death in site.workers.deaths:
            if death.status not in {-signal.SIGKILL, -signal.SIGTERM, 0}:
                outcome.own_ends[f"{death.name.partition('-')[0]}, status {death.status}"] += 1
    outcome.took_s = time.monotonic() - began
    if outcome.violations and outcome.found_s is None:
        outcome.found_s = outcome.took_s
    return outcome


@asynccontextmanager
async def _loaded(site: Site, checker: Checker, plan: Plan) -> AsyncIterator[Load]:
    """Run the load and the checker during the block."""
    sending = producer(site.bootstrap)
    site.load = load = Load(sending, PREFIX, random.Random(plan.seed), plan.rate_per_s, lambda: checker.ledger.waiting)

    async def publish() -> None:
        while True:
            # Records unacknowledged during a broker outage may be stored or not; stored ones are requests like others.
            with suppress(KafkaError, TimeoutError):
                await load.run()

    try:
        await sending.start()
        await checker.open()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (publish(), checker.watch(), checker.watch_database())]
            yield load
            for task in tasks:
                task.cancel()
    finally:
        await sending.stop()
        await checker.close()
