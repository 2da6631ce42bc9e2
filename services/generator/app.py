"""The Faust application: consumes pool demands and program changes, and fills the pools that they name.

Faust delivers at least once as long as an agent has a concurrency of 1, waits for its stream to be empty before it
stops, and raises nothing: a message whose agent raises is acknowledged. So the fill catches database errors and
retries; a repeated top-up finds the pool full. Faust commits past an unacknowledged first message once a later one is
acknowledged, so an agent with many messages in progress acknowledges them in order.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast

import faust
import structlog
from faust.tables.manager import TableManager
from pydantic import ValidationError

from codewell.infra.kafka.clients import PARTITION_FETCH_BYTES_MAX
from codewell.infra.kafka.config import KafkaConfig
from schemas import topics
from schemas.events import PoolDemand, ProgramChanged
from services.generator.faust_transport import Transport
from services.generator.settings import GeneratorSettings
from services.generator.wake_ups import WAKE_UPS

log = structlog.get_logger()

# Events of one partition in progress at once.
EVENTS_IN_PROGRESS_MAX: Final = 200

FillPool = Callable[[int], Awaitable[None]]


class _NoTables(TableManager):
    async def on_start(self) -> None:
        """As Faust's own, without its pause of a second in which tables may be added: there are none."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class _FillingApp(faust.App):
    def _create_directories(self) -> None:
        """Nothing: only tables have files, and a killed generator would leave its directories for ever."""


def create_app(settings: GeneratorSettings, fill: FillPool) -> faust.App:
    """Create the application. It calls `fill` with the id of each program to fill; `fill` may not raise.

    The caller starts and stops the application.
    """
    prefix = settings.topic_prefix
    app = _FillingApp(
        f"{prefix}codewell-generator",
        broker=[f"kafka://{broker.strip()}" for broker in settings.kafka_bootstrap.split(",")],
        broker_credentials=_credentials(settings.kafka_config),
        autodiscover=False,
        broker_client_id=settings.kafka_config.client_id,
        TableManager=_NoTables,
        store="memory://",
        stream_wait_empty=True,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=15.0,
        broker_heartbeat_interval=3.0,
        broker_request_timeout=20.0,
        consumer_max_fetch_size=PARTITION_FETCH_BYTES_MAX,
        stream_buffer_maxsize=256,
        # Else all that were fetched are taken at once, up to tens of thousands.
        broker_max_poll_records=500,
    )
    app.transport = Transport(app.conf.broker_consumer, app)

    def topic(name: str) -> faust.TopicT:
        return app.topic(prefix + name, key_serializer="raw", value_serializer="raw", allow_empty=True)

    @app.agent(topic(topics.POOL_DEMAND), concurrency=1, isolated_partitions=True)
    async def on_pool_demand(stream: faust.StreamT[bytes | None]) -> None:
        await _consume(PoolDemand, stream, fill)

    @app.agent(topic(topics.PROGRAM_CHANGED), concurrency=1, isolated_partitions=True)
    async def on_program_changed(stream: faust.StreamT[bytes | None]) -> None:
        await _consume(ProgramChanged, stream, fill)

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


async def _consume(
    kind: type[PoolDemand | ProgramChanged], stream: faust.StreamT[bytes | None], fill: FillPool
) -> None:  # fmt: skip
    """Handle the events of one partition concurrently, and acknowledge them in order."""
    # The declared type lacks `noack`, which every stream has.
    manual = cast("faust.Stream[bytes | None]", stream).noack()
    slots = asyncio.Semaphore(EVENTS_IN_PROGRESS_MAX)

    async def serve(event: faust.EventT[bytes | None], before: asyncio.Task[None] | None) -> None:
        await _handle_event(kind, event.value, fill)
        if before is not None:
            await before
        await manual.ack(event)
        slots.release()

    async with asyncio.TaskGroup() as group:
        last: asyncio.Task[None] | None = None
        async for event in manual.events():
            await slots.acquire()
            last = group.create_task(serve(event, last))


async def _handle_event(kind: type[PoolDemand | ProgramChanged], value: bytes | None, fill: FillPool) -> None:
    """Fill the pool that an event names. An unreadable event is logged; the next sweep covers it."""
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
