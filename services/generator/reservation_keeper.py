"""Ends reservations when they are due, orders what they wait for, and publishes what happened to them."""

import asyncio
from typing import Final

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from codewell.client.exchange import program_event
from codewell.errors import CodewellError
from codewell.infra.kafka.clients import EXCHANGE_TIMEOUT_S, started_producer
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection, Pool
from codewell.infra.telemetry.health import Health
from codewell.reservations import pending, states
from codewell.reservations.states import NotedChange
from schemas import topics
from schemas.events import RESERVATION_CHANGED, ReservationChanged
from services.generator.looks import looks

log = structlog.get_logger()

SOURCE: Final = "/codewell/generator"
INTERVAL_S: Final = 1.0
# One generator publishes at a time, so that a reservation's events stay in order. Unique among all advisory locks.
_PUBLISH_LOCK: Final = (0x636F6465, 31)
_KEEPER: Final = "reservations"

OPEN: Final = Gauge("codewell_reservations_open", "Open reservations.")
RESERVED: Final = Gauge("codewell_reserved_codes", "Codes that reservations have and that are not given.")
SHORTFALL: Final = Gauge("codewell_reservations_shortfall_codes", "Codes that open reservations lack.")
PUBLISHED: Final = Counter("codewell_reservation_events", "Published changes of reservations.", ["state"])
for _state in ("ready", "nearly_used", "used_up", "released"):
    PUBLISHED.labels(_state)


class ReservationKeeper:
    """Runs in each generator. `ordered` is set when an order to a remote service is due."""

    def __init__(
        self, pool: Pool, kafka_config: KafkaConfig | str, prefix: str, health: Health, ordered: asyncio.Event
    ) -> None:
        self._pool = pool
        self._kafka_config = kafka_config
        self._topic = prefix + topics.RESERVATIONS
        self._health = health
        self._ordered = ordered

    async def run(self, stop: asyncio.Event, interval_s: float = INTERVAL_S) -> None:
        """Look every `interval_s` (s) until `stop` is set. Raises nothing: what fails is done by the next look."""
        async for _ in looks(self._health, _KEEPER, stop, interval_s):
            try:
                await self.keep()
            except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError, KafkaError, TimeoutError, CodewellError) as error:
                log.warning("reservations_not_kept", why=type(error).__name__)
            except Exception:
                log.exception("reservations_broke")

    async def keep(self) -> None:
        """One look. Raises what asyncpg and aiokafka raise, and StackUnavailable."""
        async with self._pool.acquire() as connection:
            if not await states.has_work(connection):
                for gauge in (OPEN, RESERVED, SHORTFALL):
                    gauge.set(0)
                return
            for due in await states.end_due(connection):
                log.info("reservation_ended", reservation_id=due.id, program_id=due.program_id, by=due.by)
            for program_id in await pending.pending_programs(connection):
                if await pending.order_missing(connection, program_id):
                    self._ordered.set()
            await states.note_changes(connection)
            figures = await states.figures(connection)
            OPEN.set(figures.open)
            RESERVED.set(figures.reserved)
            SHORTFALL.set(figures.shortfall)
            await self._publish_noted(connection)

    async def _publish_noted(self, connection: Connection) -> None:
        if not await states.unpublished(connection):
            return
        async with try_lock(connection, _PUBLISH_LOCK) as is_held:
            if not is_held:
                return
            async with asyncio.timeout(EXCHANGE_TIMEOUT_S), started_producer(self._kafka_config) as producer:
                # Read again: another generator may have published them before the lock.
                while noted := await states.unpublished(connection):
                    await self._publish(producer, noted)
                    await states.set_published(connection, noted)

    async def _publish(self, producer: AIOKafkaProducer, noted: list[NotedChange]) -> None:
        sent = [
            await producer.send(
                self._topic,
                **program_event(SOURCE, RESERVATION_CHANGED, one.program_id, _changed(one), one.event_id),
            )
            for one in noted
        ]
        await asyncio.gather(*sent)
        for one in noted:
            PUBLISHED.labels(one.state).inc()


def _changed(one: NotedChange) -> ReservationChanged:
    is_campaign = one.source == "campaign"
    return ReservationChanged.model_validate({
        "reservation_id": one.reservation_id, "program": one.program,
        "campaign_id": one.source_id if is_campaign else None,
        "scenario_id": None if is_campaign else one.source_id,
        "state": one.state, "count": one.wanted, "reserved": one.reserved, "used": one.used,
        "ended_by": one.ended_by if one.state == "released" else None, "at": one.at,
    })  # fmt: skip
