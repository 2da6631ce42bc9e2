"""Forecasts of many programs, read with a few statements about all of them."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from codewell.forecast import history
from codewell.forecast.forecast import ForecastInput, PooledCodes, ProgramFacts, Shortfall, forecasts_of, levels_of
from codewell.infra.postgres.connection import CONTENTION_ERRORS, UNAVAILABLE_ERRORS, Connection
from codewell.pool.block_rules import GIVES, POOLED
from codewell.pool.orders import FAILURES_MAX
from codewell.pool.program_conditions import MAY_CREATE, ON_ORDER, ROOM, SWITCHED_ON
from schemas.forecast import Forecast
from schemas.overview import ExpectedLevel

log = structlog.get_logger()

# Programs computed at once: their arrays take some 5 MB. A batch costs Postgres some milliseconds beside its rows.
BATCH_MAX: Final = 200
# What the chart of a program shows.
LEVELS_H: Final = 24
# How many of its last requests say how fast a remote service is.
_REQUESTS: Final = 50

# Requests a second while any was in progress, times the codes that one may bring, by what those brought.
_RATE: Final = f"""
    (SELECT 3600 * count(*) * (p.source->>'request_max')::float8 * sum(received) / sum(count)
               / greatest(extract(epoch FROM sum(busy)), 0.001) AS rate
    FROM (
        SELECT received, count, finished_at - greatest(created_at, lag(finished_at, 1, created_at) OVER (
            ORDER BY finished_at)) AS busy
        FROM (
            SELECT received, count, created_at, finished_at FROM remote_request
            WHERE program_id = p.id AND state = 'done' AND p.source->>'kind' = 'remote'
            ORDER BY finished_at DESC LIMIT {_REQUESTS}
        ) AS last
    ) AS requests)
    """.strip()  # noqa: S608  constants
# In the order of ProgramFacts.
_FACTS: Final = f"""
    SELECT p.id, {SWITCHED_ON}, p.valid_from, p.valid_until, p.source->>'kind', {MAY_CREATE}, p.shared, p.pool_max,
           {ROOM}, {ON_ORDER},
           CASE WHEN p.shared OR p.ttl_from = 'creation' THEN p.ttl - coalesce(p.min_life_at_attach, interval '0') END,
           r.rate, coalesce(s.failures >= {FAILURES_MAX}, false), h.expires_at, h.program_id IS NOT NULL,
           p.reservations > 0
    FROM program p
    LEFT JOIN remote_service s ON s.program_id = p.id
    LEFT JOIN LATERAL {_RATE} r ON true
    LEFT JOIN LATERAL (
        SELECT program_id, expires_at FROM holding
        WHERE p.shared AND program_id = p.id AND profile_id = '' AND scope = ''
          AND (expires_at IS NULL OR expires_at > statement_timestamp())
    ) h ON true
    WHERE p.id = ANY ($1::bigint[])
    """  # noqa: S608  constants
# Moments are those from which the program gives a code no more.
_STOCK: Final = f"""
    SELECT p.id, b.until, sum(b.pooled)::bigint FROM program p CROSS JOIN LATERAL (
        SELECT expires_at - coalesce(p.min_life_at_attach, interval '0') AS until, {POOLED} AS pooled
        FROM block WHERE program_id = p.id AND {GIVES}
    ) b WHERE p.id = ANY ($1::bigint[]) GROUP BY p.id, b.until
    """  # noqa: S608  constants
_SHORTFALLS: Final = """
    SELECT program_id, send_at, count - granted FROM reservation
    WHERE program_id = ANY ($1::bigint[]) AND ended_at IS NULL AND overflow = 'pool' AND count > granted
    """


async def forecasts(connection: Connection, program_ids: Sequence[int]) -> dict[int, Forecast]:
    """The forecast of each of these programs, by id; of an id that there is not, none. Raises what asyncpg raises."""
    found: dict[int, Forecast] = {}

    async def compute(reading: ForecastInput) -> None:
        computed = await asyncio.to_thread(forecasts_of, reading)
        found.update(zip((facts.id for facts in reading.facts), computed, strict=True))

    ids = list(dict.fromkeys(program_ids))
    reading: ForecastInput | None = None
    for first in range(0, len(ids), BATCH_MAX):
        following = read(connection, ids[first : first + BATCH_MAX])
        if reading is None:
            reading = await following
        else:
            # The database reads a batch while the one before is computed. Whatever fails, both end before it is raised:
            # the caller needs the connection.
            computing = asyncio.create_task(compute(reading))
            try:
                reading = await following
            finally:
                await computing
    if reading is not None:
        await compute(reading)
    return found


async def possible_forecasts(connection: Connection, program_ids: Sequence[int]) -> dict[int, Forecast]:
    """As `forecasts`, without programs whose own forecast fails: each of them is found by halves, and logged.

    Raises what asyncpg raises while the database is unavailable or busy.
    """
    try:
        return await forecasts(connection, program_ids)
    except (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS):
        raise
    except Exception:
        if len(program_ids) < 2:
            log.exception("forecast_failed", program_ids=list(program_ids))
            return {}
    middle = len(program_ids) // 2
    found = await possible_forecasts(connection, program_ids[:middle])
    return found | await possible_forecasts(connection, program_ids[middle:])


async def levels_expected(connection: Connection, program_id: int) -> list[ExpectedLevel]:
    """How many codes of a program stand ready at each of the next LEVELS_H hours; none while it gives none.

    Raises what asyncpg raises.
    """
    found = await read(connection, [program_id])
    return levels_of(found, LEVELS_H)[0] if found.facts and found.facts[0].is_on else []


async def read(connection: Connection, ids: Sequence[int]) -> ForecastInput:
    """What the forecasts of these programs, at most BATCH_MAX, are made from. Raises what asyncpg raises."""
    facts = [ProgramFacts(*row) for row in await connection.fetch(_FACTS, ids)]
    known = [one.id for one in facts]
    stock = [PooledCodes(*row) for row in await connection.fetch(_STOCK, known)]
    is_reserved = [one.id for one in facts if one.is_reserved]
    shortfalls = []
    if is_reserved:
        shortfalls = [Shortfall(*row) for row in await connection.fetch(_SHORTFALLS, is_reserved)]
    now, past = await history.read(connection, known)
    return ForecastInput(now, facts, stock, shortfalls, past)
