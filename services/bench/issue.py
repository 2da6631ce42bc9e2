"""How fast a backlog of requests is answered: the product, the usual build and the loop without a database in turn."""

from collections.abc import Sequence
from typing import Final

from services.bench.contenders import CEILING, PEER, PRODUCT, Contender
from services.bench.fresh import fresh_servers
from services.bench.machine import facts
from services.bench.race import Heat, Outcome, run
from services.bench.report import OF_CEILING, Goal, Progress, Report
from services.standalone.servers import Servers

RATE_GOAL: Final = 25_000
PEER_RATIO_GOAL: Final = 25
CEILING_RATIO_GOAL: Final = 0.7
MEMORY_GOAL_MB: Final = 150

# The peer is so much slower that it needs fewer requests for as long a measurement.
PEER_REQUESTS_SHARE: Final = 40
WARM_UP_SHARE: Final = 20
# Twice as many codes as requests stand ready, for the peer too.
CODES_A_REQUEST: Final = 2

Outcomes = dict[str, list[Outcome]]


async def bench_issue(requests: int, issuers: int, repetitions: int, progress: Progress) -> Report:
    """Run all three in turn, so often. Raises CodewellError when one can't run or doesn't answer."""
    machine = facts()
    outcomes: Outcomes = {one.name: [] for one in (PRODUCT, PEER, CEILING)}
    async with fresh_servers(progress) as servers:
        for repetition in range(1, repetitions + 1):
            for contender in (PRODUCT, PEER, CEILING):
                progress(f"{contender.name}, {repetition} of {repetitions}")
                outcome = await _heat(contender, requests, issuers, repetition, servers)
                progress(f"{contender.name}, {repetition} of {repetitions}: {outcome.rate:,.0f} requests/s")
                outcomes[contender.name].append(outcome)
    report = Report("issue", machine)
    _add_rates(report, outcomes, issuers)
    _add_cost(report, outcomes)
    return report


async def _heat(contender: Contender, requests: int, issuers: int, repetition: int, servers: Servers) -> Outcome:
    asked = max(1, requests // PEER_REQUESTS_SHARE) if contender is PEER else requests
    name = f"{contender.group.replace('-', '_')}_{repetition}"
    warm_up = max(1, asked // WARM_UP_SHARE)
    return await run(Heat(contender, issuers, asked, warm_up, requests * CODES_A_REQUEST, name), servers)


def _add_rates(report: Report, outcomes: Outcomes, issuers: int) -> None:
    product, peer, ceiling = (outcomes[one.name] for one in (PRODUCT, PEER, CEILING))
    rate = report.add(PRODUCT.name, "requests/s", [one.rate for one in product])
    report.add(PEER.name, "requests/s", [one.rate for one in peer])
    report.add(CEILING.name, "requests/s", [one.rate for one in ceiling])
    to_peer = report.add("codewell / usual build", "times", _ratios(product, peer))
    to_ceiling = report.add("codewell / no database", OF_CEILING, _ratios(product, ceiling))
    if issuers == 1:
        report.goals.append(Goal("requests/s of one issuer", rate.rate, RATE_GOAL))
    report.goals.append(Goal("times the usual build", to_peer.rate, PEER_RATIO_GOAL))
    report.goals.append(Goal("share of the loop without a database", to_ceiling.rate, CEILING_RATIO_GOAL))


def _add_cost(report: Report, outcomes: Outcomes) -> None:
    memory = report.add("issuer's peak memory", "MB", [one.peak_memory_mb for one in outcomes[PRODUCT.name]])
    report.goals.append(Goal("MB of the issuer's peak memory", memory.rate, MEMORY_GOAL_MB, at_least=False))
    for name, runs in outcomes.items():
        for kind in runs[0].cpu_s:
            spent = [1_000 * one.cpu_s[kind] / one.requests for one in runs]
            report.add(f"{name}: CPU of {kind}", "s/1,000 requests", spent)
    report.add("others meanwhile", "cores", [one.others_cores for runs in outcomes.values() for one in runs])


def _ratios(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> list[float]:
    """Of each repetition by itself, as what slows the machine down for a while slows down both."""
    return [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
