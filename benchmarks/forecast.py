"""Measures the forecasts of many programs, beside one program at a time, and beside reading their rows alone."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.fresh import fresh_postgres
from benchmarks.machine import facts
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.errors import CodewellError
from codewell.forecast import history, reading
from codewell.infra.postgres.connection import Connection, connection

SECONDS_GOAL: Final = 2.0
GOAL_PROGRAMS: Final = 10_000
# The peer is asked for so many of them.
_ONE_BY_ONE_MAX: Final = 500

_PROGRAMS: Final = """
    INSERT INTO program (name, title, description, groups, active, source, scenario_can_create, campaign_can_create,
                         shared, codes_max, pool_max, ttl_from, fields, reuse, allow_guessable, made)
    SELECT 'P' || n, '', '', '{}', true, '{"kind": "template", "template": "{safe 12}"}', true, true, false,
           600000 + n, 10000, 'creation', '[]', 'request', false, 500000
    FROM generate_series(1, $1::integer) n
    """
_BLOCKS: Final = """
    INSERT INTO block (program_id, kind, version, first, size, next, attached, open, origin)
    SELECT p.id, 'range', 1, n * 5000, 5000, CASE WHEN n < 98 THEN 5000 ELSE 0 END,
           CASE WHEN n < 98 THEN 5000 ELSE 0 END, n >= 98, 'pool'
    FROM program p, generate_series(96, 99) n
    """
# A day has its busy hours, and no hour is as the one before.
_USAGE: Final = """
    INSERT INTO usage_hour (program_id, hour, source, outcome, number)
    SELECT p.id, date_trunc('hour', now()) - make_interval(hours => h), 'campaign', 'attached',
           1 + (20 + 15 * sin((h % 24) / 3.8) + (p.id * 7919 + h * 104729) % 9)::bigint
    FROM program p, generate_series($1::integer, $2::integer) h
    """
_HOURS: Final = 29 * 24
_DAY: Final = 24
# With the index that the key needs, each row would take three times as long.
_DROP_KEY: Final = "ALTER TABLE usage_hour DROP CONSTRAINT usage_hour_pkey"
_ADD_KEY: Final = "ALTER TABLE usage_hour ADD PRIMARY KEY (program_id, hour, source, outcome)"


async def bench_forecast(programs: int, repetitions: int, progress: Progress) -> Report:
    """Forecast `programs` that gave a code in every hour of four weeks. Raises CodewellError."""
    report = Report("forecast", facts())
    async with fresh_postgres(progress) as (_, server), connection(server.url, "codewell-bench") as opened:
        async with connection(server.url, "codewell-bench") as other:
            await _fill(opened, other, programs, progress)
        keep_s = await _kept(opened)
        ids = [row["id"] for row in await opened.fetch("SELECT id FROM program ORDER BY id")]
        rates: dict[str, list[float]] = {"forecasts": [], "one program at a time": [], "the rows alone": []}
        for repetition in range(1, repetitions + 1):
            few = ids[:_ONE_BY_ONE_MAX]
            rates["the rows alone"].append(len(ids) / await _read(opened, ids))
            rates["forecasts"].append(len(ids) / await _forecast(opened, ids))
            rates["one program at a time"].append(len(few) / await _one_by_one(opened, few))
            told = ", ".join(f"{name} {seen[-1]:,.0f}/s" for name, seen in rates.items())
            progress(f"{repetition} of {repetitions}: {told}")
    for name, seen in rates.items():
        report.add(name, "programs/s", seen)
    report.add("an hour more for all programs", "s", [keep_s])
    shares = [ours / bare for ours, bare in zip(rates["forecasts"], rates["the rows alone"], strict=True)]
    report.add("forecasts / the rows alone", OF_CEILING, shares)
    seconds = report.add(f"forecasts of {programs:,} programs", "s", [programs / rate for rate in rates["forecasts"]])
    if programs >= GOAL_PROGRAMS:
        report.goals.append(Goal(f"seconds for {programs:,} programs", seconds.rate, SECONDS_GOAL, at_least=False))
    return report


async def _fill(opened: Connection, other: Connection, programs: int, progress: Progress) -> None:
    progress(f"making {programs:,} programs and {programs * _HOURS:,} hours of usage")
    await opened.execute(_PROGRAMS, programs)
    await opened.execute(_BLOCKS)
    days = range(2, _HOURS, _DAY)
    await opened.execute(_DROP_KEY)
    await asyncio.gather(_use(opened, days[::2]), _use(other, days[1::2]))
    await opened.execute(_ADD_KEY)
    await opened.execute("VACUUM ANALYZE program, block, usage_hour")
    await history.keep(opened)


async def _use(opened: Connection, days: Sequence[int]) -> None:
    """Add the usage of these days, each of which begins so many hours ago."""
    for first in days:
        await opened.execute(_USAGE, first, first + _DAY - 1)


async def _kept(opened: Connection) -> float:
    """Add an hour's usage to the history, and return the time (s)."""
    await opened.execute(_USAGE, 0, 1)
    await opened.execute("UPDATE demand_done SET until = until - interval '1 hour'")
    began = time.perf_counter()
    if not await history.keep(opened):
        raise CodewellError("There was no whole hour to add.")
    took = time.perf_counter() - began
    await opened.execute("VACUUM ANALYZE usage_hour, demand_day")
    return took


async def _read(opened: Connection, ids: list[int]) -> float:
    began = time.perf_counter()
    for first in range(0, len(ids), reading.BATCH_MAX):
        await reading.read(opened, ids[first : first + reading.BATCH_MAX])
    return time.perf_counter() - began


async def _forecast(opened: Connection, ids: list[int]) -> float:
    began = time.perf_counter()
    found = await reading.forecasts(opened, ids)
    took = time.perf_counter() - began
    if len(found) != len(ids) or any(one.cause != "maximum" for one in found.values()):
        raise CodewellError("A program has another forecast than that its maximum ends it.")
    return took


async def _one_by_one(opened: Connection, ids: list[int]) -> float:
    began = time.perf_counter()
    for id_ in ids:
        await reading.forecasts(opened, [id_])
    return time.perf_counter() - began
