"""Commits the offsets of processed records, at most ten times a second."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from codewell.infra.kafka import clients
from codewell.infra.process.failpoints import Failpoint, reach

log = structlog.get_logger()

# At 1,000 requests a second, a commit after each batch was a third of the broker's work for an issuer. Records that are
# uncommitted when an issuer dies are answered again, with the same answers.
COMMIT_INTERVAL_S: Final = 0.1


class OffsetCommitter:
    """Collects the processed offsets of one consumer and commits them at intervals."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._processed: dict[TopicPartition, int] = {}
        self._committed_at = 0.0

    async def mark_processed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Mark records before these offsets as processed; commits at most once in COMMIT_INTERVAL_S."""
        self._processed |= offsets
        if time.monotonic() - self._committed_at >= COMMIT_INTERVAL_S:
            await self.commit()

    async def commit(self) -> None:
        """Commit processed offsets of assigned partitions. A lost partition's new owner answers those records again."""
        assigned = self._consumer.assignment()
        processed = {tp: offset for tp, offset in self._processed.items() if tp in assigned}
        self._processed.clear()
        if not processed:
            return
        self._committed_at = time.monotonic()
        try:
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await self._consumer.commit(processed)
            reach(Failpoint.OFFSETS_COMMITTED)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit_refused", error=repr(error))
