"""How full pools were over time: written every ten minutes, and read for a chart."""

from datetime import datetime
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import AVAILABLE, POOLED

STEP_MINUTES: Final = 10
KEPT_DAYS: Final = 35
ROWS_MAX: Final = 10_000

_STEP: Final = f"date_bin('{STEP_MINUTES} minutes', now(), 'epoch')"
_RECORD: Final = f"""
    INSERT INTO pool_level (program_id, at, pooled)
    SELECT p.id, {_STEP}, b.pooled
    FROM program p CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}), 0)::bigint AS pooled FROM block WHERE program_id = p.id AND {AVAILABLE}
    ) b
    WHERE p.removed_at IS NULL AND NOT EXISTS (SELECT FROM pool_level WHERE at = {_STEP})
    ORDER BY p.id ON CONFLICT DO NOTHING
    """  # noqa: S608  constants
_DELETE: Final = f"""
    DELETE FROM pool_level WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM pool_level WHERE at < now() - interval '{KEPT_DAYS} days' ORDER BY at LIMIT $1))
    """  # noqa: S608  constants
_READ: Final = "SELECT at, pooled FROM pool_level WHERE program_id = $1 AND at >= $2 ORDER BY at"


class PastLevel(NamedTuple):
    """How many codes stood ready at a moment."""

    at: datetime
    pooled: int


async def record(connection: Connection) -> None:
    """Write the level of each pool, unless that was done for these ten minutes. Raises what asyncpg raises."""
    await connection.execute(_RECORD)


async def delete_old(connection: Connection) -> None:
    """Delete up to ROWS_MAX levels that are older than KEPT_DAYS. Raises what asyncpg raises."""
    await connection.execute(_DELETE, ROWS_MAX)


async def read(connection: Connection, program_id: int, since: datetime) -> list[PastLevel]:
    """The levels of a program's pool since a moment, oldest first."""
    return [PastLevel(*row) for row in await connection.fetch(_READ, program_id, since)]
