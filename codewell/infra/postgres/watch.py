"""Probes the database at intervals, so that an idle worker also reports when it is unavailable."""

import asyncio
import random
from typing import Final

import asyncpg

from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Pool, outage_reason
from codewell.infra.process.lifecycle import run_until_stopped
from codewell.infra.telemetry.health import Health

PROBE_INTERVAL_S: Final = 2.0
_NAME: Final = "postgres"


async def monitor(pool: Pool, health: Health, stop: asyncio.Event) -> None:
    """Report to `health` whether the database is available and accepts writes, until `stop` is set. Raises nothing.

    Skips the probe while all connections are in use: the code that uses them reports errors itself. A stop does not
    wait for a probe that the database leaves without an answer.
    """
    await run_until_stopped(stop, _probe_at_intervals(pool, health))


async def _probe_at_intervals(pool: Pool, health: Health) -> None:
    while True:
        health.heartbeat("watch")
        if pool.get_idle_size() > 0 or pool.get_size() < pool.get_max_size():
            await _probe(pool, health)
        await asyncio.sleep(PROBE_INTERVAL_S * random.uniform(0.5, 1.5))  # noqa: S311  jitter


async def _probe(pool: Pool, health: Health) -> None:
    try:
        async with pool.acquire() as connection:
            if await connection.fetchval("SHOW transaction_read_only") == "on":
                # The pool replaces its connections on this error, even if no write has failed on them yet.
                raise asyncpg.ReadOnlySQLTransactionError("it takes no writes")
    except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
        health.set_waiting(_NAME, outage_reason(error))
    else:
        health.set_ready(_NAME)
