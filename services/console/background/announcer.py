"""Publishes program changes and pool demands to the generator in the background, so that no request waits for Kafka."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from codewell.client.exchange import publish_pool_demand, publish_program_changed
from codewell.errors import CodewellError
from codewell.infra.kafka.clients import EXCHANGE_TIMEOUT_S, started_producer
from codewell.infra.kafka.config import KafkaConfig
from codewell.pool.demand import DemandSchedule, LowPool

log = structlog.get_logger()

_QUEUE_SIZE_MAX: Final = 1_000
# Between two demands of one program.
_DEMAND_INTERVAL_S: Final = 0.25


class _ProgramChange(NamedTuple):
    program_id: int
    name: str


class _Demand(NamedTuple):
    program_id: int
    pooled: int


class Announcer:
    """Publishes announcements from a queue. Failed ones are logged and dropped; the generator's sweep covers them."""

    def __init__(self, kafka_config: KafkaConfig | str, prefix: str) -> None:
        self._kafka_config = kafka_config
        self._prefix = prefix
        # None: the schedule of demands has changed.
        self._queue: asyncio.Queue[_ProgramChange | None] = asyncio.Queue(_QUEUE_SIZE_MAX)
        self._schedule = DemandSchedule(_DEMAND_INTERVAL_S)
        self._due: list[_Demand] = []

    def publish(self, program_id: int, name: str) -> None:
        """Enqueue a changed program. Never blocks and never raises."""
        try:
            self._queue.put_nowait(_ProgramChange(program_id, name))
        except asyncio.QueueFull:
            _log_lost(program_id, "too many wait")

    def demand(self, low_pools: Mapping[int, LowPool]) -> None:
        """Schedule demands for pools below their mark, by program id. Never blocks and never raises."""
        self._schedule.add(low_pools, time.monotonic())
        if self._queue.empty():
            self._queue.put_nowait(None)

    async def run(self) -> None:
        """Publish announcements until cancelled. Connects to Kafka on demand."""
        while True:
            news = await self._next()
            try:
                await self._announce(news)
            except CodewellError as error:
                _log_lost(news.program_id, str(error))
            except (KafkaError, TimeoutError) as error:
                _log_lost(news.program_id, type(error).__name__)
            except Exception:
                log.exception("announcer_broke")
                _log_lost(news.program_id, "it broke")

    async def _next(self) -> _ProgramChange | _Demand:
        """Wait for the next change or due demand."""
        while True:
            self._due += (_Demand(*due) for due in self._schedule.take_due(time.monotonic()).items())
            if self._due:
                return self._due.pop(0)
            try:
                async with asyncio.timeout(self._schedule.wait_s(time.monotonic())):
                    change = await self._queue.get()
            except TimeoutError:
                continue
            if change is not None:
                return change

    async def _announce(self, news: _ProgramChange | _Demand | None) -> None:
        """Publish this announcement and the following ones, until one fails."""
        async with started_producer(self._kafka_config) as producer:
            while news is not None:
                took = await asyncio.wait_for(self._publish(producer, news), EXCHANGE_TIMEOUT_S)
                if not took:
                    _log_lost(news.program_id, "Kafka did not take it")
                news = await self._next() if took else None

    async def _publish(self, producer: AIOKafkaProducer, news: _ProgramChange | _Demand) -> bool:
        match news:
            case _ProgramChange():
                return await publish_program_changed(producer, self._prefix, *news)
            case _Demand():
                return await publish_pool_demand(producer, self._prefix, *news)


def _log_lost(program_id: int, why: str) -> None:
    log.warning("announcement_lost", program_id=program_id, why=why)
