"""Look at the database now and then, so that a worker with nothing to do says too that it is away."""

import asyncio
import random
from typing import Final

import asyncpg

from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Pool, outage_reason
from codewell.infra.telemetry.health import Health

PROBE_INTERVAL_S: Final = 2.0
_NAME: Final = "postgres"


async def monitor(pool: Pool, health: Health, stop: asyncio.Event) -> None:
    """Tell `health` whether the database is there and takes writes, until told to stop. Raises nothing.

    Where all connections are in use, those who use them tell it.
    """
    while not stop.is_set():
        health.heartbeat("watch")
        if pool.get_idle_size() > 0 or pool.get_size() < pool.get_max_size():
            await _probe(pool, health)
        try:
            await asyncio.wait_for(stop.wait(), PROBE_INTERVAL_S * random.uniform(0.5, 1.5))  # noqa: S311  spreads load
        except TimeoutError:
            continue


async def _probe(pool: Pool, health: Health) -> None:
    try:
        async with pool.acquire() as connection:
            if await connection.fetchval("SHOW transaction_read_only") == "on":
                # The pool lets go of such connections, where nobody has written over them yet.
                raise asyncpg.ReadOnlySQLTransactionError("it takes no writes")
    except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
        health.set_waiting(_NAME, outage_reason(error))
    else:
        health.set_ready(_NAME)
