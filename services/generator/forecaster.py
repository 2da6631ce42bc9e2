"""Keeps the history that forecasts are made from, and the metric of when programs run out of codes."""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog
from prometheus_client import Gauge

from codewell.forecast import history, possible_forecasts
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection, Pool
from codewell.infra.telemetry.health import Health
from codewell.pool.program_conditions import GIVES_CODES_NOW
from services.generator.looks import looks

log = structlog.get_logger()

INTERVAL_S: Final = 60.0
# Limits the cardinality, as a platform has many thousand programs: those that run out first.
PROGRAMS_MAX: Final = 200
# Asked for at once, so that other work of this process comes between.
_BATCH: Final = 500
_FORECASTER: Final = "forecasts"

RUNS_OUT: Final = Gauge(
    "codewell_program_runs_out_seconds",
    "Time until the program runs out of codes at its usual demand, for those that do while they are valid.",
    ["program"],
)

_PROGRAMS: Final = f"SELECT p.id, p.name FROM program p WHERE {GIVES_CODES_NOW} ORDER BY p.id"  # noqa: S608  a constant


class Forecaster:
    """Runs in each generator; of several one keeps the history, and each has the metric."""

    def __init__(self, pool: Pool, health: Health) -> None:
        self._pool = pool
        self._health = health

    async def run(self, stop: asyncio.Event, interval_s: float = INTERVAL_S) -> None:
        """Forecast every `interval_s` (s) until `stop` is set. Raises nothing: the next time makes up for a failure."""
        async for _ in looks(self._health, _FORECASTER, stop, interval_s):
            try:
                async with self._pool.acquire() as connection:
                    await self.forecast(connection)
            except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError, TimeoutError) as error:
                log.warning("forecasts_not_made", why=type(error).__name__)
            except Exception:
                log.exception("forecasts_broke")

    async def forecast(self, connection: Connection) -> None:
        """Add what is new to the history, and forecast all programs. Raises what asyncpg raises."""
        await history.keep(connection)
        names = dict(map(tuple, await connection.fetch(_PROGRAMS)))
        left: list[tuple[float, str]] = []
        ids = list(names)
        for first in range(0, len(ids), _BATCH):
            self._health.heartbeat(_FORECASTER)
            left += await _seconds_left(connection, ids[first : first + _BATCH], names)
        left.sort()
        # No await from here on, so no scrape sees half of it.
        RUNS_OUT.clear()
        for seconds, name in left[:PROGRAMS_MAX]:
            RUNS_OUT.labels(name).set(seconds)


async def _seconds_left(
    connection: Connection, ids: Sequence[int], names: dict[int, str]
) -> list[tuple[float, str]]:  # fmt: skip
    found = await possible_forecasts(connection, ids)
    now = await connection.fetchval("SELECT statement_timestamp()")
    return [
        (max(0.0, (one.runs_out_at.p50 - now).total_seconds()), names[id_])
        for id_, one in found.items()
        if one.runs_out_at.p50 is not None and one.cause != "validity_end"
    ]
