"""Orders codes from a program's remote service: stores the requests, which another process sends."""

from typing import Final

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.pool.program_rules import ProgramRules
from schemas.api import RemoteService

# Consecutive failures that open the circuit breaker: calls pause, then one request probes the service.
FAILURES_MAX: Final = 5
# Open requests for one pool. The codes it lacks beyond these are ordered as these requests finish.
OPEN_MAX: Final = 100
# Requests in one manual order.
_REQUESTS_MAX: Final = 10_000

_PLACE: Final = """
    WITH program AS (
        UPDATE program SET on_order = on_order + $2 WHERE id = $1
        RETURNING id, (source->>'request_max')::bigint AS most
    )
    INSERT INTO remote_request (program_id, count, fields, origin, created_at, next_attempt_at)
    SELECT id, least(most, $2 - n * most), $3::jsonb, $4, statement_timestamp(), statement_timestamp()
    FROM program, generate_series(0, ($2 - 1) / most) AS n
    """

_LIMITS: Final = """
    SELECT (source->>'request_max')::bigint AS most,
           (SELECT count(*) FROM remote_request WHERE program_id = $1 AND state = 'open') AS open
    FROM program WHERE id = $1
    """

# The state of the circuit breaker of remote_service `s`; null: there is none.
CIRCUIT: Final = f"""
    CASE WHEN s.failures < {FAILURES_MAX} THEN 'closed' WHEN s.rest_until > now() THEN 'open'
         WHEN s.program_id IS NOT NULL THEN 'half open' END
    """.strip()
_SERVICE: Final = f"""
    SELECT p.name AS program, p.source->>'url' AS url, p.on_order,
           (SELECT count(*) FROM remote_request r WHERE r.program_id = p.id AND r.state = 'open') AS requests_open,
           {CIRCUIT} AS circuit,
           CASE WHEN s.rest_until > now() THEN s.rest_until END AS rest_until, s.failures, s.error, s.error_at
    FROM program p JOIN remote_service s ON s.program_id = p.id WHERE p.name = $1
    """  # noqa: S608  constants


async def add_service(connection: Connection, program_id: int) -> None:
    """Create the state record of a new program's remote service."""
    await connection.execute("INSERT INTO remote_service (program_id) VALUES ($1)", program_id)


async def order_for_pool(connection: Connection, program: ProgramRules, count: int) -> int:
    """Order up to `count` codes for a pool, within OPEN_MAX open requests, and return how many were ordered.

    The caller has locked the program's row, and `count` is within the program's room.
    """
    limits = await connection.fetchrow(_LIMITS, program.id)
    count = min(count, max(0, OPEN_MAX - limits["open"]) * limits["most"])
    if count > 0:
        await connection.execute(_PLACE, program.id, count, "{}", "pool")
    return count


async def order_max(connection: Connection, program_id: int) -> int:
    """The most codes that one manual order may have."""
    limits = await connection.fetchrow(_LIMITS, program_id)
    return _REQUESTS_MAX * int(limits["most"])


async def order_for_person(connection: Connection, program: ProgramRules, count: int, fields: str) -> None:
    """Order exactly `count` codes. `fields` is JSON text of all custom fields, which the order includes.

    The caller has locked the program's row, and `count` is within the program's room. Raises ProgramRefused when the
    order would need more than _REQUESTS_MAX requests.
    """
    limits = await connection.fetchrow(_LIMITS, program.id)
    if count > _REQUESTS_MAX * limits["most"]:
        raise ProgramRefused(
            f"{program.name} requests {limits['most']:,} codes at a time from its remote service, and an order may "
            "have "
            f"{_REQUESTS_MAX:,} requests: order fewer codes, or raise request_max.",
            reason="order_too_large",
        )
    await connection.execute(_PLACE, program.id, count, fields, "generate")


async def service_of(connection: Connection, name: str) -> RemoteService:
    """Status of a program's remote service. Raises ProgramRefused when the program has none."""
    row = await connection.fetchrow(_SERVICE, name)
    if row is None:
        raise ProgramRefused(f"{name} has no remote service: show its stock instead.", reason="remote_missing")
    return RemoteService(**row)
