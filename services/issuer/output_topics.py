"""The topics that an issuer writes to. Those that senders name may be missing; our own must exist."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from codewell.infra.kafka import clients

log = structlog.get_logger()

WATCH_INTERVAL_S: Final = 2.0
# A topic that refuses records is tried again after this time; until then its requests become dead letters.
REFUSED_S: Final = 30.0


class OutputTopics:
    """The number of partitions of each topic, kept up to date for one producer.

    A reply topic that is missing, or that refuses records, is left out: it must not hold up the answers of the others.
    """

    def __init__(self, own: Iterable[str], named: Sequence[str]) -> None:
        self._own = tuple(own)
        self._named = frozenset(named) - set(self._own)
        self._refused_until: dict[str, float] = {}
        self._reported: frozenset[str] = frozenset()
        self.partitions: dict[str, int] = {}
        """By topic; changes in place."""
        self.lost = asyncio.Event()
        """Set once a topic is gone that this producer may have records for: they would be retried for ever."""

    async def load(self, producer: AIOKafkaProducer) -> None:
        """Read all topics for a new producer. Raises what aiokafka raises where one of our own is missing."""
        self.lost.clear()
        self.partitions.clear()
        self.partitions.update({topic: len(await producer.partitions_for(topic)) for topic in self._own})
        await self._refresh(producer)

    async def watch(self, producer: AIOKafkaProducer) -> None:
        """Follow the reply topics until cancelled: one may be deleted, or created again with fewer partitions."""
        while self._named:
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                    await self._refresh(producer)
            except (KafkaError, OSError):
                # The worker's own exchanges report an outage.
                continue

    def refuse(self, topic: str) -> bool:
        """Leave out a reply topic that refused records for a while. False for one of our own."""
        if topic not in self._named:
            return False
        self._refused_until[topic] = time.monotonic() + REFUSED_S
        return True

    async def _refresh(self, producer: AIOKafkaProducer) -> None:
        if not self._named:
            return
        # All topics, since a request for a missing one could create it.
        cluster = await producer.client.fetch_all_metadata()
        now = time.monotonic()
        usable = [topic for topic in self._named if self._refused_until.get(topic, 0.0) <= now]
        found = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in usable}
        for topic in self._named:
            count, before = found.get(topic, 0), self.partitions.get(topic, 0)
            if count:
                self.partitions[topic] = count
            else:
                self.partitions.pop(topic, None)
            if count < before:
                self.lost.set()
        missing = self._named - self.partitions.keys()
        if missing - self._reported:
            log.warning("reply_topics_missing", topics=sorted(missing))
        self._reported = missing
