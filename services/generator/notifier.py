"""Publishes what happened to alerts on the topic `alerts`, and reminds once a day of those that are open."""

import asyncio
from typing import Final

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from codewell.alerts import alert_events
from codewell.alerts.alert_events import NotedAlert
from codewell.client.exchange import program_event
from codewell.errors import CodewellError
from codewell.infra.kafka.clients import EXCHANGE_TIMEOUT_S, started_producer
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection, Pool
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.telemetry.health import Health
from codewell.webhooks.events import WebhookEvent, enqueue
from schemas import topics
from services.generator.looks import looks
from services.generator.settings import GeneratorSettings

log = structlog.get_logger()

SOURCE: Final = "/codewell/generator"
INTERVAL_S: Final = 1.0
# One generator publishes at a time, so that events stay in order. Unique among all advisory locks.
_LOCK: Final = (0x636F6465, 40)
_NOTIFIER: Final = "alerts"

PUBLISHED: Final = Counter("codewell_alert_events", "Published events of alerts.", ["change"])
for _change in ("raised", "cleared", "reminder"):
    PUBLISHED.labels(_change)
UNPUBLISHED: Final = Gauge("codewell_alert_events_waiting", "Events of alerts that wait to be published, up to 200.")


class Notifier:
    """Runs in each generator; an advisory lock lets one of them publish."""

    def __init__(self, pool: Pool, settings: GeneratorSettings, health: Health) -> None:
        self._pool = pool
        self._kafka_config = settings.kafka_config
        self._topic = settings.topic_prefix + topics.ALERTS
        self._console_url = settings.public_url
        self._health = health

    async def run(self, stop: asyncio.Event, interval_s: float = INTERVAL_S) -> None:
        """Look every `interval_s` (s) until `stop` is set. Raises nothing: what fails is done by the next look."""
        async for _ in looks(self._health, _NOTIFIER, stop, interval_s):
            try:
                await self.look()
            except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError, KafkaError, TimeoutError, CodewellError) as error:
                log.warning("alerts_not_published", why=type(error).__name__)
            except Exception:
                log.exception("notifier_broke")

    async def look(self) -> None:
        """One look. Raises what asyncpg and aiokafka raise, and StackUnavailable."""
        async with self._pool.acquire() as connection:
            await alert_events.remind(connection)
            pending = await alert_events.pending(connection)
            if pending.unhanded:
                await self._hand_over(connection)
            if pending.unpublished:
                await self._publish_noted(connection)
            else:
                UNPUBLISHED.set(0)

    async def _hand_over(self, connection: Connection) -> None:
        """Give the events to webhooks. Before the topic, so that they don't wait for Kafka."""
        async with connection.transaction():
            noted = await alert_events.take_unhanded(connection)
            events = [
                WebhookEvent(one.id, one.type, one.at, one.program_id, one.data(self._console_url).model_dump_json())
                for one in noted
            ]
            await enqueue(connection, events)
            await alert_events.set_handed(connection, noted)

    async def _publish_noted(self, connection: Connection) -> None:
        async with try_lock(connection, _LOCK) as is_held:
            if not is_held:
                return
            # Read under the lock: another generator may have published them before.
            noted = await alert_events.unpublished(connection)
            UNPUBLISHED.set(len(noted))
            async with asyncio.timeout(EXCHANGE_TIMEOUT_S), started_producer(self._kafka_config) as producer:
                while noted:
                    await self._publish(producer, noted)
                    reach(Failpoint.ALERTS_PUBLISHED)
                    await alert_events.set_published(connection, noted)
                    noted = await alert_events.unpublished(connection)
                    UNPUBLISHED.set(len(noted))

    async def _publish(self, producer: AIOKafkaProducer, noted: list[NotedAlert]) -> None:
        sent = [
            await producer.send(
                self._topic,
                **program_event(SOURCE, one.type, one.program_id, one.data(self._console_url), one.id),
            )
            for one in noted
        ]
        await asyncio.gather(*sent)
        for one in noted:
            PUBLISHED.labels(one.change).inc()
