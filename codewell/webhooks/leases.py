"""Deliveries that are due: leased to one worker, delivered or tried again later, given up."""

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from codewell.infra.postgres.connection import Connection
from codewell.webhooks.events import SEES_PROGRAM
from schemas.webhooks import DeliveryState, EndpointKind

# Delays before the second and each further attempt (s), as Standard Webhooks proposes: three days in all.
RETRY_DELAYS_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
ATTEMPTS_MAX: Final = len(RETRY_DELAYS_S) + 1
_JITTER: Final = (0.8, 1.2)
# The longest delay that a receiver may ask for with Retry-After (s).
WAIT_MAX_S: Final = 86_400.0
# Deliveries of one endpoint that one worker sends at once; one alone while the endpoint fails.
PER_ENDPOINT_MAX: Final = 4
# After so many failures in a row an endpoint rests, longer after each further one (s).
FAILURES_MAX: Final = 3
REST_FIRST_S: Final = 5.0
REST_MAX_S: Final = 300.0
# Of one call, while all that is due is withdrawn.
_ROUNDS_MAX: Final = 50

# A due delivery about a program that its endpoint may see no longer is withdrawn instead.
_LEASE: Final = f"""
    UPDATE webhook_delivery d SET attempts = d.attempts + s.sees::integer,
        next_attempt_at = statement_timestamp() + make_interval(secs => $1),
        state = CASE WHEN s.sees THEN 'waiting' ELSE 'failed' END,
        ended_at = CASE WHEN NOT s.sees THEN statement_timestamp() END
    FROM webhook_event v LEFT JOIN program p ON p.id = v.program_id, webhook_endpoint e,
        LATERAL (SELECT {SEES_PROGRAM} IS TRUE AS sees) s
    WHERE v.id = d.event_id AND e.id = d.endpoint_id AND d.id = ANY (ARRAY(
        SELECT due.id FROM webhook_endpoint o
        LEFT JOIN unnest($2::bigint[], $3::bigint[]) AS b (endpoint_id, count) ON b.endpoint_id = o.id
        CROSS JOIN LATERAL (
            SELECT w.id, w.next_attempt_at FROM webhook_delivery w
            WHERE w.endpoint_id = o.id AND w.state = 'waiting' AND w.next_attempt_at <= statement_timestamp()
            ORDER BY w.next_attempt_at, w.id
            LIMIT greatest(0, CASE WHEN o.failures = 0 THEN $4::bigint ELSE 1 END - coalesce(b.count, 0))
            FOR NO KEY UPDATE SKIP LOCKED) due
        WHERE o.active AND o.removed_at IS NULL AND (o.rest_until IS NULL OR o.rest_until <= statement_timestamp())
        ORDER BY coalesce(b.count, 0), due.next_attempt_at, due.id LIMIT $5))
    RETURNING s.sees, d.id, d.endpoint_id, e.kind, e.target, d.event_id, v.type, v.occurred_at, p.name, v.data,
              d.attempts
    """  # noqa: S608  constants
# Before any of its deliveries, as all do that change both. Until then it may be sent again.
_LOCK_ENDPOINT: Final = "SELECT 1 FROM webhook_endpoint WHERE id = $1 FOR NO KEY UPDATE"
# Returns how many attempts the present round has had.
_NOTE_ATTEMPT: Final = """
    WITH noted AS (
        INSERT INTO webhook_attempt (delivery_id, number, status, took_ms, error, answer)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING)
    SELECT attempts - attempts_before FROM webhook_delivery WHERE id = $1
    """
_SET_DELIVERED: Final = """
    WITH done AS (
        UPDATE webhook_delivery SET state = 'delivered', ended_at = statement_timestamp()
        WHERE id = $1 AND state = 'waiting')
    UPDATE webhook_endpoint SET failures = 0, rest_until = NULL, delivered_at = statement_timestamp() WHERE id = $2
    """
# A worker whose lease has ended changes nothing.
_SET_FAILED: Final = """
    UPDATE webhook_delivery SET state = CASE WHEN $3 THEN 'failed' ELSE 'waiting' END,
        ended_at = CASE WHEN $3 THEN statement_timestamp() END,
        next_attempt_at = statement_timestamp() + make_interval(secs => $4)
    WHERE id = $1 AND attempts = $2 AND state = 'waiting'
    """
_NOTE_FAILURE: Final = """
    UPDATE webhook_endpoint SET failures = failures + 1, active = active AND NOT $2,
        inactive_reason = CASE WHEN active AND $2 THEN 'gone' ELSE inactive_reason END,
        rest_until = greatest(rest_until, statement_timestamp() + make_interval(secs => greatest($3,
            CASE WHEN failures + 1 >= $4 THEN least($6, $5 * 2.0 ^ least(failures + 1 - $4, 20)) ELSE 0 END)))
    WHERE id = $1
    """


class Delivery(NamedTuple):
    """A delivery leased to one worker until the lease ends."""

    id: int
    endpoint_id: int
    kind: EndpointKind
    target: str
    event_id: UUID
    type: str
    occurred_at: datetime
    program: str | None
    data: str
    attempt: int
    """From 1, all rounds."""


class Outcome(NamedTuple):
    """What came of an attempt. `error` None: it was delivered."""

    status: int | None
    error: str | None
    answer: str | None = None
    wait_s: float = 0.0
    """The pause that the receiver asks for (s)."""
    gone: bool = False
    """The receiver wants no more: the endpoint is made inactive."""
    hopeless: bool = False
    """No further attempt can succeed."""


async def lease(connection: Connection, lease_s: float, leased: Mapping[int, int], limit: int) -> list[Delivery]:
    """Lease up to `limit` of the due deliveries for `lease_s` (s).

    `leased` is the number that this worker already holds, by endpoint: endpoints with fewer go first, and none has more
    than PER_ENDPOINT_MAX, or one while it fails, so that a slow or dead receiver does not delay the others.
    """
    arguments = lease_s, list(leased), list(leased.values()), PER_ENDPOINT_MAX, limit
    for _ in range(_ROUNDS_MAX):
        rows = await connection.fetch(_LEASE, *arguments)
        found = [Delivery(*row) for sees, *row in rows if sees]
        if found or not rows:
            return found
    return []


async def record(connection: Connection, delivery: Delivery, outcome: Outcome, took_s: float) -> DeliveryState:
    """Record an attempt, and schedule the next one after a failure. Returns the delivery's state."""
    async with connection.transaction():
        await connection.execute(_LOCK_ENDPOINT, delivery.endpoint_id)
        of_round: int = await connection.fetchval(
            _NOTE_ATTEMPT, delivery.id, delivery.attempt, outcome.status, round(took_s * 1000), outcome.error,
            outcome.answer,
        )  # fmt: skip
        if outcome.error is None:
            await connection.execute(_SET_DELIVERED, delivery.id, delivery.endpoint_id)
            return "delivered"
        ends = outcome.hopeless or outcome.gone or of_round >= ATTEMPTS_MAX
        delay_s = 0.0 if ends else _delay_s(of_round, outcome.wait_s)
        await connection.execute(_SET_FAILED, delivery.id, delivery.attempt, ends, delay_s)
        rest_s = min(outcome.wait_s, WAIT_MAX_S)
        await connection.execute(
            _NOTE_FAILURE, delivery.endpoint_id, outcome.gone, rest_s, FAILURES_MAX, REST_FIRST_S, REST_MAX_S
        )
        return "failed" if ends else "waiting"


def _delay_s(failed: int, wait_s: float) -> float:
    """The delay (s) after this many failed attempts of a round, at least as long as the receiver asks for."""
    jittered_s = (0.0, *RETRY_DELAYS_S)[failed] * random.uniform(*_JITTER)  # noqa: S311  jitter, not security
    return max(jittered_s, min(wait_s, WAIT_MAX_S))
