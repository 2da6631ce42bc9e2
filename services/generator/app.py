"""The Faust application: what wakes the generator up. Made by a factory; importing this starts nothing.

Faust delivers at least once as long as an agent has a concurrency of 1, waits for its stream to be empty before it
stops, and raises nothing: a message whose agent raises counts as done. So agents here catch what the database may
raise and try again, and a top-up that is repeated finds the pool full. Faust commits past a first message that is not
acknowledged once one behind it is: an agent that has many in hand acknowledges them in the order in which they came.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast

import faust
import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from codewell.infra.kafka.config import KafkaConfig
from schemas import topics
from schemas.events import PoolDemand, ProgramChanged
from services.generator.settings import GeneratorSettings

log = structlog.get_logger()

WAKE_UPS: Final = Counter("codewell_wake_ups", "Wake-ups of the generator, by kind.", ["kind"])
for _kind in ("sweep", "PoolDemand", "ProgramChanged", "unreadable"):
    WAKE_UPS.labels(_kind)

# Events of one partition whose pools are being filled.
IN_HAND_MAX: Final = 200

Fill = Callable[[int], Awaitable[None]]


def create_app(settings: GeneratorSettings, directory: str, fill: Fill) -> faust.App:
    """An application that calls `fill`, which may not raise, with the id of a program that wants codes.

    Faust wants a directory, though it has no tables here to keep in it. The application is started
    and stopped by its caller.
    """
    prefix = settings.topic_prefix
    app = faust.App(
        f"{prefix}codewell-generator",
        broker=[f"kafka://{broker.strip()}" for broker in settings.kafka_bootstrap.split(",")],
        broker_credentials=_credentials(settings.kafka_config),
        autodiscover=False,
        datadir=directory,
        store="memory://",
        stream_wait_empty=True,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=15.0,
        broker_heartbeat_interval=3.0,
        broker_request_timeout=20.0,
        stream_buffer_maxsize=256,
    )

    def topic(name: str) -> faust.TopicT:
        return app.topic(prefix + name, key_serializer="raw", value_serializer="raw", allow_empty=True)

    @app.agent(topic(topics.POOL_DEMAND), concurrency=1, isolated_partitions=True)
    async def on_pool_demand(stream: faust.StreamT[bytes | None]) -> None:
        await _serve(PoolDemand, stream, fill)

    @app.agent(topic(topics.PROGRAM_CHANGED), concurrency=1, isolated_partitions=True)
    async def on_program_changed(stream: faust.StreamT[bytes | None]) -> None:
        await _serve(ProgramChanged, stream, fill)

    return app


def _credentials(kafka_config: KafkaConfig) -> faust.SASLCredentials | faust.SSLCredentials | None:
    tls = kafka_config.tls()
    if kafka_config.with_sasl:
        return faust.SASLCredentials(
            username=kafka_config.sasl_username,
            password=kafka_config.password,
            mechanism=kafka_config.sasl_mechanism,
            ssl_context=tls,
        )
    return None if tls is None else faust.SSLCredentials(tls)


async def _serve(
    kind: type[PoolDemand | ProgramChanged], stream: faust.StreamT[bytes | None], fill: Fill
) -> None:  # fmt: skip
    """Fill the pools that the events of a partition name, many at a time."""
    # The declared type lacks what every stream has.
    manual = cast("faust.Stream[bytes | None]", stream).noack()
    slots = asyncio.Semaphore(IN_HAND_MAX)

    async def serve(event: faust.EventT[bytes | None], before: asyncio.Task[None] | None) -> None:
        await _read_and_fill(kind, event.value, fill)
        if before is not None:
            await before
        await manual.ack(event)
        slots.release()

    async with asyncio.TaskGroup() as group:
        last: asyncio.Task[None] | None = None
        async for event in manual.events():
            await slots.acquire()
            last = group.create_task(serve(event, last))


async def _read_and_fill(kind: type[PoolDemand | ProgramChanged], value: bytes | None, fill: Fill) -> None:
    """Fill the pool that an event names. One that can't be read is logged: the sweep does its work."""
    if not value:
        return
    try:
        event = kind.model_validate_json(value)
    except ValidationError as error:
        WAKE_UPS.labels("unreadable").inc()
        log.warning("event_unreadable", kind=kind.__name__, errors=error.error_count())
        return
    WAKE_UPS.labels(kind.__name__).inc()
    await fill(event.program_id)
