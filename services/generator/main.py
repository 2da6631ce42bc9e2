"""Entry point of the generator: builds it from its settings and runs it until it is stopped."""

import asyncio
import contextlib
import gc
import time
from functools import partial
from typing import Final

import faust
import structlog
from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.config.settings import read_settings
from codewell.infra.kafka import clients
from codewell.infra.kafka.acls import topics_of
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import check_schema
from codewell.infra.postgres.watch import monitor
from codewell.infra.process import failpoints
from codewell.infra.process.lifecycle import CANCEL_TIMEOUT_S, backoff_delays, run, run_until_stopped
from codewell.infra.telemetry import metrics
from codewell.infra.telemetry.health import Health, serve_health
from codewell.infra.telemetry.logs import configure
from codewell.keys import master_keys
from codewell.keys.announcements import announce
from codewell.pool.minter_cache import Minters
from codewell.remote.client import Client
from codewell.usage.reporter import reporting
from codewell.usage.tally import UsageTally
from codewell.webhooks.sending import Courier
from services.generator.alert_sweeper import AlertSweeper
from services.generator.app import FillPool, create_app
from services.generator.archiver import Archiver
from services.generator.figures import GeneratorFigures
from services.generator.fill_batcher import SINGLE_FILLS_MAX, FillBatcher
from services.generator.filler import SWEEP_CONCURRENCY_MAX, Filler
from services.generator.forecaster import Forecaster
from services.generator.notifier import Notifier
from services.generator.profile_reader import ProfileReader
from services.generator.quarantine_ender import QuarantineEnder
from services.generator.remote_sender import RemoteSender, SendLimits
from services.generator.reservation_keeper import ReservationKeeper
from services.generator.settings import GeneratorSettings
from services.generator.webhook_sender import WebhookSender

log = structlog.get_logger()

_KAFKA: Final = "kafka"
# Includes joining the consumer group, which takes as long as a rebalance.
_START_TIMEOUT_S: Final = 60.0
_STABLE_AFTER_S: Final = 60.0
# Share of the stop timeout for Faust's shutdown; half of it for an interrupted start.
_STOP_TIMEOUT_SHARE: Final = 2 / 3
# For the sweep, for events, one each for profiles, quarantines, reservations, alerts, forecasts and old answers, and
# some for the exchanges with remote services and webhooks, which spend most of their time on the network.
_CONNECTIONS_MAX: Final = SWEEP_CONCURRENCY_MAX + 1 + SINGLE_FILLS_MAX + 12
# The tracked objects of the codes in some twenty answers of 500.
_GC_OBJECTS: Final = 50_000


def main() -> None:
    """Run one generator. Raises CodewellError."""
    settings = read_settings(GeneratorSettings)
    configure("generator", settings.log_level)
    failpoints.arm(settings.failpoints)
    metrics.configure("generator")
    run(lambda stop: run_generator(settings, stop), is_worker=True)


async def run_generator(settings: GeneratorSettings, stop: asyncio.Event) -> None:
    """Fill pools until `stop` is set. Raises StackUnavailable when Postgres or Kafka is not up at the start."""
    url = settings.postgres_url.get_secret_value()
    health = Health("postgres", _KAFKA)
    minters = Minters(*settings.master_keys)
    usage = UsageTally()

    async def check(connection: Connection) -> None:
        await check_schema(connection)
        await master_keys.check(connection, minters.keys)

    async with serve_health(health, settings.health_host, settings.health_port):
        waits = partial(health.set_waiting, "postgres")
        await run_until_stopped(
            stop, postgres.wait_until_up(url, "codewell-generator", settings.start_timeout_s, check, waits)
        )
        if stop.is_set():
            return
        needed = topics_of("codewell-generator", settings.topic_prefix)
        async with (
            reporting("generator", url, health, usage, GeneratorFigures(), stop),
            postgres.pool(url, "codewell-generator", _CONNECTIONS_MAX, lambda new: announce(new, minters.keys)) as pool,
            contextlib.aclosing(Client(settings.remote_timeout_s, settings.remote_networks)) as client,
            contextlib.aclosing(Courier(settings, settings.remote_networks)) as courier,
        ):
            waits = partial(health.set_waiting, _KAFKA)
            await run_until_stopped(
                stop, clients.wait_until_up(settings.kafka_config, needed, settings.start_timeout_s, waits)
            )
            if stop.is_set():
                return
            ordered = asyncio.Event()
            filler = Filler(pool, minters, health, stop, ordered)
            limits = SendLimits(settings.remote_concurrency, settings.remote_timeout_s, settings.remote_give_up_s)
            sender = RemoteSender(pool, minters, client, limits, filler.fill, health, ordered)
            reader = ProfileReader(settings, pool, health, stop)
            keeper = ReservationKeeper(pool, settings.kafka_config, settings.topic_prefix, health, ordered)
            webhooks = WebhookSender(pool, minters.keys, courier, settings.webhook_timeout_s, health)
            archiver = Archiver(pool, settings, health, stop)
            works = [
                keeper.run(stop),
                run_until_stopped(stop, Notifier(pool, settings, health).run(stop)),
                run_until_stopped(stop, AlertSweeper(pool, health).run(stop)),
                sender.run(stop, settings.stop_timeout_s),
                webhooks.run(stop, settings.stop_timeout_s),
                run_until_stopped(stop, reader.run(), settings.stop_timeout_s),
                run_until_stopped(stop, filler.run_sweeps(settings.sweep_interval_s)),
                run_until_stopped(stop, Forecaster(pool, health).run(stop)),
                archiver.run(),
                archiver.drop_filters(),
                run_until_stopped(stop, QuarantineEnder(pool, health, usage, stop).run()),
                monitor(pool, health, stop),
            ]
            tasks = [asyncio.create_task(work) for work in works]
            try:
                await _consume_events(settings, FillBatcher(filler).fill, health, stop)
            finally:
                stop.set()
                await asyncio.gather(*tasks)


async def _consume_events(settings: GeneratorSettings, fill: FillPool, health: Health, stop: asyncio.Event) -> None:
    """Consume events until `stop` is set; reconnects to Kafka.

    Faust does not recover from a crash by itself, so each connection is a new application.
    """
    while not stop.is_set():
        async for _ in backoff_delays(stop):
            began = time.monotonic()
            try:
                await _consume_until_lost(settings, fill, health, stop)
            except (KafkaError, OSError) as error:
                health.set_waiting(_KAFKA, clients.outage_reason(error))
            except Exception as error:
                log.exception("events_not_read")
                health.set_waiting(_KAFKA, type(error).__name__)
            if stop.is_set() or time.monotonic() - began > _STABLE_AFTER_S:
                break


async def _consume_until_lost(settings: GeneratorSettings, fill: FillPool, health: Health, stop: asyncio.Event) -> None:
    """Consume events over one connection. Raises what Faust raises, and StackUnavailable when Faust ends."""
    app = create_app(settings, fill)
    try:
        # Without a broker the start takes long, so a stop interrupts it. A start that is cut leaks connections
        # and a thread, so Faust first has time to finish it.
        await run_until_stopped(
            stop, asyncio.wait_for(app.start(), _START_TIMEOUT_S), _STOP_TIMEOUT_SHARE / 2 * settings.stop_timeout_s
        )
        if not stop.is_set():
            _freeze_gc()
            health.set_ready(_KAFKA)
            await run_until_stopped(stop, app.wait_until_stopped())
    finally:
        await _stop_app(app, _STOP_TIMEOUT_SHARE * settings.stop_timeout_s)
    if not stop.is_set():
        raise StackUnavailable("Faust has stopped: see its log for the reason.")


async def _stop_app(app: faust.App, timeout_s: float) -> None:
    """Stop Faust within `timeout_s` (s), then cancel it. It may ignore the cancellation when no broker responds."""
    stopping = asyncio.ensure_future(app.stop())
    await asyncio.wait((stopping,), timeout=timeout_s)
    stopping.cancel()
    await asyncio.wait((stopping,), timeout=CANCEL_TIMEOUT_S)


def _freeze_gc() -> None:
    """Exclude all current objects from garbage collection, which paused the process for 0.1 s, twice a second."""
    if gc.get_freeze_count() == 0:
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
