"""Publishes pool demands: the generator fills the pools that the issuer found below their mark."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from codewell.client.exchange import pool_demand
from codewell.pool.demand import DemandSchedule, LowPool
from services.issuer.answer_records import SOURCE

log = structlog.get_logger()

# For space in the producer's buffer; the next batch waits meanwhile.
_ENQUEUE_TIMEOUT_S: Final = 0.1


class DemandPublisher:
    """Publishes pools below their mark to the generator, each at most once an interval and the latest level last."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, interval_s: float) -> None:
        self._producer = producer
        self._topic = topic
        self._schedule = DemandSchedule(interval_s)

    async def publish(self, low_pools: Mapping[int, LowPool]) -> None:
        """Publish due demands, without waiting for the acknowledgement. Raises nothing.

        `low_pools` is by program id. The generator's sweep makes up for a lost demand.
        """
        now = time.monotonic()
        self._schedule.add(low_pools, now)
        for program_id, pooled in self._schedule.take_due(now).items():
            try:
                async with asyncio.timeout(_ENQUEUE_TIMEOUT_S):
                    sent = await self._producer.send(self._topic, **pool_demand(SOURCE, program_id, pooled))
            except (KafkaError, TimeoutError) as error:
                log.warning("demand_lost", program_id=program_id, error=type(error).__name__)
            else:
                sent.add_done_callback(_log_if_lost)


def _log_if_lost(sent: asyncio.Future[RecordMetadata]) -> None:
    if not sent.cancelled() and sent.exception() is not None:
        log.warning("demand_lost", error=type(sent.exception()).__name__)
