"""Publishes pool demands: the generator fills the pools that the issuer found below their mark."""

import asyncio
import time
from typing import Final
from uuid import uuid4

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata
from pydantic_core import to_json

from schemas import events
from services.issuer.batch_publisher import SOURCE

log = structlog.get_logger()

# Above this many programs, the publication times are dropped; some demands are then published early.
_PROGRAMS_MAX: Final = 100_000
# For space in the producer's buffer; the next batch waits meanwhile.
_ENQUEUE_TIMEOUT_S: Final = 0.1


class DemandPublisher:
    """Publishes pools below their mark to the generator, each at most once an interval and the latest level last."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, interval_s: float) -> None:
        self._producer = producer
        self._topic = topic
        self._interval_s = interval_s
        self._published_at: dict[int, float] = {}
        self._pending: dict[int, int] = {}

    async def publish(self, low_pools: dict[int, int]) -> None:
        """Publish due demands, without waiting for the acknowledgement. Raises nothing.

        `low_pools` maps program ids to the codes left; a demand within the interval is delayed. The generator's sweep
        makes up for a lost demand.
        """
        now = time.monotonic()
        self._pending |= low_pools
        due = [key for key in self._pending if now - self._published_at.get(key, -self._interval_s) >= self._interval_s]
        for program_id in due:
            pooled = self._pending.pop(program_id)
            self._published_at[program_id] = now
            demand = events.PoolDemand(program_id=program_id, pooled=pooled)
            headers = [
                ("ce_specversion", b"1.0"),
                ("ce_id", str(uuid4()).encode()),
                ("ce_source", SOURCE.encode()),
                ("ce_type", events.POOL_DEMAND.encode()),
                ("content-type", b"application/json"),
            ]
            try:
                async with asyncio.timeout(_ENQUEUE_TIMEOUT_S):
                    sent = await self._producer.send(
                        self._topic, to_json(demand), key=str(program_id).encode(), headers=headers
                    )
            except (KafkaError, TimeoutError) as error:
                log.warning("demand_lost", program_id=program_id, error=type(error).__name__)
            else:
                sent.add_done_callback(_log_if_lost)
        if len(self._published_at) > _PROGRAMS_MAX:
            self._published_at.clear()


def _log_if_lost(sent: asyncio.Future[RecordMetadata]) -> None:
    if not sent.cancelled() and sent.exception() is not None:
        log.warning("demand_lost", error=type(sent.exception()).__name__)
