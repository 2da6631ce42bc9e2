"""Build a generator from its settings and run it until told to stop."""

import asyncio
import contextlib
import gc
import time
from ipaddress import ip_network
from tempfile import TemporaryDirectory
from typing import Final

import faust
import structlog
from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.config.settings import read
from codewell.infra.kafka import clients
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import check_schema
from codewell.infra.postgres.watch import watch
from codewell.infra.process import failpoints
from codewell.infra.process.lifecycle import CANCEL_TIMEOUT_S, pauses, run, until
from codewell.infra.telemetry import metrics
from codewell.infra.telemetry.health import Health, served
from codewell.infra.telemetry.logs import configure
from codewell.keys import master_keys
from codewell.pool.minter_cache import Minters
from codewell.remote.client import Client
from schemas import topics
from services.generator.app import Fill, create_app
from services.generator.fill_batcher import ALONE_MAX, FillBatcher
from services.generator.filler import SWEEP_CONCURRENCY_MAX, Filler
from services.generator.profile_reader import ProfileReader
from services.generator.remote_sender import RemoteSender, SendLimits
from services.generator.settings import GeneratorSettings

log = structlog.get_logger()

_KAFKA: Final = "kafka"
# Faust joins its group meanwhile, which takes as long as a rebalance.
_START_TIMEOUT_S: Final = 60.0
_GOOD_AFTER_S: Final = 60.0
# Of the time to stop, for Faust to end; half as much to end its start before.
_STOP_SHARE: Final = 2 / 3
# The sweep's, those for events, one for profiles, and some for requests to remote services, which are mostly out on the
# network.
_CONNECTIONS_MAX: Final = SWEEP_CONCURRENCY_MAX + 1 + ALONE_MAX + 3
# The codes of some twenty answers of 500.
_GC_OBJECTS: Final = 50_000


def main() -> None:
    """Run one generator. Raises CodewellError."""
    settings = read(GeneratorSettings)
    configure("generator", settings.log_level)
    failpoints.arm(settings.failpoints)
    metrics.configure("generator")
    run(lambda stop: generate(settings, stop))


async def generate(settings: GeneratorSettings, stop: asyncio.Event) -> None:
    """Keep pools full until told to stop. Raises StackUnavailable when Postgres or Kafka is not there at the start."""
    url = settings.postgres_url.get_secret_value()
    health = Health("postgres", _KAFKA)
    minters = Minters(*settings.master_keys)

    async def check(connection: Connection) -> None:
        await check_schema(connection)
        await master_keys.check(connection, minters.keys)

    async with served(health, settings.health_host, settings.health_port):
        await postgres.wait_until_up(url, "codewell-generator", settings.start_timeout_s, check)
        needed = [settings.topic_prefix + topic.name for topic in topics.TOPICS]
        await clients.wait_until_up(settings.kafka_config, needed, settings.start_timeout_s)
        allowed = [ip_network(text) for text in settings.remote_allow]
        async with (
            postgres.pool(url, "codewell-generator", _CONNECTIONS_MAX) as pool,
            contextlib.aclosing(Client(settings.remote_timeout_s, allowed)) as client,
        ):
            ordered = asyncio.Event()
            filler = Filler(pool, minters, health, stop, ordered)
            limits = SendLimits(settings.remote_concurrency, settings.remote_timeout_s, settings.remote_give_up_s)
            sender = RemoteSender(pool, minters, client, limits, filler.fill, health, ordered)
            reader = ProfileReader(settings, pool, health, stop)
            works = [
                sender.run(stop, settings.stop_timeout_s),
                until(stop, reader.run(), settings.stop_timeout_s),
                until(stop, filler.sweep_on(settings.sweep_interval_s)),
                watch(pool, health, stop),
            ]
            tasks = [asyncio.create_task(work) for work in works]
            try:
                await _listen_on(settings, FillBatcher(filler).fill, health, stop)
            finally:
                stop.set()
                await asyncio.gather(*tasks)


async def _listen_on(settings: GeneratorSettings, fill: Fill, health: Health, stop: asyncio.Event) -> None:
    """Fill the pools that events name until told to stop. A broken connection to Kafka is made anew.

    Faust does not come back from a crash by itself, so each connection is another application.
    """
    while not stop.is_set():
        async for _ in pauses(stop):
            began = time.monotonic()
            try:
                await _listen(settings, fill, health, stop)
            except (KafkaError, OSError) as error:
                health.set_waiting(_KAFKA, clients.why_away(error))
            except Exception as error:
                log.exception("events_not_read")
                health.set_waiting(_KAFKA, type(error).__name__)
            if stop.is_set() or time.monotonic() - began > _GOOD_AFTER_S:
                break


async def _listen(settings: GeneratorSettings, fill: Fill, health: Health, stop: asyncio.Event) -> None:
    """Fill the pools that events name until told to stop. Raises what Faust raises, and StackUnavailable."""
    with TemporaryDirectory(prefix="codewell-generator-") as directory:
        app = create_app(settings, directory, fill)
        try:
            # Where no broker answers, this takes long, and whoever stops the generator meanwhile need not wait for it.
            # Faust that is stopped half-way leaves connections and a thread behind, so it has its chance to end it.
            await until(
                stop, asyncio.wait_for(app.start(), _START_TIMEOUT_S), _STOP_SHARE / 2 * settings.stop_timeout_s
            )
            if not stop.is_set():
                _keep()
                health.set_ready(_KAFKA)
                await until(stop, app.wait_until_stopped())
        finally:
            await _stop(app, _STOP_SHARE * settings.stop_timeout_s)
    if not stop.is_set():
        raise StackUnavailable("Faust has stopped: see its log for the reason.")


async def _stop(app: faust.App, timeout_s: float) -> None:
    """Let Faust end what it has in hand, for so long (s). It may not take its cancellation where no broker answers."""
    stopping = asyncio.ensure_future(app.stop())
    await asyncio.wait((stopping,), timeout=timeout_s)
    stopping.cancel()
    await asyncio.wait((stopping,), timeout=CANCEL_TIMEOUT_S)


def _keep() -> None:
    """What is there now stays: to look through it for garbage stopped everything for 0.1 s, twice a second."""
    if gc.get_freeze_count() == 0:
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
