"""One batch of the issuer: read, decide in one claim, answer, and only then let go of the records."""

import asyncio
import json
import time
import traceback
from collections import Counter as CountOf
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple, get_args
from uuid import UUID

import asyncpg
import numpy as np
import structlog
from aiokafka import ConsumerRecord
from prometheus_client import Counter, Histogram

from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import UNAVAILABLE, Pool, why_away
from codewell.infra.process.lifecycle import pauses
from codewell.infra.telemetry.health import Health
from codewell.infra.telemetry.metrics import Times
from codewell.issuing.claim import ClaimResult, Claims
from codewell.issuing.model import Request
from schemas.events import Reason
from services.issuer.decode import Decoder, ReceivedRequest, UnreadableRecord
from services.issuer.record_buffer import RecordBuffer
from services.issuer.traces import BatchTrace

log = structlog.get_logger()

CLAIM_SECONDS: Final = Histogram(
    "codewell_claim_seconds", "Duration of the claim of a batch, including waits for the database.",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
ANSWERS: Final = Counter("codewell_answers", "Answers, by outcome.", ["outcome"])
REFUSALS: Final = Counter("codewell_refusals", "Refused programs in answers, by reason.", ["reason"])
ANSWER_SECONDS: Final = Times(
    "codewell_answer_seconds", "Time from the request's Kafka record to its answer's.",
    (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)  # fmt: skip
for _outcome in ("attached", "refused"):
    ANSWERS.labels(_outcome)
for _reason in get_args(Reason):
    REFUSALS.labels(_reason)

# What one request can do to a whole batch, and will do again. Those that are no errors of the database are mistakes of
# ours: better one request among the dead letters than its partition's issuers dying of it one after the other.
_AT_FAULT: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)

# What passes when the same statement is run again. A server that is not trusted, or that settings don't lead to, is a
# ValueError too.
_TRANSIENT: Final = (
    OSError,
    asyncpg.ClientConfigurationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.InsufficientResourcesError,
)


# After so many answers the claim that is being made gets its turn again: two milliseconds' work.
ANSWERS_A_TURN_MAX: Final = 250


_EXHAUSTED: Final = (
    "Retries are exhausted: the program's codes stayed locked, or its key cannot be read; see the issuers' logs."
)


def note_answered(came_ms: list[int]) -> None:
    """Note how long these took that are answered now (ms since 1970). A sender's clock may be ahead of ours."""
    ANSWER_SECONDS.observe(np.maximum(time.time() - np.array(came_ms, np.float64) / 1000, 0))


class DecodedBatch(NamedTuple):
    """Records that were read: those that can be answered, and those that can't, with the reason."""

    received: list[ReceivedRequest]
    unreadable: list[tuple[ConsumerRecord, UnreadableRecord]]


class BatchProcessor:
    """Takes batches of records through, one after the other."""

    def __init__(
        self, name: str, decoder: Decoder, pool: Pool, claims: Claims, health: Health, stop: asyncio.Event
    ) -> None:
        self._name = name
        self._decoder = decoder
        self._pool = pool
        self._claims = claims
        self._health = health
        self._stop = stop

    def read(self, records: Iterable[ConsumerRecord]) -> DecodedBatch:
        """Read records; nothing leaves yet."""
        read = DecodedBatch([], [])
        for record in records:
            try:
                read.received.append(self._decoder.read(record))
            except UnreadableRecord as why:
                read.unreadable.append((record, why))
            except Exception as error:  # noqa: BLE001
                # A mistake of ours. Raised here, it would end each issuer that the partition comes to.
                read.unreadable.append((record, _broken(record, error)))
        return read

    async def decide(self, read: DecodedBatch) -> ClaimResult | None:
        """Decide the requests of a batch, however long the database is away. None when told to stop meanwhile."""
        requests = [one.request for one in read.received]
        started = time.monotonic()
        async for _ in pauses(self._stop):
            self._health.heartbeat(self._name)
            try:
                claimed = await self._decide_each(requests)
            except (*UNAVAILABLE, asyncpg.PostgresError) as error:
                self._health.set_waiting(f"postgres ({self._name})", why_away(error))
            else:
                self._health.set_ready(f"postgres ({self._name})")
                CLAIM_SECONDS.observe(time.monotonic() - started)
                return claimed
        return None

    async def answer(
        self, read: DecodedBatch, claimed: ClaimResult, record_buffer: RecordBuffer, trace: BatchTrace | None
    ) -> list[int]:
        """Answer each record, bury it, or let it wait: in the outbox. Once that is sent, its offset may be committed.

        It uses `read` up, and gives way now and then: meanwhile the next batch is being decided. Returns when the
        records that are answered came into Kafka (ms since 1970).
        """
        answered_ms: list[int] = []
        for record, why in read.unreadable:
            record_buffer.dead_letter(record, why)
        waits_until = {request.id: request.give_up_at for request in claimed.waiting}
        # Each is let go of when it is answered, in the order in which it came: all at once in another order leaves the
        # memory in such disorder that the next batches take a third longer.
        read.received.reverse()
        while read.received:
            self._answer_some(read.received, claimed, waits_until, record_buffer, answered_ms, trace)
            await asyncio.sleep(0)
        return answered_ms

    def _answer_some(
        self,
        received: list[ReceivedRequest],
        claimed: ClaimResult,
        waits_until: Mapping[UUID, datetime | None],
        record_buffer: RecordBuffer,
        answered_ms: list[int],
        trace: BatchTrace | None,
    ) -> None:
        rows, names = claimed.rows, self._claims.names
        attached = 0
        # Of one program all refusals are alike in their text.
        refused: CountOf[str] = CountOf()
        for _ in range(min(ANSWERS_A_TURN_MAX, len(received))):
            one = received.pop()
            answer = rows.get(one.request.id)
            try:
                if answer is None:
                    self._defer(one, record_buffer, claimed, waits_until.get(one.request.id))
                    continue
                record_buffer.answer(one, answer, names, None if trace is None else trace.headers(one))
            except UnreadableRecord as why:
                record_buffer.dead_letter(one.record, why)
                continue
            except Exception as error:  # noqa: BLE001
                # A mistake of ours again. What was decided is stored, and is the answer when it is replayed.
                record_buffer.dead_letter(one.record, _broken(one.record, error))
                continue
            refusals = answer[0].refusals
            if refusals is None:
                attached += 1
            else:
                refused[refusals] += 1
            answered_ms.append(one.record.timestamp)
        ANSWERS.labels("attached").inc(attached)
        ANSWERS.labels("refused").inc(refused.total())
        for refusals, count in refused.items():
            for refusal in json.loads(refusals):
                REFUSALS.labels(refusal["reason"]).inc(count)

    def _defer(
        self, one: ReceivedRequest, record_buffer: RecordBuffer, claimed: ClaimResult, give_up_at: datetime | None
    ) -> None:
        why: UnreadableRecord | None = None
        if one.request.id in claimed.undecidable:
            why = UnreadableRecord("undecidable", claimed.undecidable[one.request.id])
        elif self._decoder.is_last(one.record):
            why = UnreadableRecord("retries_exhausted", _EXHAUSTED)
        if why is not None:
            record_buffer.dead_letter(one.record, why)
        else:
            record_buffer.retry(one, give_up_at)

    async def _decide_each(self, requests: list[Request]) -> ClaimResult:
        """Decide the batch; where the database can't take it, find the request at fault by halves."""
        try:
            return await self._claims.attach(requests)
        except (*_TRANSIENT, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            raise
        except (StackUnavailable, *_AT_FAULT) as error:
            if len(requests) == 1:
                return self._undecided(requests[0], error)
            middle = len(requests) // 2
            first = await self._decide_each(requests[:middle])
            return first.joined(await self._decide_each(requests[middle:]))

    def _undecided(self, request: Request, error: Exception) -> ClaimResult:
        if isinstance(error, StackUnavailable):
            # Its program's key can't be read here; whoever mends that finds the request in the retry topic.
            log.error("program_unusable", request_id=str(request.id), why=str(error))
            return ClaimResult({}, [request], {}, {})
        # The text after the first line may hold codes and profile ids, and any of what is no error of the database.
        said = str(error) if isinstance(error, asyncpg.PostgresError) else _line_of(error)
        why = said.partition("\n")[0]
        log.error("undecidable", request_id=str(request.id), error=error)
        return ClaimResult({}, [], {}, {request.id: f"It can't be decided ({type(error).__name__}): {why}"[:500]})


def _broken(record: ConsumerRecord, error: Exception) -> UnreadableRecord:
    # What the error says may hold codes and profile ids.
    log.error("undecidable", topic=record.topic, partition=record.partition, offset=record.offset,
              error=type(error).__name__, why=_line_of(error))  # fmt: skip
    return UnreadableRecord(
        "undecidable", f"Codewell could not deal with it ({type(error).__name__}): its log says where."
    )


def _line_of(error: Exception) -> str:
    line = traceback.extract_tb(error.__traceback__)[-1]
    return f"{line.filename}:{line.lineno}"
