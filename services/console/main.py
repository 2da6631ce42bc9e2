"""Entry point of the console: serves the API and the health endpoints until it is stopped."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from starlette.routing import Route

from codewell.infra.config.settings import read_settings
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import check_schema
from codewell.infra.postgres.watch import monitor
from codewell.infra.process.lifecycle import CANCEL_TIMEOUT_S, run
from codewell.infra.telemetry import metrics
from codewell.infra.telemetry.health import Health, Probes, serve_app
from codewell.infra.telemetry.logs import configure
from codewell.infra.telemetry.tracing import tracing
from codewell.keys import master_keys
from codewell.keys.master_keys import MasterKeys
from services.console.api import create_api
from services.console.context import Context
from services.console.settings import ConsoleSettings

log = structlog.get_logger()

# The importer uses one of them while it works.
_CONNECTIONS_MAX: Final = 9
# The tracked objects of some hundred requests.
_GC_OBJECTS: Final = 50_000


def main() -> None:
    """Run one console. Raises CodewellError."""
    settings = read_settings(ConsoleSettings)
    configure("console", settings.log_level)
    metrics.configure("console")
    run(lambda stop: serve(settings, stop))


async def serve(settings: ConsoleSettings, stop: asyncio.Event) -> None:
    """Serve the API until `stop` is set. Raises StackUnavailable when its port is taken or Postgres is not up."""
    url = settings.postgres_url.get_secret_value()
    health = Health("postgres")

    async def check(connection: Connection) -> None:
        await check_schema(connection)
        await master_keys.check(connection, MasterKeys(*settings.all_master_keys))

    await postgres.wait_until_up(url, "codewell-console", settings.start_timeout_s, check)
    async with (
        postgres.pool(url, "codewell-console", _CONNECTIONS_MAX) as pool,
        tracing("console", settings.otlp_endpoint, settings.trace_share) as traces,
    ):
        context = Context.of(settings, pool)
        api = create_api(context, traces)
        probes = Probes(health)
        api.routes.extend(Route(path, probes, methods=["GET"]) for path in probes.paths)
        async with (
            _in_background(context.announcer.run()),
            _in_background(context.importer.run()),
            serve_app(api, settings.api_host, settings.api_port, settings.connections_max) as port,
        ):
            log.info("api_served", host=settings.api_host, port=port)
            # Garbage collection over all objects of the start would delay concurrent requests.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_GC_OBJECTS)
            await monitor(pool, health, stop)


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        # A producer without Kafka stops slowly, and its unsent announcements may be lost.
        await asyncio.wait((task,), timeout=CANCEL_TIMEOUT_S)
