"""The offsets of finished work, on their way to the group's committed ones."""

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

# At a thousand requests a second a commit with each batch was a third of all the broker had to do for an issuer. What
# is not committed when an issuer dies is answered once more, with the same answers.
COMMIT_INTERVAL_S: Final = 0.1


class Offsets:
    """What one consumer has finished, committed ten times a second at the most."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._finished: dict[TopicPartition, int] = {}
        self._committed_at = 0.0

    async def finish(self, offsets: Mapping[TopicPartition, int]) -> None:
        """These are done: commit them now where some time has gone by since the last commit, or with the next."""
        self._finished |= offsets
        if time.monotonic() - self._committed_at >= COMMIT_INTERVAL_S:
            await self.commit()

    async def commit(self) -> None:
        """Commit what is finished. Where a partition has gone to another worker, that one answers the records again."""
        assigned = self._consumer.assignment()
        finished = {tp: offset for tp, offset in self._finished.items() if tp in assigned}
        self._finished.clear()
        if not finished:
            return
        self._committed_at = time.monotonic()
        try:
            async with asyncio.timeout(clients.EXCHANGE_TIMEOUT_S):
                await self._consumer.commit(finished)
            reach(Failpoint.OFFSETS_COMMITTED)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit_refused", error=repr(error))
