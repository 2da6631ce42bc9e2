"""Entry point of the life-cycle worker."""

import asyncio
import gc
from functools import partial
from typing import Final

import asyncpg

from codewell.audit import audit_log
from codewell.errors import StackUnavailable
from codewell.infra.config.settings import read_settings
from codewell.infra.kafka import clients
from codewell.infra.kafka.acls import topics_of
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import check_schema
from codewell.infra.process import failpoints
from codewell.infra.process.lifecycle import run, run_until_stopped
from codewell.infra.telemetry import metrics
from codewell.infra.telemetry.health import Health, serve_health
from codewell.infra.telemetry.logs import configure
from codewell.lifecycle import progress, slot
from codewell.lifecycle.stream import WORK_LOCK
from codewell.usage.reporter import reporting
from codewell.usage.tally import UsageTally
from services.lifecycle.figures import LifecycleFigures
from services.lifecycle.settings import LifecycleSettings
from services.lifecycle.worker import LifecycleWorker

_NAME: Final = "codewell-lifecycle"
_GC_OBJECTS: Final = 100_000


def main() -> None:
    """Run one worker. Raises CodewellError."""
    settings = read_settings(LifecycleSettings)
    configure("lifecycle", settings.log_level)
    failpoints.arm(settings.failpoints)
    metrics.configure("lifecycle")
    run(lambda stop: run_lifecycle(settings, stop), is_worker=True)


async def run_lifecycle(settings: LifecycleSettings, stop: asyncio.Event) -> None:
    """Publish what happens to codes until `stop` is set.

    Raises StackUnavailable when Postgres or Kafka is not up at the start, and with what to do when Postgres' log cannot
    be read.
    """
    url = settings.postgres_url.get_secret_value()
    health = Health("postgres", "kafka", "stream")

    async def check(connection: Connection) -> None:
        await check_schema(connection)
        await slot.check_server(connection)

    async with serve_health(health, settings.health_host, settings.health_port):
        waits = partial(health.set_waiting, "postgres")
        await run_until_stopped(stop, postgres.wait_until_up(url, _NAME, settings.start_timeout_s, check, waits))
        if stop.is_set():
            return
        needed = topics_of("codewell-lifecycle", settings.topic_prefix)
        waits = partial(health.set_waiting, "kafka")
        await run_until_stopped(
            stop, clients.wait_until_up(settings.kafka_config, needed, settings.start_timeout_s, waits)
        )
        if stop.is_set():
            return
        async with reporting("lifecycle", url, health, UsageTally(), LifecycleFigures(), stop):
            worker = LifecycleWorker(settings, health)
            # Batches are many small objects without cycles, so looking for those took a tenth of the time.
            gc.freeze()
            gc.set_threshold(_GC_OBJECTS)
            # A reading that is cut is read again.
            await run_until_stopped(stop, worker.run(stop), settings.stop_timeout_s)


def drop() -> bool:
    """Switch the stream off, and return whether it had a slot. Raises CodewellError."""
    settings = read_settings(LifecycleSettings)
    return asyncio.run(drop_slot(settings.postgres_url.get_secret_value()))


async def drop_slot(url: str) -> bool:
    """As `drop`, for the database at this URL. Raises StackUnavailable while a worker works, as it would begin anew."""
    async with postgres.connection(url, _NAME) as connection:
        await check_schema(connection)
        name = await slot.slot_name(connection)
        try:
            async with connection.transaction():
                # The session of a worker that has just ended may be there for a moment.
                await connection.execute("SET LOCAL lock_timeout = '2s'")
                await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", *WORK_LOCK)
                await progress.end(connection)
                if await slot.status(connection, name) is not None:
                    await audit_log.record(connection, audit_log.command_actor(), "lifecycle.drop_slot")
                # Last, as no rollback brings it back.
                return await slot.drop(connection, name)
        except (asyncpg.LockNotAvailableError, asyncpg.ObjectInUseError) as error:
            raise StackUnavailable("A worker reads the slot: stop all codewell lifecycle first.") from error
