"""Reads the workers' rows and the usage of programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from codewell.infra.postgres.connection import Connection
from codewell.usage.usage_key import FALLBACK_OUTCOMES
from schemas.usage import Attached, ProgramUsage, Step, Usage, UsageStep, UsageSummary, Worker

# Three reports are missing.
LOST_AFTER_S: Final = 15
WORKERS_MAX: Final = 1_000
STEPS_MAX: Final = 1_500
STEP: Final[Mapping[Step, timedelta]] = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
SPARKLINE_MINUTES: Final = 60

_WORKERS: Final = """
    SELECT id, service, host, pid, version, started_at, seen_at, waiting_for, counters,
           CASE WHEN state <> 'stopped' AND seen_at < now() - make_interval(secs => $1) THEN 'lost' ELSE state END
               AS state
    FROM worker ORDER BY service, started_at, id LIMIT $2
    """
_MINUTES: Final = """
    SELECT minute AS at, source, outcome, number FROM usage_minute
    WHERE program_id = $1 AND minute >= $2 AND minute < $3 ORDER BY minute
    """
_HOURS: Final = """
    SELECT hour AS at, source, outcome, number FROM usage_hour
    WHERE program_id = $1 AND hour >= $2 AND hour < $3 ORDER BY hour
    """
_LAST_HOUR: Final = """
    SELECT program_id, minute AS at, source, outcome, number FROM usage_minute
    WHERE program_id = ANY ($1::bigint[]) AND minute > date_trunc('minute', now()) - make_interval(mins => $2)
    """
# Hours are those of UTC. Where a day begins within one, its rest is read by minutes.
_TODAY: Final = """
    SELECT program_id, sum(number)::bigint AS attached FROM (
        SELECT program_id, outcome, number FROM usage_hour WHERE program_id = ANY ($1::bigint[]) AND hour >= $2
        UNION ALL
        SELECT program_id, outcome, number FROM usage_minute
        WHERE program_id = ANY ($1::bigint[]) AND minute >= $2 AND minute < date_trunc('hour', $2 + interval '1 hour')
          AND date_trunc('hour', $2) <> $2
    ) AS today WHERE outcome = 'attached' GROUP BY program_id
    """


async def workers(connection: Connection) -> list[Worker]:
    """All workers that have a row, at most WORKERS_MAX. Raises what asyncpg raises."""
    rows = await connection.fetch(_WORKERS, LOST_AFTER_S, WORKERS_MAX)
    return [_worker(row) for row in rows]


async def program_usage(
    connection: Connection, program_id: int, name: str, step: Step, start: datetime, end: datetime
) -> ProgramUsage:
    """The usage from `start` to `end`, both whole steps. Raises what asyncpg raises."""
    statement = _MINUTES if step == "minute" else _HOURS
    rows = await connection.fetch(statement, program_id, start, end)
    by_step: dict[datetime, list[asyncpg.Record]] = {}
    for row in rows:
        by_step.setdefault(row["at"], []).append(row)
    steps = [UsageStep(at=at, **_usage(some)) for at, some in by_step.items()]
    return ProgramUsage(program=name, step=step, start=start, end=end, steps=steps, total=Usage(**_usage(rows)))


async def summaries(connection: Connection, programs: Sequence[tuple[int, str]], today: datetime) -> list[UsageSummary]:
    """The usage in the last hour and since `today` began, of each (id, name). Raises what asyncpg raises."""
    ids = [id_ for id_, _ in programs]
    rows = await connection.fetch(_LAST_HOUR, ids, SPARKLINE_MINUTES)
    since = {row["program_id"]: row["attached"] for row in await connection.fetch(_TODAY, ids, today)}
    now = await connection.fetchval("SELECT date_trunc('minute', now())")
    of_program: dict[int, list[asyncpg.Record]] = {}
    for row in rows:
        of_program.setdefault(row["program_id"], []).append(row)
    return [
        UsageSummary(
            program=name,
            attached_today=since.get(id_, 0),
            attached_by_minute=_by_minute(of_program.get(id_, ()), now),
            **_usage(of_program.get(id_, ())),
        )
        for id_, name in programs
    ]


def _by_minute(rows: Iterable[asyncpg.Record], now: datetime) -> list[int]:
    numbers = [0] * SPARKLINE_MINUTES
    for row in rows:
        place = SPARKLINE_MINUTES - 1 - (now - row["at"]) // STEP["minute"]
        # A minute may have begun between the two statements.
        if row["outcome"] == "attached" and 0 <= place < SPARKLINE_MINUTES:
            numbers[place] += row["number"]
    return numbers


def _usage(rows: Iterable[asyncpg.Record]) -> dict[str, Any]:
    """The fields of `Usage`."""
    attached: dict[str, int] = {}
    refused: dict[str, int] = {}
    others = {"reused": 0, "returned": 0, "quarantined": 0, "voided": 0, "activated": 0}
    fallbacks = dict.fromkeys(FALLBACK_OUTCOMES, 0)
    for row in rows:
        outcome, number = row["outcome"], row["number"]
        if outcome == "attached":
            attached[row["source"]] = attached.get(row["source"], 0) + number
        elif outcome in others:
            others[outcome] += number
        elif outcome in fallbacks:
            fallbacks[outcome] += number
        else:
            refused[outcome] = refused.get(outcome, 0) + number
    return {"attached": Attached(**attached), "refused": refused, "fallbacks": [*fallbacks.values()], **others}


def _worker(row: asyncpg.Record) -> Worker:
    waiting_for = json.loads(row["waiting_for"])
    values = {**row, "id": str(row["id"]), "waiting_for": waiting_for, "counters": json.loads(row["counters"])}
    return Worker(**values, ready=not waiting_for and row["state"] == "running")
