"""Decides a batch in one transaction, or in parts once the database took too long for as many events."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import asyncpg

from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, outage_reason
from codewell.infra.process.lifecycle import backoff_delays
from codewell.infra.telemetry.health import Health

T = TypeVar("T")
R = TypeVar("R")

# Errors of a transaction that takes too long: of the client's timeout, or of one that the server has.
_TOO_SLOW_ERRORS: Final = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.IdleInTransactionSessionTimeoutError)
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

    async def decide(
        self, events: Sequence[T], decide: Callable[[list[T]], Awaitable[R]], name: str, health: Health,
        stop: asyncio.Event,
    ) -> list[R] | None:  # fmt: skip
        """What `decide` makes of each part of a batch; retries while the database is unavailable.

        Reports to `health` as the loop of this name. None when stopped meanwhile.
        """
        left, decided = list(events), list[R]()
        async for _ in backoff_delays(stop):
            try:
                health.heartbeat(name)
                while left:
                    part = left[: self.most]
                    decided.append(await decide(part))
                    del left[: len(part)]
                    health.heartbeat(name)
            except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
                health.set_waiting(f"postgres ({name})", outage_reason(error))
                if isinstance(error, _TOO_SLOW_ERRORS):
                    self.were_too_many(len(part))
            else:
                self.batch_decided()
                health.set_ready(f"postgres ({name})")
                return decided
        return None
