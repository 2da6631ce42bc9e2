"""Measures a backlog for many programs, with refusals and multi-program requests, beside one hot program."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.contenders import PRODUCT, Contender
from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.race import ALL_KINDS, CODES_A_REQUEST, WARM_UP_SHARE, Heat, Outcome, run
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.infra.postgres.connection import Connection
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ProgramSettings, TemplateSource

RATIO_GOAL: Final = 0.85
# Of each ten requests the first is refused and the second is for two programs: the codes are as many as the requests.
TEN: Final = 10
_REFUSED: Final = 0
_TWO: Final = 1


async def bench_mixed(requests: int, program_count: int, repetitions: int, progress: Progress) -> Report:
    """Answer both backlogs in turn. `requests` is rounded down to a multiple of 200. Raises CodewellError.

    Each program gets the same number of requests, so that none of them runs empty.
    """
    report = Report("mixed", facts())
    asked = max(1, requests // (TEN * WARM_UP_SHARE)) * TEN * WARM_UP_SHARE
    outcomes: dict[str, list[Outcome]] = {}
    async with fresh_servers(progress) as servers:
        for repetition in range(1, repetitions + 1):
            for kind, contender in (("hot", PRODUCT), ("mixed", crowd(program_count))):
                name = f"{kind}_{repetition}"
                heat = Heat(contender, 1, asked, asked // WARM_UP_SHARE, asked * CODES_A_REQUEST, name)
                outcome = await run(heat, servers)
                progress(f"{contender.name}, {repetition} of {repetitions}: {outcome.rate:,.0f} requests/s")
                outcomes.setdefault(kind, []).append(outcome)
    for kind, label in (("hot", "one hot program"), ("mixed", f"{program_count:,} programs")):
        report.add(label, "requests/s", [one.rate for one in outcomes[kind]])
        report.add(f"{label}: CPU", "us/request", [one.cpu_us(*ALL_KINDS) for one in outcomes[kind]])
    ratios = [one.rate / hot.rate for one, hot in zip(outcomes["mixed"], outcomes["hot"], strict=True)]
    ratio = report.add("mixed / hot", OF_CEILING, ratios)
    report.goals.append(Goal("share of the one hot program", ratio.rate, RATIO_GOAL))
    return report


def crowd(program_count: int) -> Contender:
    """The product with `program_count` programs, named after the run's program and numbered, and one that has ended."""
    return replace(
        PRODUCT,
        name=f"{program_count:,} programs",
        stock=_stock(program_count),
        given=_given,
        wanted=lambda name, number: wanted(name, number, program_count),
    )


def wanted(name: str, number: int, program_count: int) -> Sequence[str]:
    """The programs of one request."""
    place = number % TEN
    if place == _REFUSED:
        return [_ended(name)]
    places = (place - 1, place) if place == _TWO else (place,)
    return [_one(name, (number - number % TEN + place) % program_count) for place in places]


def _one(name: str, number: int) -> str:
    return f"{name}_{number}"


def _ended(name: str) -> str:
    return f"{name}_ended"


def _stock(program_count: int) -> Callable[[Connection, str, int], Awaitable[None]]:
    async def stock(connection: Connection, name: str, count: int) -> None:
        minters = Minters(None)
        each = -(-count // program_count)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        # One commit for all, as this is not measured.
        async with connection.transaction():
            await programs.create(connection, minters, _settings(_ended(name), each, yesterday), guesses_per_s=10)
            for number in range(program_count):
                settings = _settings(_one(name, number), each, None)
                program = await programs.create(connection, minters, settings, guesses_per_s=10)
                await fill.generate(connection, minters, program.id, each, None)
        await connection.execute("ANALYZE program, block")

    return stock


def _settings(name: str, codes: int, ended: datetime | None) -> ProgramSettings:
    return ProgramSettings(
        name=name,
        source=TemplateSource(kind="template", template="{string 4}-{number 4}-{upstring 4}"),
        codes_max=codes,
        pool_max=codes,
        valid_until=ended or datetime.now(UTC) + timedelta(days=30),
        ttl=timedelta(days=30),
    )


async def _given(connection: Connection, name: str) -> int:
    """Each attached code. Their number equals that of the requests only if exactly a tenth was refused."""
    return int(
        await connection.fetchval(
            "SELECT coalesce(sum(attached), 0)::bigint FROM block JOIN program ON program.id = program_id "
            "WHERE name ~ $1",
            f"^{name}_[0-9]+$",
        )
    )
