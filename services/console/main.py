"""Entry point of the console: serves the API and the health endpoints until it is stopped."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog
from fastapi import FastAPI
from starlette.routing import Route

from codewell.alerts.fallback_use import note_fallbacks
from codewell.infra.config.settings import read_settings
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.postgres.migrations import check_schema
from codewell.infra.postgres.watch import monitor
from codewell.infra.process.lifecycle import CANCEL_TIMEOUT_S, run, run_until_stopped
from codewell.infra.process.scratch import remove_left_folders
from codewell.infra.telemetry import metrics
from codewell.infra.telemetry.health import Health, Probes, serve_app
from codewell.infra.telemetry.logs import configure
from codewell.infra.telemetry.tracing import tracing
from codewell.keys import master_keys
from codewell.keys.announcements import announce
from codewell.keys.master_keys import MasterKeys
from codewell.usage.reporter import reporting
from codewell.usage.tally import UsageTally
from schemas.moments import ZONE, zone_named
from services.console.api import create_api
from services.console.context import Context
from services.console.figures import ConsoleFigures
from services.console.http.starting import Front, Starting
from services.console.pages.app import CONNECTIONS_MAX, STATEMENT_TIMEOUT_S, add_pages
from services.console.settings import ConsoleSettings
from services.console.warm_up import warm_up

log = structlog.get_logger()

# The importer and the changer of many codes each use one of them while they work.
_CONNECTIONS_MAX: Final = 10
# The tracked objects of some hundred requests.
_GC_OBJECTS: Final = 50_000


def main() -> None:
    """Run one console. Raises CodewellError."""
    settings = read_settings(ConsoleSettings)
    configure("console", settings.log_level)
    metrics.configure("console")
    run(lambda stop: serve(settings, stop), is_worker=True)


async def serve(settings: ConsoleSettings, stop: asyncio.Event) -> None:
    """Serve the API until `stop` is set. Raises StackUnavailable when its port is taken or Postgres is not up."""
    url = settings.postgres_url.get_secret_value()
    health = Health("postgres")
    master = MasterKeys(*settings.all_master_keys)
    ZONE.set(zone_named(settings.time_zone))

    async def check(connection: Connection) -> None:
        await check_schema(connection)
        await master_keys.check(connection, master)

    probes = Probes(health)
    front = Front(Starting(probes))
    # The server stops first: what it serves goes on until then.
    async with (
        AsyncExitStack() as parts,
        serve_app(front, settings.api_host, settings.api_port, settings.connections_max) as port,
    ):
        waits = partial(health.set_waiting, "postgres")
        wait = postgres.wait_until_up(url, "codewell-console", settings.start_timeout_s, check, waits)
        await run_until_stopped(stop, wait)
        if stop.is_set():
            return
        left = await asyncio.to_thread(remove_left_folders)
        if left:
            log.info("left_folders_removed", count=left)
        front.app, pool = await parts.enter_async_context(_api(settings, stop, health, probes, master))
        log.info("api_served", host=settings.api_host, port=port)
        # Garbage collection over all objects of the start would delay concurrent requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
        await monitor(pool, health, stop)


@asynccontextmanager
async def _api(
    settings: ConsoleSettings, stop: asyncio.Event, health: Health, probes: Probes, master: MasterKeys
) -> AsyncIterator[tuple[FastAPI, Pool]]:
    """The API and the pages, and the pool of connections that they need, while the block runs."""
    url = settings.postgres_url.get_secret_value()
    tally = UsageTally()
    async with (
        reporting("console", url, health, tally, ConsoleFigures(), stop, note_fallbacks),
        postgres.pool(url, "codewell-console", _CONNECTIONS_MAX, lambda new: announce(new, master)) as pool,
        tracing("console", settings.otlp_endpoint, settings.trace_share) as traces,
        AsyncExitStack() as stack,
    ):
        context = Context.of(settings, pool, tally)
        api = create_api(context, traces)
        if settings.pages:
            own = postgres.pool(
                url, "codewell-console-pages", CONNECTIONS_MAX, lambda new: announce(new, master), STATEMENT_TIMEOUT_S
            )
            add_pages(api, context, await stack.enter_async_context(own), settings, stop)
        api.routes.extend(Route(path, probes, methods=["GET"]) for path in probes.paths)
        async with (
            _in_background(context.announcer.run()),
            _in_background(context.importer.run()),
            _in_background(context.bulk_changer.run()),
            _in_background(context.promise_checker.run()),
            _in_background(warm_up(pool, context.minters)),
        ):
            yield api, pool


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        # A producer without Kafka stops slowly, and its unsent announcements may be lost.
        await asyncio.wait((task,), timeout=CANCEL_TIMEOUT_S)
