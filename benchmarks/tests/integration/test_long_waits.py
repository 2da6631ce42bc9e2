"""A lock wait in Postgres' log is counted, with a server configured as the benchmark's."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import asyncpg

from benchmarks.scale import LONG_WAIT, long_waits
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer
from tests.support.postgres_settings import FOR_TESTS


async def test_a_wait_that_is_too_long_is_in_the_log(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    home = await Home.open(tmp_path / "home")
    server = PostgresServer(home, replace(FOR_TESTS, more={**LONG_WAIT, "deadlock_timeout": "20ms"}))
    log = home.logs / "postgres.log"
    try:
        url = await server.start()
        async with contextlib.AsyncExitStack() as stack:
            holder, waiter = [await asyncpg.connect(url) for _ in range(2)]
            stack.push_async_callback(waiter.close)
            stack.push_async_callback(holder.close)
            await holder.execute("SELECT pg_advisory_lock(1)")
            assert long_waits(log.read_text()) == 0
            waiting = asyncio.create_task(waiter.execute("SELECT pg_advisory_lock(1)"))
            async with asyncio.timeout(10):
                while long_waits(log.read_text()) == 0:
                    await asyncio.sleep(0.02)
            await holder.execute("SELECT pg_advisory_unlock(1)")
            await waiting
    finally:
        await server.stop()
        home.close()
    assert long_waits(log.read_text()) == 1
