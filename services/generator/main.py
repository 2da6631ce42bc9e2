"""Build a generator from its settings and run it until told to stop."""

import asyncio
import contextlib
import gc
from ipaddress import ip_network
from tempfile import TemporaryDirectory
from typing import Final

from schemas import topics
from services.errors import StackUnavailable
from services.generator.app import create_app
from services.generator.filler import SWEEP_CONCURRENCY_MAX, Filler
from services.generator.gatherer import ALONE_MAX, Gatherer
from services.generator.profiles import ProfileReader
from services.generator.sender import Limits, Sender
from services.kafka import clients
from services.postgres import connection as postgres
from services.postgres.migrations import check_schema
from services.remote.client import Client
from services.runtime.process import run, until
from services.runtime.settings import GeneratorSettings, read
from services.store.minters import Minters
from services.telemetry import metrics
from services.telemetry.health import Health, served
from services.telemetry.logs import configure

# The sweep's, those for events, one for profiles, and some for requests to remote services, which are mostly out on the
# network.
_CONNECTIONS_MAX: Final = SWEEP_CONCURRENCY_MAX + 1 + ALONE_MAX + 3
# The codes of some twenty answers of 500.
_GC_OBJECTS: Final = 50_000


def main() -> None:
    """Run one generator. Raises CodewellError."""
    settings = read(GeneratorSettings)
    configure("generator", settings.log_level)
    metrics.configure("generator")
    run(lambda stop: generate(settings, stop))


async def generate(settings: GeneratorSettings, stop: asyncio.Event) -> None:
    """Keep pools full until told to stop. Raises StackUnavailable when Postgres or Kafka is not there at the start."""
    url = settings.postgres_url.get_secret_value()
    health = Health("postgres", "kafka")
    async with served(health, settings.health_host, settings.health_port):
        await postgres.wait_until_up(url, "codewell-generator", settings.start_timeout_s, check_schema)
        needed = [settings.topic_prefix + topic.name for topic in topics.TOPICS]
        await clients.wait_until_up(settings.kafka_bootstrap, needed, settings.start_timeout_s)
        allowed = [ip_network(text) for text in settings.remote_allow]
        async with (
            postgres.pool(url, "codewell-generator", _CONNECTIONS_MAX) as pool,
            contextlib.aclosing(Client(settings.remote_timeout_s, allowed)) as client,
        ):
            minters = Minters(settings.master_key_bytes)
            ordered = asyncio.Event()
            filler = Filler(pool, minters, health, stop, ordered)
            limits = Limits(settings.remote_concurrency, settings.remote_timeout_s, settings.remote_give_up_s)
            sender = Sender(pool, minters, client, limits, filler.fill, health, ordered)
            sending = asyncio.create_task(sender.run(stop, settings.stop_timeout_s))
            reader = ProfileReader(settings, pool, health, stop)
            reading = asyncio.create_task(until(stop, reader.run(), settings.stop_timeout_s))
            try:
                await until(stop, filler.sweep())
                await _run(settings, filler, health, stop)
            finally:
                stop.set()
                await asyncio.gather(sending, reading)


async def _run(settings: GeneratorSettings, filler: Filler, health: Health, stop: asyncio.Event) -> None:
    gatherer = Gatherer(filler)
    with TemporaryDirectory(prefix="codewell-generator-") as directory:
        app = create_app(settings, directory, gatherer.fill, filler.sweep)
        try:
            await app.start()
            # What is there now stays: to look through it for garbage stopped everything for 0.1 s, twice a second.
            gc.freeze()
            gc.set_threshold(_GC_OBJECTS)
            health.has("kafka")
            await until(stop, app.wait_until_stopped())
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(app.stop(), settings.stop_timeout_s)
    if not stop.is_set():
        # Faust does not come back from a crash by itself; whoever keeps this process running starts it anew.
        raise StackUnavailable("The generator lost Kafka: see its log for why, and start it again.")
