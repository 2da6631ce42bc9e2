"""Summaries of all programs, and a program's stock."""

from typing import Final, Literal, NamedTuple

from codewell.errors import ProgramUnknown
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import AVAILABLE, POOLED, UNEXPIRED
from codewell.programs.rows import COLUMNS, program_of
from schemas.program import Program, Stock

_OVERVIEW: Final = f"""
    SELECT {COLUMNS}, made + imported AS had, coalesce(b.pooled, 0) AS pooled,
           CASE WHEN NOT active THEN 'off' WHEN valid_from > now() THEN 'not started'
                WHEN valid_until <= now() THEN 'ended' ELSE 'active' END AS state
    FROM program LEFT JOIN (
        SELECT program_id, sum({POOLED})::bigint AS pooled FROM block WHERE {AVAILABLE} GROUP BY program_id
    ) b ON b.program_id = id WHERE removed_at IS NULL ORDER BY name
    """  # noqa: S608  constants

_STOCK: Final = f"""
    SELECT p.name AS program, p.made, p.imported, b.pooled, b.attached, b.expired, b.deleted,
           (SELECT count(*) FROM code_state s JOIN block ON block.id = s.block_id
            WHERE block.program_id = p.id AND s.activated_at IS NOT NULL AND s.deleted_at IS NULL
              AND s.returned_at IS NULL) AS activated,
           p.on_order, p.codes_max, p.pool_max
    FROM program p CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}) FILTER (WHERE {UNEXPIRED}), 0)::bigint AS pooled,
               coalesce(sum({POOLED}) FILTER (WHERE NOT {UNEXPIRED}), 0)::bigint AS expired,
               coalesce(sum(attached), 0)::bigint AS attached,
               coalesce(sum(deleted), 0)::bigint AS deleted
        FROM block WHERE program_id = p.id
    ) b WHERE p.name = $1
    """  # noqa: S608  constants


class ProgramSummary(NamedTuple):
    """A program, whether it gives codes now, its number of pooled codes, and how many it has had."""

    program: Program
    state: Literal["active", "off", "not started", "ended"]
    pooled: int
    had: int


async def overview(connection: Connection) -> list[ProgramSummary]:
    """Summaries of all programs that are not removed, by name."""
    rows = await connection.fetch(_OVERVIEW)
    return [ProgramSummary(program_of(row), row["state"], row["pooled"], row["had"]) for row in rows]


async def stock(connection: Connection, name: str) -> Stock:
    """The program's codes by state. Raises ProgramUnknown if there is no such program."""
    row = await connection.fetchrow(_STOCK, name)
    if row is None:
        raise ProgramUnknown(name)
    return Stock(**row)
