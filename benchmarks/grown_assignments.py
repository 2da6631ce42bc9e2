"""Rate of programs that give a profile its code again, with very many assignments, beside one that does not.

All assignments are of one program, a third in each scope: the program, a campaign, a step of a scenario. Their profiles
are random, as in life: neighbours in the index did not come one after the other. Each run is for profiles that the
program does not know, or for profiles of one scope, and is compared with requests to a program that reuses no codes, on
the same database, just before.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from benchmarks.contenders import PRODUCT, Contender
from benchmarks.race import ALL_KINDS, CODES_A_REQUEST, WARM_UP_SHARE, Heat, Outcome, run
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, connection
from codewell.issuing.assignment_keys import step_scope
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from services.standalone.servers import Servers

SHARE_GOAL: Final = 0.75
CAMPAIGN: Final = "spring"
SCENARIO, STEP = "welcome", "gift"
_SCOPES: Final = {"profile": "", "campaign": f"campaign:{CAMPAIGN}", "step": step_scope(SCENARIO, STEP)}
_TIMEOUT_S: Final = 3_600
# Each run has topics of its own, and Kafka, with the memory of a small machine, ended at the fortieth.
REPETITIONS_MAX: Final = 2

# A tree that grew by random keys is some 70 % full; pages of one that was just built are fuller, and would soon split.
_DROP_KEY: Final = "ALTER TABLE holding DROP CONSTRAINT holding_once"
_ADD_KEY: Final = """
    ALTER TABLE holding ADD CONSTRAINT holding_once PRIMARY KEY (program_id, profile_id, scope) WITH (fillfactor = 70)
    """
_RESET_KEY: Final = "ALTER INDEX holding_once RESET (fillfactor)"
# One row in so many is added to the index by itself, after the checkpoint. They write most of its pages, as those that
# came since the last checkpoint have in a database at work. The first write of a page after a checkpoint logs it whole.
_SINCE_CHECKPOINT: Final = 20
# The number of a profile is that of its code, and gives its scope.
_ASSIGN: Final = """
    INSERT INTO holding (program_id, profile_id, scope, block_id, position, code, expires_at)
    SELECT program_id, profile_id, ($2::text[])[1 + right(code, 10)::bigint % 3], block_id, position, code, expires_at
    FROM answer WHERE program_id = $1 AND position % $3 = ANY($4::integer[])
    """
# Its maximum is reached, so that no issuer publishes a demand.
_MAKE_ROOM: Final = """
    UPDATE program SET codes_max = made + $2, pool_max = least(pool_max, made + $2), reuse = $3 WHERE id = $1
    """
_PROGRAM_ID: Final = "SELECT id FROM program WHERE name = $1"
_ATTACHED: Final = "SELECT sum(attached)::bigint FROM block WHERE program_id = $1"
_ASSIGNMENTS: Final = "SELECT count(*) FROM holding WHERE program_id = $1"

Reuse = Literal["profile", "campaign", "step"]


class Case(NamedTuple):
    """One run: a policy, and whether the program knows the profiles."""

    reuse: Reuse
    known: bool

    @property
    def label(self) -> str:
        """Label in the report."""
        return f"reuse: {self.reuse}, {'known' if self.known else 'new'} profiles"


CASES: Final = tuple(Case(reuse, known) for reuse in ("profile", "campaign", "step") for known in (False, True))


async def bench_assignments(
    url: str, servers: Servers, report: Report, requests: int, program: str, repetitions: int, progress: Progress
) -> None:
    """Run all cases in this database, where `assign` was before, and add them to the report.

    There are at most REPETITIONS_MAX repetitions. Raises CodewellError when a run gave a known profile another code, or
    a new one none.
    """
    async with connection(url, "codewell-bench") as opened:
        program_id = await opened.fetchval(_PROGRAM_ID, program)
        assigned = await opened.fetchval(_ASSIGNMENTS, program_id, timeout=_TIMEOUT_S)
    outcomes: dict[str, list[Outcome]] = {}
    shares: dict[str, list[float]] = {}
    new = iter(range(assigned, 10**9, requests))
    repetitions = min(repetitions, REPETITIONS_MAX)
    for repetition in range(1, repetitions + 1):
        plain = replace(PRODUCT, data=lambda program, number: _render(program, scattered(number)))
        for case in CASES:
            if not case.known:
                base = await _run(plain, requests, f"REQUEST_{case.reuse}_{repetition}", url, servers)
                outcomes.setdefault("reuse: request", []).append(base)
            first = 0 if case.known else next(new)
            contender = _contender(program, program_id, case, _profiles(case, first, assigned))
            async with connection(url, "codewell-bench") as opened:
                before = await opened.fetchval(_ATTACHED, program_id)
                outcome = await _run(contender, requests, f"{case.reuse}_{case.known}_{repetition}", url, servers)
                attached = await opened.fetchval(_ATTACHED, program_id) - before
            _check(f"{case.label}: {requests:,} requests attached", attached, 0 if case.known else requests)
            progress(
                f"{case.label}, {repetition} of {repetitions}: {outcome.rate:,.0f} requests/s, request {base.rate:,.0f}"
            )
            outcomes.setdefault(case.label, []).append(outcome)
            shares.setdefault(case.label, []).append(outcome.rate / base.rate)
    async with connection(url, "codewell-bench") as opened:
        made = await opened.fetchval(_ASSIGNMENTS, program_id, timeout=_TIMEOUT_S) - assigned
    _check("all requests were assigned", made, repetitions * requests * sum(not case.known for case in CASES))
    for label, runs in outcomes.items():
        report.add(f"{assigned:,} assignments, {label}", "requests/s", [one.rate for one in runs])
        report.add(f"{label}: CPU", "us/request", [one.cpu_us(*ALL_KINDS) for one in runs])
    for label, seen in shares.items():
        ratio = report.add(f"{label} / request", OF_CEILING, seen)
        report.goals.append(Goal(f"share of reuse: request, {label}", ratio.rate, SHARE_GOAL))


def scattered(number: int) -> str:
    """The profile of this number below 10^10: different, and in no order."""
    return f"p-{number * 2_654_435_761 % 10**10:010d}"


async def assign(url: str, program: str, progress: Progress) -> None:
    """Store an assignment for each code of this program, which `grow` has made with scattered profiles."""
    progress(f"{program}: storing its assignments")
    async with connection(url, "codewell-bench") as opened, connection(url, "codewell-bench") as other:
        for one in (opened, other):
            await one.execute("SET synchronous_commit = off; SET maintenance_work_mem = '1GB'")
        await opened.execute(_DROP_KEY)
        rows = (await opened.fetchval(_PROGRAM_ID, program), list(_SCOPES.values()), _SINCE_CHECKPOINT)
        before = range(1, _SINCE_CHECKPOINT)
        await asyncio.gather(
            opened.execute(_ASSIGN, *rows, before[::2], timeout=_TIMEOUT_S),
            other.execute(_ASSIGN, *rows, before[1::2], timeout=_TIMEOUT_S),
        )
        await opened.execute(_ADD_KEY, timeout=_TIMEOUT_S)
        await opened.execute(_RESET_KEY)
        await opened.execute("CHECKPOINT", timeout=_TIMEOUT_S)
        await opened.execute(_ASSIGN, *rows, [0], timeout=_TIMEOUT_S)
        await opened.execute("VACUUM ANALYZE holding", timeout=_TIMEOUT_S)


def _profiles(case: Case, first: int, assigned: int) -> Callable[[int], str]:
    """Profiles by the number of the request: from `first` on, or those that have a code in the case's scope."""
    if not case.known:
        return lambda number: scattered(first + number)
    place, each = list(_SCOPES).index(case.reuse), assigned // len(_SCOPES)
    return lambda number: scattered(number * 7_919 % each * len(_SCOPES) + place)


def _contender(program: str, program_id: int, case: Case, profile: Callable[[int], str]) -> Contender:
    async def stock(opened: Connection, name: str, count: int) -> None:
        if name.endswith("_warm_up"):
            await PRODUCT.stock(opened, name, count)
            return
        await opened.execute(_MAKE_ROOM, program_id, count, case.reuse)
        await fill.generate(opened, Minters(None), program_id, count, None)

    async def given(_opened: Connection, _name: str) -> None:
        """The caller counts."""

    def data(name: str, number: int) -> Mapping[str, object]:
        asked = name if name.endswith("_warm_up") else program
        if case.reuse == "step":
            return {"profile_id": profile(number), "scenario_id": SCENARIO, "step_id": STEP, "program": asked}
        return _render(asked, profile(number))

    topic = "scenario-step" if case.reuse == "step" else PRODUCT.topic
    return replace(PRODUCT, name=case.label, stock=stock, given=given, data=data, topic=topic)


def _render(program: str, profile_id: str) -> Mapping[str, object]:
    return {"profile_id": profile_id, "campaign_id": CAMPAIGN, "message_id": f"m-{profile_id}", "programs": [program]}


async def _run(contender: Contender, requests: int, name: str, url: str, servers: Servers) -> Outcome:
    warm_up, codes = max(1, requests // WARM_UP_SHARE), requests * CODES_A_REQUEST
    return await run(Heat(contender, 1, requests, warm_up, codes, name, url), servers)


def _check(what: str, seen: int, expected: int) -> None:
    if seen != expected:
        raise CodewellError(f"{what} {seen:,} codes, not {expected:,}.")
