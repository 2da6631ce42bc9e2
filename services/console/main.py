"""Build a console from its settings and run it until told to stop."""

import asyncio
from typing import Final

import asyncpg
import structlog
from fastapi import FastAPI

from services.console.api import create_api
from services.postgres import connection as postgres
from services.postgres.connection import UNAVAILABLE, Pool
from services.postgres.migrations import check_schema
from services.runtime.process import run
from services.runtime.settings import ConsoleSettings, read
from services.telemetry.health import Health, routes, serving
from services.telemetry.logs import configure

log = structlog.get_logger()

_CONNECTIONS_MAX: Final = 8
_CHECK_INTERVAL_S: Final = 2.0


def main() -> None:
    """Run one console. Raises CodewellError."""
    settings = read(ConsoleSettings)
    configure("console", settings.log_level)
    run(lambda stop: serve(settings, stop))


async def serve(settings: ConsoleSettings, stop: asyncio.Event) -> None:
    """Serve the API until told to stop. Raises StackUnavailable when its port is taken or Postgres isn't there."""
    url = settings.postgres_url.get_secret_value()
    health = Health("postgres")
    await postgres.wait_until_up(url, "codewell-console", settings.start_timeout_s, check_schema)
    async with postgres.pool(url, "codewell-console", _CONNECTIONS_MAX) as pool:
        api: FastAPI = create_api(pool)
        api.routes.extend(routes(health))
        async with serving(api, settings.api_host, settings.api_port) as port:
            log.info("api_served", host=settings.api_host, port=port)
            while not stop.is_set():
                await _check(pool, health)
                try:
                    await asyncio.wait_for(stop.wait(), _CHECK_INTERVAL_S)
                except TimeoutError:
                    continue


async def _check(pool: Pool, health: Health) -> None:
    health.beat("check")
    try:
        await pool.fetchval("SELECT 1")
    except (*UNAVAILABLE, asyncpg.PostgresError) as error:
        health.waits("postgres", type(error).__name__)
    else:
        health.has("postgres")
