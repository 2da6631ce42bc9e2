"""What an issuer finishes before its partitions go to another member of the group."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from codewell.infra.process.failpoints import Failpoint, reach
from services.issuer.offsets import Offsets
from services.issuer.prefetcher import Prefetcher

log = structlog.get_logger()

# A rebalance waits so long for the batch in hand, less than the group waits for this member.
REVOKE_TIMEOUT_S: Final = 20.0
_REVOKE_COMMIT_TIMEOUT_S: Final = 5.0


class RebalanceListener(ConsumerRebalanceListener):
    """Lets go of what this member has in hand when its partitions are dealt out anew."""

    def __init__(
        self, batch_finished: Callable[[], Awaitable[object]], offsets: Offsets, prefetcher: Prefetcher | None
    ) -> None:
        self._batch_finished = batch_finished
        self._offsets = offsets
        self._prefetcher = prefetcher

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give partitions up only between batches; past the limit the batch's offsets are not committed."""
        reach(Failpoint.REVOKING)
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_S):
                await self._batch_finished()
        except TimeoutError:
            log.warning("revoked_with_batch_in_hand", partitions=len(list(revoked)))
        # Before anything else is waited for, or the next batch would begin meanwhile.
        if self._prefetcher is not None:
            await self._prefetcher.forget()
        try:
            async with asyncio.timeout(_REVOKE_COMMIT_TIMEOUT_S):
                await self._offsets.commit()
        except (KafkaError, TimeoutError) as error:
            log.warning("commit_refused", error=repr(error))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the last owner committed."""
        log.info("assigned", partitions=len(list(assigned)))
        if self._prefetcher is not None:
            self._prefetcher.resume()
