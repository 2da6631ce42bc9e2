"""Stores the codes of remote services in the pools; concurrent answers for one program share a transaction."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

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

# Limits how long a transaction locks the program's row: some 0.2 s for this many.
CODES_PER_TRANSACTION_MAX: Final = 20_000

# Pause between a program's transactions. Each has a fixed cost, and the first answer to an empty pool does not wait.
_PAUSE_S: Final = 0.02

FillPool = Callable[[int], Awaitable[None]]


class RemoteReceiver:
    """Stores answers, and calls `fill` for a pool that is still below its mark. `fill` may not raise."""

    def __init__(self, pool: Pool, fill: FillPool) -> None:
        self._pool = pool
        self._fill = fill
        self._coalescer: Coalescer[int, ServiceAnswer, int | None] = Coalescer(self._store, pause_s=_PAUSE_S)

    async def store(self, order: Order, codes: Sequence[RemoteCode]) -> int | None:
        """Store one answer; returns how many of its codes entered the pool, as `deliveries.Stored` has it.

        Raises RemoteFailed for an unusable answer, and what asyncpg raises; then nothing is stored.
        """
        stored = await self._coalescer.submit(order.program_id, ServiceAnswer(order, codes))
        if stored:
            RECEIVED.inc(stored)
            log.info("codes_received", program=order.program, request_id=str(order.id), received=stored)
        return stored

    async def _store(self, program_id: int, answers: Sequence[ServiceAnswer]) -> list[int | Exception | None]:
        outcomes: list[int | Exception | None] = []
        lacks = False
        for portion in _transactions(answers):
            try:
                async with self._pool.acquire() as connection:
                    stored = await deliveries.store(connection, program_id, portion)
            except Exception as error:  # noqa: BLE001  it is raised for these answers
                outcomes += [error] * len(portion)
            else:
                outcomes += stored.outcomes
                lacks = lacks or stored.needs_orders
        if lacks:
            await self._fill(program_id)
        return outcomes


def _transactions(answers: Sequence[ServiceAnswer]) -> Iterator[list[ServiceAnswer]]:
    """Split the answers into one list for each transaction."""
    portion: list[ServiceAnswer] = []
    count = 0
    for answer in answers:
        if portion and count + len(answer.codes) > CODES_PER_TRANSACTION_MAX:
            yield portion
            portion, count = [], 0
        portion.append(answer)
        count += len(answer.codes)
    yield portion
