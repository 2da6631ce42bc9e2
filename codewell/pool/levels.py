"""Pool levels for monitoring: the lowest pools by name, all others as one sum."""

from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import GIVES, POOLED
from codewell.pool.orders import FAILURES_MAX
from codewell.pool.program_conditions import COUNTED, GIVES_CODES_NOW, MAY_CREATE, SWITCHED_ON

# Label of the sum of all programs that are not listed by name. A program with this name is added to the sum.
OTHER: Final = "_other"

# float8, because sums of maxima can overflow bigint. Shared programs have one code, so no pool to monitor.
_LEVELS: Final = f"""
    WITH level AS (
        SELECT p.name, b.pooled, p.pool_max, {COUNTED} AS codes, p.codes_max,
               {MAY_CREATE} AS filled
        FROM program p CROSS JOIN LATERAL (
            SELECT coalesce(sum({POOLED}), 0)::float8 AS pooled FROM block
            WHERE program_id = p.id AND {GIVES}
        ) b
        WHERE {GIVES_CODES_NOW} AND NOT p.shared
    ), ranked AS (
        SELECT *, row_number() OVER (ORDER BY pooled / pool_max, name) <= $2 AS named
        FROM level
    )
    SELECT CASE WHEN named THEN name ELSE $1 END AS program, sum(pooled) AS pooled,
           sum(pool_max::float8) FILTER (WHERE filled) AS mark, sum(codes::float8) AS codes,
           sum(codes_max::float8) AS codes_max
    FROM ranked GROUP BY 1
    """  # noqa: S608  constants

_CIRCUITS: Final = f"""
    SELECT count(*) FROM remote_service s JOIN program p ON p.id = s.program_id
    WHERE s.failures >= $1 AND {SWITCHED_ON}
    """  # noqa: S608  a constant


class PoolLevel(NamedTuple):
    """Level of one program's pool, or of all pools in OTHER together; all numbers are codes."""

    program: str
    pooled: float
    mark: float | None
    """The mark; None if generators don't fill the pool."""
    codes: float
    """Codes that count against the maximum: made, imported and on order."""
    codes_max: float


async def levels(connection: Connection, named_max: int) -> list[PoolLevel]:
    """Levels of all programs that give codes now: the `named_max` lowest in relation to their mark, and OTHER."""
    return [PoolLevel(*row) for row in await connection.fetch(_LEVELS, OTHER, named_max)]


async def circuits_open(connection: Connection) -> int:
    """How many programs have a remote service with an open or half-open circuit breaker."""
    count: int = await connection.fetchval(_CIRCUITS, FAILURES_MAX)
    return count
