"""Puts what remote services answer into the pools: answers of a program that are there together in one transaction."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter

from codewell.infra.postgres.connection import Pool
from codewell.infra.process.coalescer import Coalescer
from codewell.remote import deliveries
from codewell.remote.deliveries import ServiceAnswer
from codewell.remote.order_leases import Order
from schemas.remote import RemoteCode

log = structlog.get_logger()

RECEIVED: Final = Counter("codewell_remote_codes", "Codes delivered by remote services.")

TRANSIENT: Final = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)

# The program's row is locked for as long as a transaction takes: some 0.2 s with so many.
CODES_AT_ONCE_MAX: Final = 20_000

Fill = Callable[[int], Awaitable[None]]


class RemoteReceiver:
    """Stores answers, and calls `fill` where the pool may lack more than they brought. `fill` may not raise."""

    def __init__(self, pool: Pool, fill: Fill) -> None:
        self._pool = pool
        self._fill = fill
        self._coalescer: Coalescer[int, ServiceAnswer, int | None] = Coalescer(self._store)

    async def store(self, order: Order, codes: Sequence[RemoteCode]) -> int | None:
        """How many codes of this answer are in the pool now, as in `arrivals.Stored`.

        Raises RemoteFailed where it can't be used, and what asyncpg raises; then nothing of it is stored.
        """
        stored = await self._coalescer.submit(order.program_id, ServiceAnswer(order, codes))
        if stored:
            RECEIVED.inc(stored)
            log.info("codes_received", program=order.program, request_id=str(order.id), received=stored)
        return stored

    async def _store(self, program_id: int, answers: Sequence[ServiceAnswer]) -> list[int | Exception | None]:
        outcomes: list[int | Exception | None] = []
        lacks = False
        for some in _portions(answers):
            try:
                async with self._pool.acquire() as connection:
                    stored = await deliveries.store(connection, program_id, some)
            except Exception as error:  # noqa: BLE001  it is raised for these answers
                outcomes += [error] * len(some)
            else:
                outcomes += stored.outcomes
                lacks = lacks or stored.needs_orders
        if lacks:
            await self._fill(program_id)
        return outcomes


def _portions(answers: Sequence[ServiceAnswer]) -> Iterator[list[ServiceAnswer]]:
    """The answers in the portions of one transaction each."""
    portion: list[ServiceAnswer] = []
    count = 0
    for answer in answers:
        if portion and count + len(answer.codes) > CODES_AT_ONCE_MAX:
            yield portion
            portion, count = [], 0
        portion.append(answer)
        count += len(answer.codes)
    yield portion
