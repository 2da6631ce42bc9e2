"""Tells the generator of programs that were made or changed, without making anybody wait for Kafka."""

import asyncio
from typing import Final, NamedTuple

import structlog
from aiokafka.errors import KafkaError

from codewell.client.exchange import publish_program_changed
from codewell.errors import CodewellError
from codewell.infra.kafka.clients import EXCHANGE_TIMEOUT_S, started_producer
from codewell.infra.kafka.config import KafkaConfig

log = structlog.get_logger()

_WAITING_MAX: Final = 1_000


class _Announcement(NamedTuple):
    program_id: int
    name: str


class Announcer:
    """Announces in the background. What Kafka does not take is logged and lost; the generator's sweep finds it."""

    def __init__(self, kafka_config: KafkaConfig | str, prefix: str) -> None:
        self._kafka_config = kafka_config
        self._prefix = prefix
        self._waiting: asyncio.Queue[_Announcement] = asyncio.Queue(_WAITING_MAX)

    def publish(self, program_id: int, name: str) -> None:
        """Announce a program soon. Never waits and never fails."""
        try:
            self._waiting.put_nowait(_Announcement(program_id, name))
        except asyncio.QueueFull:
            _note_lost(program_id, "too many wait")

    async def run(self) -> None:
        """Announce what is told, until cancelled. It connects when there is something to announce."""
        while True:
            news = await self._waiting.get()
            try:
                await self._announce(news)
            except CodewellError as error:
                _note_lost(news.program_id, str(error))
            except (KafkaError, TimeoutError) as error:
                _note_lost(news.program_id, type(error).__name__)
            except Exception:
                log.exception("announcer_broke")
                _note_lost(news.program_id, "it broke")

    async def _announce(self, news: _Announcement | None) -> None:
        """Announce this and what comes after it, as long as Kafka takes it."""
        async with started_producer(self._kafka_config) as producer:
            while news is not None:
                took = await asyncio.wait_for(
                    publish_program_changed(producer, self._prefix, *news), EXCHANGE_TIMEOUT_S
                )
                if not took:
                    _note_lost(news.program_id, "Kafka did not take it")
                news = await self._waiting.get() if took else None


def _note_lost(program_id: int, why: str) -> None:
    log.warning("announcement_lost", program_id=program_id, why=why)
