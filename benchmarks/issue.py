"""Measures throughput on a backlog: the product, two usual builds, and ceilings.

The loop without a database becomes faster with the product's own code; librdkafka and `COPY` alone do not.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.contenders import BATCHES, CEILING, LIBRDKAFKA, PEER, PRODUCT, Contender
from benchmarks.copy_alone import copied
from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.race import ALL_KINDS, CODES_A_REQUEST, WARM_UP_SHARE, Heat, Outcome, run
from benchmarks.report import OF_CEILING, Goal, Progress, Report, Result
from services.standalone.servers import Servers

PEER_RATIO_GOAL: Final = 60
ONE_RATIO_GOAL: Final = 0.7
MORE_RATIO_GOAL: Final = 0.6
MEMORY_GOAL_MB: Final = 150
CPU_GOAL_US: Final = 14

# The peers are so much slower that they need fewer requests for a measurement of the same duration.
REQUESTS_SHARE: Final = {PEER.name: 80, BATCHES.name: 10}

COPY: Final = "COPY of the answers"

Entry = tuple[Contender, int]
Outcomes = dict[Entry, list[Outcome]]


async def bench_issue(requests: int, issuers: Sequence[int], repetitions: int, progress: Progress) -> Report:
    """Run all in turn: product and ceilings with each number of issuers, the peers with the first of them; and COPY.

    Raises CodewellError when one can't run or does not answer.
    """
    report = Report("issue", facts())
    outcomes: Outcomes = {entry: [] for entry in _entries(issuers)}
    copies: list[Outcome] = []
    async with fresh_servers(progress) as servers:
        for repetition in range(1, repetitions + 1):
            for entry, seen in outcomes.items():
                outcome = await _heat(entry, requests, repetition, servers)
                progress(f"{_label(entry)}, {repetition} of {repetitions}: {outcome.rate:,.0f} requests/s")
                seen.append(outcome)
            copies.append(await copied(requests, servers))
            progress(f"{COPY}, {repetition} of {repetitions}: {copies[-1].rate:,.0f} requests/s")
    _add_rates(report, outcomes, copies, issuers)
    _add_cost(report, outcomes, copies, issuers[0])
    return report


def _entries(issuers: Sequence[int]) -> Iterator[Entry]:
    for count in issuers:
        yield PRODUCT, count
        if count == issuers[0]:
            yield PEER, count
            yield BATCHES, count
        yield CEILING, count
        yield LIBRDKAFKA, count


async def _heat(entry: Entry, requests: int, repetition: int, servers: Servers) -> Outcome:
    contender, count = entry
    asked = max(1, requests // REQUESTS_SHARE.get(contender.name, 1))
    name = f"{contender.group.replace('-', '_')}_{count}_{repetition}"
    # The peers have as many codes as the product, though they attach fewer.
    codes = requests * CODES_A_REQUEST
    return await run(Heat(contender, count, asked, max(1, asked // WARM_UP_SHARE), codes, name), servers)


def _label(entry: Entry) -> str:
    contender, count = entry
    return f"{contender.name}, {count} issuer{'s' if count > 1 else ''}"


def _add_rates(report: Report, outcomes: Outcomes, copies: Sequence[Outcome], issuers: Sequence[int]) -> None:
    for entry, runs in outcomes.items():
        report.add(_label(entry), "requests/s", [one.rate for one in runs])
    report.add(COPY, "requests/s", [one.rate for one in copies])
    first = issuers[0]
    for peer in (PEER, BATCHES):
        ratios = _ratios(outcomes[PRODUCT, first], outcomes[peer, first])
        to_peer = report.add(f"{_label((PRODUCT, first))} / {peer.name}", "times", ratios)
        if peer is PEER:
            report.goals.append(Goal("times the usual build", to_peer.rate, PEER_RATIO_GOAL))
    for count in issuers:
        ratios = _ratios(outcomes[PRODUCT, count], outcomes[CEILING, count])
        to_ceiling = report.add(f"{_label((PRODUCT, count))} / {CEILING.name}", OF_CEILING, ratios)
        name = f"share of the loop without a database, {count} issuer{'s' if count > 1 else ''}"
        report.goals.append(Goal(name, to_ceiling.rate, ONE_RATIO_GOAL if count == 1 else MORE_RATIO_GOAL))


def _add_cost(report: Report, outcomes: Outcomes, copies: Sequence[Outcome], first: int) -> None:
    product = [run for (contender, _), runs in outcomes.items() if contender is PRODUCT for run in runs]
    memory = report.add("issuer's peak memory", "MB", [one.peak_memory_mb for one in product])
    report.goals.append(Goal("MB of the issuer's peak memory", memory.rate, MEMORY_GOAL_MB, at_least=False))
    cpu = Result.of("issuer's CPU", "us/request", [one.cpu_us("issuer") for one in outcomes[PRODUCT, first]])
    report.goals.append(Goal("us of the issuer's CPU a request", cpu.rate, CPU_GOAL_US, at_least=False))
    for entry, runs in outcomes.items():
        if entry[0] not in {PEER, BATCHES}:
            _add_cpu(report, _label(entry), runs)
    _add_cpu(report, COPY, copies)
    least = [
        kafka.cpu_us("issuer", "kafka") + copy.cpu_us("client", "postgres")
        for kafka, copy in zip(outcomes[LIBRDKAFKA, first], copies, strict=True)
    ]
    spent = [one.cpu_us(*ALL_KINDS) for one in outcomes[PRODUCT, first]]
    shares = [few / more for few, more in zip(least, spent, strict=True)]
    report.add(f"CPU of {LIBRDKAFKA.name} and COPY / of {_label((PRODUCT, first))}", OF_CEILING, shares)
    report.add("others meanwhile", "cores", [one.others_cores for runs in outcomes.values() for one in runs])


def _add_cpu(report: Report, name: str, runs: Sequence[Outcome]) -> None:
    for kind in runs[0].cpu_s:
        report.add(f"{name}: CPU of {kind}", "us/request", [one.cpu_us(kind) for one in runs])


def _ratios(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> list[float]:
    """The ratio of each repetition, as a slow phase of the machine slows both sides."""
    return [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
