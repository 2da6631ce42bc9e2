"""Publishes program changes to the generator in the background, so that no request waits for Kafka."""

import asyncio
from typing import Final, NamedTuple

import structlog
from aiokafka.errors import KafkaError

from codewell.client.exchange import publish_program_changed
from codewell.errors import CodewellError
from codewell.infra.kafka.clients import EXCHANGE_TIMEOUT_S, started_producer
from codewell.infra.kafka.config import KafkaConfig

log = structlog.get_logger()

_QUEUE_SIZE_MAX: Final = 1_000


class _Announcement(NamedTuple):
    program_id: int
    name: str


class Announcer:
    """Publishes announcements from a queue. Failed ones are logged and dropped; the generator's sweep covers them."""

    def __init__(self, kafka_config: KafkaConfig | str, prefix: str) -> None:
        self._kafka_config = kafka_config
        self._prefix = prefix
        self._queue: asyncio.Queue[_Announcement] = asyncio.Queue(_QUEUE_SIZE_MAX)

    def publish(self, program_id: int, name: str) -> None:
        """Enqueue a program. Never blocks and never raises."""
        try:
            self._queue.put_nowait(_Announcement(program_id, name))
        except asyncio.QueueFull:
            _log_lost(program_id, "too many wait")

    async def run(self) -> None:
        """Publish queued announcements until cancelled. Connects to Kafka on demand."""
        while True:
            news = await self._queue.get()
            try:
                await self._announce(news)
            except CodewellError as error:
                _log_lost(news.program_id, str(error))
            except (KafkaError, TimeoutError) as error:
                _log_lost(news.program_id, type(error).__name__)
            except Exception:
                log.exception("announcer_broke")
                _log_lost(news.program_id, "it broke")

    async def _announce(self, news: _Announcement | None) -> None:
        """Publish this announcement and the following ones, until one fails."""
        async with started_producer(self._kafka_config) as producer:
            while news is not None:
                took = await asyncio.wait_for(
                    publish_program_changed(producer, self._prefix, *news), EXCHANGE_TIMEOUT_S
                )
                if not took:
                    _log_lost(news.program_id, "Kafka did not take it")
                news = await self._queue.get() if took else None


def _log_lost(program_id: int, why: str) -> None:
    log.warning("announcement_lost", program_id=program_id, why=why)
