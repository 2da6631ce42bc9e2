"""Orders to remote services: leased to one generator, retried later, given up.

Lock order: the program's row, the request's, its service's. Leasing waits for no lock.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from codewell.errors import RemoteFailed
from codewell.infra.postgres.connection import Connection
from codewell.pool.orders import FAILURES_MAX
from codewell.pool.program_conditions import GIVES_CODES_NOW, MAY_CREATE

# Delays between attempts, doubling (s), and how long the circuit stays open (s). Short enough to resume within a minute
# of a service's recovery.
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
CIRCUIT_OPEN_S: Final = 15.0
# Maximum wait that a service may request with Retry-After (s).
WAIT_MAX_S: Final = 3_600.0
# A repeated request gets the same answer, so a request with invalid answers is given up after this many.
REFUSED_MAX: Final = 5

# Requests that are due and not leased, of programs that may create codes now.
_DUE: Final = f"""
    r.state = 'open' AND r.next_attempt_at <= statement_timestamp()
    AND (r.leased_until IS NULL OR r.leased_until <= statement_timestamp())
    AND {GIVES_CODES_NOW} AND (r.origin = 'generate' OR {MAY_CREATE})
    AND (s.rest_until IS NULL OR s.rest_until <= statement_timestamp())
    AND (s.failures < {FAILURES_MAX} OR NOT EXISTS (
        SELECT FROM remote_request o WHERE o.program_id = p.id AND o.state = 'open'
        AND o.leased_until > statement_timestamp()))
    """

_PICK: Final = f"""
    SELECT s.program_id, due.count FROM remote_service s JOIN program p ON p.id = s.program_id
    LEFT JOIN unnest($1::bigint[], $2::bigint[]) AS h (program_id, count) ON h.program_id = p.id
    CROSS JOIN LATERAL (SELECT min(r.next_attempt_at) AS since, count(*) FROM remote_request r
                        WHERE r.program_id = p.id AND {_DUE}) due
    WHERE due.since IS NOT NULL AND coalesce(h.count, 0) < $3
    ORDER BY coalesce(h.count, 0), due.since LIMIT $4 FOR UPDATE OF s SKIP LOCKED
    """  # noqa: S608  constants

# A half-open circuit lets one request through, whatever the share. $4: services that failed last are left out.
_LEASE: Final = f"""
    UPDATE remote_request q SET attempts = attempts + 1,
        leased_until = statement_timestamp() + make_interval(secs => $3)
    FROM program w WHERE w.id = q.program_id AND q.id = ANY(ARRAY(
        SELECT one.id FROM unnest($1::bigint[], $2::bigint[]) AS h (program_id, share)
        JOIN program p ON p.id = h.program_id
        JOIN remote_service s ON s.program_id = p.id AND (s.failures = 0 OR NOT $4)
        CROSS JOIN LATERAL (
            SELECT r.id FROM remote_request r WHERE r.program_id = p.id AND {_DUE} ORDER BY r.next_attempt_at
            LIMIT CASE WHEN s.failures < {FAILURES_MAX} THEN h.share ELSE 1 END FOR UPDATE OF r SKIP LOCKED) one))
    RETURNING q.id, q.program_id, w.name, w.source->>'url', q.count, q.fields, q.attempts,
        extract(epoch FROM statement_timestamp())::bigint
    """  # noqa: S608  constants

# The attempt was not made, so it does not count.
_RETURN: Final = """
    UPDATE remote_request r SET leased_until = NULL, attempts = r.attempts - 1
    FROM unnest($1::uuid[], $2::integer[]) AS o (id, attempt)
    WHERE r.id = o.id AND r.attempts = o.attempt AND r.state = 'open'
    """

_SCHEDULE_RETRY: Final = """
    UPDATE remote_request SET leased_until = NULL, error = $3, refused = refused + $4,
        next_attempt_at = statement_timestamp() + make_interval(secs => $5)
    WHERE id = $1 AND state = 'open' AND attempts = $2
    RETURNING refused >= $6 OR created_at <= statement_timestamp() - make_interval(secs => $7)
    """

_RECORD_SERVICE_FAILURE: Final = """
    UPDATE remote_service SET failures = failures + 1, error = $2, error_at = statement_timestamp(),
        rest_until = greatest(rest_until, statement_timestamp() + make_interval(secs => $3),
            CASE WHEN failures + 1 >= $4 THEN statement_timestamp() + make_interval(secs => $5) END)
    WHERE program_id = $1
    """

_LOCK_PROGRAM: Final = "SELECT FROM program WHERE id = $1 FOR NO KEY UPDATE"

_GIVE_UP: Final = """
    WITH program AS (UPDATE program SET on_order = on_order - r.count
                     FROM remote_request r WHERE r.id = $2 AND program.id = $1)
    UPDATE remote_request SET state = 'given_up', leased_until = NULL, finished_at = statement_timestamp() WHERE id = $2
    """

# Unleased requests past the time limit: their programs are inactive or have ended.
_OLD: Final = """
    SELECT program_id, id FROM remote_request
    WHERE state = 'open' AND created_at <= now() - make_interval(secs => $1)
      AND (leased_until IS NULL OR leased_until <= now()) ORDER BY program_id, id LIMIT 1000
    """

_STILL_OLD: Final = """
    SELECT state = 'open' AND (leased_until IS NULL OR leased_until <= statement_timestamp())
    FROM remote_request WHERE id = $1 FOR UPDATE
    """


class Order(NamedTuple):
    """A request leased to one generator until the lease ends."""

    id: UUID
    program_id: int
    program: str
    url: str
    asked: int
    fields: dict[str, str]
    attempt: int
    taken_s: int
    """Time of the lease, by the database's clock (s since 1970)."""


async def lease_orders(
    connection: Connection, lease_s: float, leased: Mapping[int, int], per_program_max: int, limit: int
) -> list[Order]:
    """Lease up to `limit` of the due requests for `lease_s` (s).

    `leased` is the number that this generator already holds, by program id: a program with `per_program_max` gets no
    more, and programs with fewer go first, so that a slow service does not delay the others. While a circuit is
    half-open, its service gets one request, across all generators.
    """
    async with connection.transaction():
        due = await connection.fetch(_PICK, list(leased), list(leased.values()), per_program_max, limit)
        return await _lease(connection, lease_s, _shares(dict(due), leased, per_program_max, limit), prefetching=False)


async def prefetch_orders(connection: Connection, lease_s: float, room: Mapping[int, int]) -> list[Order]:
    """Lease due requests for `lease_s` (s) that are sent later: up to the number in `room` by program id.

    Leases none of a service whose last request failed.
    """
    return await _lease(connection, lease_s, room, prefetching=True)


async def return_orders(connection: Connection, orders: Sequence[Order]) -> None:
    """End the leases of requests that were not sent; any generator may lease them again."""
    await connection.execute(_RETURN, [order.id for order in orders], [order.attempt for order in orders])


async def _lease(
    connection: Connection, lease_s: float, shares: Mapping[int, int], *, prefetching: bool
) -> list[Order]:
    rows = await connection.fetch(_LEASE, list(shares), list(shares.values()), lease_s, prefetching) if shares else []
    return [Order(*row)._replace(fields=json.loads(row["fields"])) for row in rows]


def _shares(due: Mapping[int, int], leased: Mapping[int, int], per_program_max: int, limit: int) -> dict[int, int]:
    """The number of requests for each program with due ones: one at a time to the program with the fewest."""
    shares: Counter[int] = Counter()
    for _ in range(limit):
        may = [one for one, count in due.items() if shares[one] < min(count, per_program_max - leased.get(one, 0))]
        if not may:
            break
        shares[min(may, key=lambda one: leased.get(one, 0) + shares[one])] += 1
    return dict(shares)


async def record_failure(connection: Connection, order: Order, error: RemoteFailed, give_up_s: float) -> bool:
    """Record a failed attempt and schedule the next one. Returns True if the request is given up instead.

    A request is given up `give_up_s` (s) after its creation, or after REFUSED_MAX invalid answers. A worker whose lease
    has ended changes nothing.
    """
    backoff_s = min(BACKOFF_FIRST_S * 2.0 ** min(order.attempt - 1, 30), BACKOFF_MAX_S)
    jittered_s = backoff_s * random.uniform(0.5, 1.5)  # noqa: S311  jitter, not security
    async with connection.transaction():
        await connection.execute(_LOCK_PROGRAM, order.program_id)
        hopeless = await connection.fetchval(
            _SCHEDULE_RETRY,
            order.id,
            order.attempt,
            str(error),
            int(error.answered),
            jittered_s,
            REFUSED_MAX,
            give_up_s,
        )
        if hopeless is None:
            return False
        if hopeless:
            await connection.execute(_GIVE_UP, order.program_id, order.id)
        await record_service_failure(connection, order.program_id, error)
    return bool(hopeless)


async def record_service_failure(connection: Connection, program_id: int, error: RemoteFailed) -> None:
    """Record the error, and pause the service if it asks for it; open its circuit after too many failures in a row."""
    wait_s = min(error.wait_s, WAIT_MAX_S)
    await connection.execute(_RECORD_SERVICE_FAILURE, program_id, str(error), wait_s, FAILURES_MAX, CIRCUIT_OPEN_S)


async def give_up_old(connection: Connection, give_up_s: float) -> int:
    """Give up requests older than `give_up_s` (s) that are not leased, and return their number.

    Requests that are attempted are given up on failure; these belong to programs that are inactive or have ended.
    """
    given_up = 0
    for program_id, request_id in await connection.fetch(_OLD, give_up_s):
        async with connection.transaction():
            await connection.execute(_LOCK_PROGRAM, program_id)
            if await connection.fetchval(_STILL_OLD, request_id):
                await connection.execute(_GIVE_UP, program_id, request_id)
                given_up += 1
    return given_up
