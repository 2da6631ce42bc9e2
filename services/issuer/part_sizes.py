"""How many events one transaction may decide: fewer, once the database took too long for as many."""

from typing import Final

import asyncpg

# Errors of a transaction that takes too long: of the client's timeout, or of one that the server has.
TOO_SLOW_ERRORS: Final = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.IdleInTransactionSessionTimeoutError)
# An outage looks the same. After it, a batch is decided in parts of at least so many.
_LEAST: Final = 100
_UNLIMITED: Final = 1 << 20


class PartSizes:
    """The size of one worker's transactions. As many events would be too many again, and hold up their partitions."""

    def __init__(self) -> None:
        self.most = _UNLIMITED

    def were_too_many(self, events: int) -> None:
        """After a transaction for so many events that took too long."""
        if events > _LEAST:
            self.most = max(_LEAST, events // 2)

    def batch_decided(self) -> None:
        """After a whole batch: the next one may have larger transactions again."""
        self.most = min(2 * self.most, _UNLIMITED)
