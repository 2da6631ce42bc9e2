"""Handles rebalances: finish the current batch and commit before partitions are revoked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from codewell.infra.process.failpoints import Failpoint, reach
from services.issuer.offsets import OffsetCommitter
from services.issuer.prefetcher import Prefetcher

log = structlog.get_logger()

# How long a rebalance waits for the current batch; less than the group's rebalance timeout.
REVOKE_TIMEOUT_S: Final = 20.0
_REVOKE_COMMIT_TIMEOUT_S: Final = 5.0


class RebalanceListener(ConsumerRebalanceListener):
    """Releases partitions between batches when the group rebalances."""

    def __init__(
        self, await_batch: Callable[[], Awaitable[object]], offsets: OffsetCommitter, prefetcher: Prefetcher[Any]
    ) -> None:
        self._await_batch = await_batch
        self._offsets = offsets
        self._prefetcher = prefetcher

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the current batch and commit its offsets. After REVOKE_TIMEOUT_S its offsets stay uncommitted."""
        reach(Failpoint.REVOKING)
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_S):
                await self._await_batch()
        except TimeoutError:
            log.warning("revoked_with_batch_in_hand", partitions=len(list(revoked)))
        # Before any other await, or the next batch would begin meanwhile.
        await self._prefetcher.discard()
        try:
            async with asyncio.timeout(_REVOKE_COMMIT_TIMEOUT_S):
                await self._offsets.commit()
        except (KafkaError, TimeoutError) as error:
            log.warning("commit_refused", error=repr(error))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start fetching from the committed offsets."""
        log.info("assigned", partitions=len(list(assigned)))
        self._prefetcher.resume()
