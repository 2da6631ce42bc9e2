"""Processes one batch: decode the records, decide all requests in one claim, pass the answers to the publisher."""

import asyncio
import json
import time
import traceback
from collections import Counter as CountOf
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import groupby
from typing import Final, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import asyncpg
import numpy as np
import structlog
from aiokafka import ConsumerRecord
from prometheus_client import Histogram

from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import CONTENTION_ERRORS, Pool
from codewell.infra.telemetry.health import Health
from codewell.infra.telemetry.metrics import BatchHistogram
from codewell.issuing.answer_runs import AnyRun, RefusedRun
from codewell.issuing.claim import Claims
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import Request
from codewell.issuing.waits import Wait
from services.issuer.batch_publisher import ANSWERS, REFUSALS, BatchPublisher
from services.issuer.decode import Decoder
from services.issuer.part_sizes import PartSizes
from services.issuer.received_request import PlainRequest, ReceivedRequest
from services.issuer.traces import BatchTrace
from services.issuer.unreadable_record import UnreadableRecord

log = structlog.get_logger()

CLAIM_SECONDS: Final = Histogram(
    "codewell_claim_seconds", "Duration of the claim of a batch, including waits for the database.",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
ANSWER_SECONDS: Final = BatchHistogram(
    "codewell_answer_seconds", "Time from the request's Kafka record to its answer's.",
    (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)  # fmt: skip

# Errors that one request causes for its whole batch, on every attempt. Those that asyncpg does not raise are bugs in
# Codewell: one dead letter is better than a crash of every issuer that the partition is assigned to.
POISON_ERRORS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)

# Errors that may pass when the same statement runs again. ClientConfigurationError is listed because it is a ValueError
# too: it means an untrusted server or wrong connection settings.
TRANSIENT_ERRORS: Final = (
    OSError,
    asyncpg.ClientConfigurationError,
    *CONTENTION_ERRORS,
    asyncpg.InsufficientResourcesError,
)


# Answers made before control returns to the event loop, so that the concurrent claim makes progress; some 2 ms of work.
ANSWERS_PER_SLICE_MAX: Final = 400


_RETRIES_EXHAUSTED_DETAIL: Final = (
    "Retries are exhausted: the program's codes stayed locked, or its key cannot be read; see the issuers' logs."
)


def observe_answer_seconds(record_times_ms: list[int]) -> None:
    """Observe the latency of requests answered now, from their records' timestamps (ms since 1970).

    Negative latencies count as 0, as a sender's clock may be ahead.
    """
    ANSWER_SECONDS.observe(np.maximum(time.time() - np.array(record_times_ms, np.float64) / 1000, 0))


R = TypeVar("R")


class DecodedBatch(NamedTuple, Generic[R]):
    """Decoded records, and unreadable records with the reason."""

    received: list[R]
    unreadable: list[tuple[ConsumerRecord, UnreadableRecord]]


class BatchProcessor:
    """Decodes, decides and answers batches."""

    def __init__(
        self, name: str, decoder: Decoder, pool: Pool, claims: Claims, health: Health, stop: asyncio.Event
    ) -> None:
        self._name = name
        self._decoder = decoder
        self._pool = pool
        self._claims = claims
        self._health = health
        self._stop = stop
        self._sizes = PartSizes()

    def decode(self, records: Sequence[ConsumerRecord]) -> DecodedBatch[ReceivedRequest]:
        """Decode records of one partition. Raises nothing and publishes nothing."""
        batch = DecodedBatch[ReceivedRequest]([], [])
        try:
            plain = self._decoder.decode_plain(records)
        except Exception:  # noqa: BLE001  Each by itself tells which.
            plain = [None] * len(records)
        for record, received in zip(records, plain, strict=True):
            if received is not None:
                batch.received.append(received)
                continue
            try:
                batch.received.append(self._decoder.decode(record))
            except UnreadableRecord as why:
                batch.unreadable.append((record, why.detached()))
            except Exception as error:  # noqa: BLE001
                # A bug in Codewell. Raised, it would crash every issuer that the partition is assigned to.
                batch.unreadable.append((record, undecidable_record(record, error)))
        return batch

    async def decide(self, batch: DecodedBatch[ReceivedRequest]) -> ClaimResult | None:
        """Decide the requests of a batch; retries while the database is unavailable. None when stopped meanwhile."""
        requests = [received.request for received in batch.received]
        started = time.monotonic()
        parts = await self._sizes.decide(requests, self._decide_each, self._name, self._health, self._stop)
        if parts is None:
            return None
        CLAIM_SECONDS.observe(time.monotonic() - started)
        return reduce(ClaimResult.joined, parts or [ClaimResult({}, {}, [], {}, {})])

    async def answer(
        self,
        batch: DecodedBatch[ReceivedRequest],
        claimed: ClaimResult,
        publisher: BatchPublisher,
        trace: BatchTrace | None,
    ) -> list[int]:
        """Add an answer, a retry or a dead letter for each record to the publisher; flush it before committing offsets.

        Consumes `batch`, and yields to the event loop between slices, as the next batch is decided meanwhile. Returns
        the timestamps of the answered records (ms since 1970).
        """
        answered_ms: list[int] = []
        for record, why in batch.unreadable:
            publisher.dead_letter(record, why)
        waits = {request.id: request.wait for request in claimed.waiting}
        # Each request is freed as it is answered, in the order of arrival. Freeing all at once fragments the memory:
        # the next batches took a third longer.
        batch.received.reverse()
        while batch.received:
            self._answer_slice(batch.received, claimed, waits, publisher, answered_ms, trace)
            await asyncio.sleep(0)
        return answered_ms

    def _answer_slice(
        self,
        pending: list[ReceivedRequest],
        claimed: ClaimResult,
        waits: Mapping[UUID, Wait | None],
        publisher: BatchPublisher,
        answered_ms: list[int],
        trace: BatchTrace | None,
    ) -> None:
        given, names = claimed.given, self._claims.names
        # Counted by their JSON text: the refusals of one program share it, so few texts are parsed.
        refused: CountOf[str] = CountOf()
        taken = pending[-ANSWERS_PER_SLICE_MAX:]
        del pending[-ANSWERS_PER_SLICE_MAX:]
        taken.reverse()
        kind = PlainRequest if trace is None else None
        places = [given.get(one.request.id.bytes) if one.__class__ is kind else None for one in taken]
        begin, answered_before = 0, len(answered_ms)
        for is_plain, stretch in groupby(map(bool, places)):
            end = begin + len(list(stretch))
            received = taken[begin:end]
            found = cast("list[tuple[AnyRun, int]]", places[begin:end])
            begin = end
            if is_plain and publisher.answer_plain(cast("list[PlainRequest]", received), found, names):
                answered_ms += [one.timestamp for one in cast("list[PlainRequest]", received)]
                refused.update(run.refusals for run, _ in found if isinstance(run, RefusedRun))
                continue
            for one in received:
                self._answer_one(one, claimed, waits, publisher, answered_ms, refused, trace)
        ANSWERS.labels("attached").inc(len(answered_ms) - answered_before - refused.total())
        ANSWERS.labels("refused").inc(refused.total())
        for refusals, count in refused.items():
            for refusal in json.loads(refusals):
                REFUSALS.labels(refusal["reason"]).inc(count)

    def _answer_one(
        self,
        received: ReceivedRequest,
        claimed: ClaimResult,
        waits: Mapping[UUID, Wait | None],
        publisher: BatchPublisher,
        answered_ms: list[int],
        refused: CountOf[str],
        trace: BatchTrace | None,
    ) -> None:
        rows = claimed.rows_of(received.request.id)
        try:
            if rows is None:
                self._defer(received, publisher, claimed, waits.get(received.request.id))
                return
            headers = () if trace is None else trace.headers(received)
            publisher.answer(received, rows, self._claims.names, headers)
        except UnreadableRecord as why:
            publisher.dead_letter(received.record, why)
            return
        except Exception as error:  # noqa: BLE001
            # A bug in Codewell. The decision is stored, so a replay of the dead letter answers with it.
            publisher.dead_letter(received.record, undecidable_record(received.record, error))
            return
        if rows[0].refusals is not None:
            refused[rows[0].refusals] += 1
        answered_ms.append(received.record.timestamp)

    def _defer(
        self, received: ReceivedRequest, publisher: BatchPublisher, claimed: ClaimResult, wait: Wait | None
    ) -> None:
        """Publish an undecided request to the retry topic, or to the dead-letter topic when it can't be retried."""
        why: UnreadableRecord | None = None
        if received.request.id in claimed.undecidable:
            why = UnreadableRecord("undecidable", claimed.undecidable[received.request.id])
        elif self._decoder.is_last_attempt(received.record):
            why = UnreadableRecord("retries_exhausted", _RETRIES_EXHAUSTED_DETAIL)
        if why is not None:
            publisher.dead_letter(received.record, why)
        else:
            publisher.retry(received.record, wait)

    async def _decide_each(self, requests: list[Request]) -> ClaimResult:
        """Decide the batch in one claim. Where one request makes the claim fail, isolate it by bisection."""
        try:
            return await self._claims.attach(requests)
        except (*TRANSIENT_ERRORS, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            raise
        except (StackUnavailable, *POISON_ERRORS) as error:
            if len(requests) == 1:
                return self._undecided(requests[0], error)
            middle = len(requests) // 2
            first = await self._decide_each(requests[:middle])
            return first.joined(await self._decide_each(requests[middle:]))

    def _undecided(self, request: Request, error: Exception) -> ClaimResult:
        if isinstance(error, StackUnavailable):
            # The program's key is unreadable here. The request stays in the retry topic until an operator fixes that.
            log.error("program_unusable", request_id=str(request.id), why=str(error))
            return ClaimResult({}, {}, [request], {}, {})
        # Only the first line of a database error is free of codes and profile ids; for other errors not even that.
        text = str(error) if isinstance(error, asyncpg.PostgresError) else _source_line(error)
        why = text.partition("\n")[0]
        log.error("undecidable", request_id=str(request.id), error=error)
        return ClaimResult({}, {}, [], {}, {request.id: f"It can't be decided ({type(error).__name__}): {why}"[:500]})


def undecidable_record(record: ConsumerRecord, error: Exception) -> UnreadableRecord:
    """Why a record is a dead letter that Codewell could not deal with.

    Logs the bug by its place in the source: the error's text may hold codes and profile ids.
    """
    log.error("undecidable", topic=record.topic, partition=record.partition, offset=record.offset,
              error=type(error).__name__, why=_source_line(error))  # fmt: skip
    return UnreadableRecord(
        "undecidable", f"Codewell could not deal with it ({type(error).__name__}): its log says where."
    )


def _source_line(error: Exception) -> str:
    line = traceback.extract_tb(error.__traceback__)[-1]
    return f"{line.filename}:{line.lineno}"
