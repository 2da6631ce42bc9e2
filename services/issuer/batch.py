"""One batch of the issuer: read, decide in one claim, answer, and only then let go of the records."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog
from aiokafka import ConsumerRecord
from prometheus_client import Counter, Histogram

from services.attaching.model import Request
from services.issuer.decode import Decoder, Received, Unreadable
from services.issuer.outbox import Demands, Outbox
from services.postgres.connection import UNAVAILABLE
from services.runtime.process import pauses
from services.store.claim import Claimed, Claims
from services.telemetry.health import Health

log = structlog.get_logger()

ANSWERS: Final = Counter("codewell_answers", "Answers published, by outcome.", ["outcome"])
DEAD_LETTERS: Final = Counter("codewell_dead_letters", "Records that could not be read, by reason.", ["reason"])
RETRIES: Final = Counter("codewell_retries", "Requests put into a retry topic.")
CLAIM_SECONDS: Final = Histogram("codewell_claim_seconds", "Time to decide one batch (s).")

# What passes when the same statement is run again.
_TRANSIENT: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.InsufficientResourcesError,
)


class Processor:
    """Takes batches of records through, one after the other."""

    def __init__(self, decoder: Decoder, claims: Claims, health: Health, stop: asyncio.Event) -> None:
        self._decoder = decoder
        self._claims = claims
        self._health = health
        self._stop = stop

    async def process(self, records: Sequence[ConsumerRecord], outbox: Outbox, demands: Demands) -> bool:
        """Answer each record, bury it, or let it wait. Afterwards its offset may be committed.

        Returns False when told to stop before the batch could be decided; then nothing was sent.
        """
        received = self._read(records, outbox)
        claimed = await self._decide([one.request for one in received])
        if claimed is None:
            return False
        rows, names = claimed.rows, self._claims.names
        outcomes = {"attached": 0, "refused": 0}
        for one in received:
            answer = rows.get(one.request.id)
            if answer is None:
                self._put_off(one, outbox, claimed)
                continue
            outcomes["attached" if answer[0].refusals is None else "refused"] += 1
            outbox.answer(one, answer, names)
        await outbox.send()
        await demands.tell(claimed.low)
        for outcome, count in outcomes.items():
            ANSWERS.labels(outcome).inc(count)
        return True

    def _read(self, records: Sequence[ConsumerRecord], outbox: Outbox) -> list[Received]:
        received = []
        for record in records:
            try:
                received.append(self._decoder.read(record))
            except Unreadable as why:
                outbox.bury(record, why)
                DEAD_LETTERS.labels(why.reason).inc()
        return received

    def _put_off(self, one: Received, outbox: Outbox, claimed: Claimed) -> None:
        if one.request.id in claimed.undecidable:
            why = Unreadable("undecidable", claimed.undecidable[one.request.id])
            outbox.bury(one.record, why)
            DEAD_LETTERS.labels(why.reason).inc()
        else:
            outbox.retry(one)
            RETRIES.inc()

    async def _decide(self, requests: list[Request]) -> Claimed | None:
        """Decide the batch, however long the database is away. None when told to stop meanwhile."""
        started = time.monotonic()
        async for _ in pauses(self._stop):
            self._health.beat("issue")
            try:
                claimed = await self._decide_each(requests)
            except (*UNAVAILABLE, *_TRANSIENT) as error:
                self._health.waits("postgres", type(error).__name__)
            else:
                self._health.has("postgres")
                CLAIM_SECONDS.observe(time.monotonic() - started)
                return claimed
        return None

    async def _decide_each(self, requests: list[Request]) -> Claimed:
        """Decide the batch; where the database can't take it, find the request at fault by halves."""
        try:
            return await self._claims.attach(requests)
        except (*_TRANSIENT, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            raise
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError) as error:
            if len(requests) == 1:
                log.exception("undecidable", request_id=str(requests[0].id))
                return Claimed({}, [], {}, {requests[0].id: f"The database refused it: {error}"[:500]})
            middle = len(requests) // 2
            first = await self._decide_each(requests[:middle])
            return first.joined(await self._decide_each(requests[middle:]))
