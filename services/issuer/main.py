"""Entry point of the issuer: builds it from its settings and runs it until it is stopped."""

import asyncio
import gc
from functools import partial
from typing import Final

from codewell.alerts.fallback_use import note_fallbacks
from codewell.infra.config.settings import read_settings
from codewell.infra.kafka import clients
from codewell.infra.kafka.acls import topics_of
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import check_schema
from codewell.infra.postgres.watch import monitor
from codewell.infra.process import failpoints
from codewell.infra.process.lifecycle import run, run_until_stopped
from codewell.infra.telemetry import metrics
from codewell.infra.telemetry.health import Health, serve_health
from codewell.infra.telemetry.logs import configure
from codewell.infra.telemetry.tracing import tracing
from codewell.issuing.claim import Claims
from codewell.keys import master_keys
from codewell.keys.announcements import announce
from codewell.pool.fill import announce_worker
from codewell.pool.minter_cache import Minters
from codewell.returns.settle import Returns
from codewell.usage.reporter import reporting
from codewell.usage.tally import UsageTally
from schemas import topics
from services.issuer.batch import BatchProcessor
from services.issuer.decode import Decoder
from services.issuer.figures import IssuerFigures
from services.issuer.orders import OrderHandler
from services.issuer.receipts import ReceiptHandler
from services.issuer.report_consumer import ReportConsumer
from services.issuer.report_handler import Handler
from services.issuer.settings import IssuerSettings
from services.issuer.worker import IssuerWorker

# One for the request topics, one for each topic of reports, and one for the retry topics of each that has one: a loop
# runs one transaction at a time.
_CONNECTIONS_MAX: Final = 2 + len(topics.REPORTS) + len(topics.ANSWERED_REPORTS)
# A request, its record and its answer are some 20 tracked objects, and two batches are in memory.
_GC_OBJECTS_PER_REQUEST: Final = 100


def main() -> None:
    """Run one issuer. Raises CodewellError."""
    settings = read_settings(IssuerSettings)
    configure("issuer", settings.log_level)
    failpoints.arm(settings.failpoints)
    metrics.configure("issuer")
    # The objects of a batch form no reference cycles. Garbage collection at the default threshold (700 objects) took a
    # quarter of the issuer's time; one collection per batch still took a tenth.
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS_PER_REQUEST * settings.batch_size_max)
    run(lambda stop: run_issuer(settings, stop), is_worker=True)


async def run_issuer(settings: IssuerSettings, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set. Raises StackUnavailable when Postgres or Kafka is not up at the start."""
    url = settings.postgres_url.get_secret_value()
    loops = [*topics.REPORTS, *(f"{name} (retry)" for name in topics.ANSWERED_REPORTS)]
    health = Health("postgres", *(f"kafka ({name})" for name in ("issue", "retry", *loops)))
    minters = Minters(*settings.master_keys)
    prefix = settings.topic_prefix
    types = {prefix + name: event_type for name, event_type in topics.REQUEST_TYPE.items()}
    types |= {topics.retry_of(name): event_type for name, event_type in types.items()}
    decoder = Decoder(types, frozenset(settings.reply_topics), settings.retries_max)

    async def check(connection: Connection) -> None:
        await check_schema(connection)
        await master_keys.check_for_programs(connection, minters.keys)

    async def announced(connection: Connection) -> None:
        await announce_worker(connection)
        await announce(connection, minters.keys)

    async with serve_health(health, settings.health_host, settings.health_port):
        waits = partial(health.set_waiting, "postgres")
        await run_until_stopped(
            stop, postgres.wait_until_up(url, "codewell-issuer", settings.start_timeout_s, check, waits)
        )
        if stop.is_set():
            return
        health.set_ready("postgres")
        needed = topics_of("codewell-issuer", prefix)
        tally = UsageTally()
        async with reporting("issuer", url, health, tally, IssuerFigures(), stop, note_fallbacks):
            waits = partial(health.set_waiting, "kafka (issue)")
            await run_until_stopped(
                stop, clients.wait_until_up(settings.kafka_config, needed, settings.start_timeout_s, waits)
            )
            if stop.is_set():
                return
            async with (
                postgres.pool(url, "codewell-issuer", _CONNECTIONS_MAX, announced) as pool,
                tracing("issuer", settings.otlp_endpoint, settings.trace_share) as traces,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(monitor(pool, health, stop))
                handlers: list[Handler] = [
                    ReceiptHandler(Returns(settings.returns_share_max), tally), OrderHandler(minters, tally),
                ]  # fmt: skip
                for retries in (False, True):
                    name = "retry" if retries else "issue"
                    processor = BatchProcessor(
                        name, decoder, pool, Claims(pool, minters, settings.remote_wait_s, tally), health, stop
                    )
                    worker = IssuerWorker(name, settings, processor, health, traces, retries=retries)
                    group.create_task(run_until_stopped(stop, worker.run(stop), settings.stop_timeout_s))
                    for handler in handlers:
                        if retries and handler.topic not in topics.ANSWERED_REPORTS:
                            continue
                        reports = ReportConsumer(handler, settings, pool, health, stop, retries=retries)
                        group.create_task(run_until_stopped(stop, reports.run(), settings.stop_timeout_s))
