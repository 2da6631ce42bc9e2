"""Summaries of all programs, and a program's stock."""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import asyncpg

from codewell.errors import ProgramUnknown
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import AVAILABLE, POOLED, RESERVED, UNEXPIRED
from codewell.pool.orders import CIRCUIT
from codewell.programs.rows import COLUMNS, program_of
from schemas.overview import ListedState, ProgramOverview, ProgramStock
from schemas.program import Program, State, Stock

_STATE: Final = """
    CASE WHEN removed_at IS NOT NULL THEN 'removed' WHEN NOT active THEN 'off'
         WHEN valid_from > now() THEN 'not started'
         WHEN valid_until <= now() THEN 'ended' ELSE 'active' END
    """.strip()
# Reserved codes, which are no part of the open blocks. Programs without reservations cost nothing.
_RESERVED: Final = f"""
    CASE WHEN program.reservations = 0 THEN 0 ELSE (
        SELECT coalesce(sum({POOLED}), 0)::bigint FROM block WHERE program_id = program.id AND {RESERVED}) END
    """.strip()  # noqa: S608  constants

_ALERTS: Final = "(SELECT count(*) FROM alert WHERE program_id = program.id AND cleared_at IS NULL)"
_OVERVIEW: Final = f"""
    SELECT {COLUMNS}, made + imported AS had, coalesce(b.pooled, 0) + {_RESERVED} AS pooled, {_STATE} AS state
    FROM program LEFT JOIN (
        SELECT program_id, sum({POOLED})::bigint AS pooled FROM block WHERE {AVAILABLE} GROUP BY program_id
    ) b ON b.program_id = id WHERE (removed_at IS NOT NULL) = $1 ORDER BY name
    """  # noqa: S608  constants

# The blocks of a page's programs only are read.
_PAGE: Final = f"""
    SELECT {COLUMNS}, made, imported, on_order, {_ALERTS} AS open_alerts, {_STATE} AS state,
           b.pooled + {_RESERVED} AS pooled, {_RESERVED} AS reserved, {CIRCUIT} AS circuit
    FROM (
        SELECT * FROM program
        WHERE removed_at IS NULL AND name > $2 AND ($1::text[] = '{{}}' OR groups && $1)
          AND ($4::text IS NULL OR strpos(lower(name || ' ' || title), lower($4)) > 0)
          AND ($5::text IS NULL OR {_STATE} = $5) AND ($6::text IS NULL OR groups @> ARRAY[$6])
        ORDER BY name LIMIT $3
    ) program
    CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}), 0)::bigint AS pooled FROM block WHERE program_id = program.id AND {AVAILABLE}
    ) b LEFT JOIN remote_service s ON s.program_id = program.id ORDER BY name
    """  # noqa: S608  constants

_BY_STATE: Final = f"""
    SELECT coalesce(sum({POOLED}) FILTER (WHERE {UNEXPIRED}), 0)::bigint AS pooled,
           coalesce(sum({POOLED}) FILTER (WHERE NOT {UNEXPIRED}), 0)::bigint AS expired,
           coalesce(sum(attached), 0)::bigint AS attached, coalesce(sum(deleted), 0)::bigint AS deleted,
           coalesce(sum({POOLED}) FILTER (WHERE {RESERVED}), 0)::bigint AS reserved,
           coalesce(sum(archived_used), 0)::bigint AS archived_used
    FROM block
    """.strip()  # noqa: S608  constants
_STOCK: Final = f"""
    SELECT p.name AS program, p.made, p.imported, b.pooled, b.reserved, b.attached, b.expired, b.deleted,
           (SELECT count(*) FROM code_state s JOIN block ON block.id = s.block_id
            WHERE block.program_id = p.id AND s.activated_at IS NOT NULL AND s.deleted_at IS NULL
              AND s.returned_at IS NULL) + b.archived_used AS activated,
           p.on_order, p.codes_max, p.pool_max
    FROM program p CROSS JOIN LATERAL ({_BY_STATE} WHERE program_id = p.id) b WHERE p.name = $1
    """  # noqa: S608  constants
# It counts no code by itself, as activated codes would have to be.
_ONE: Final = f"""
    SELECT {COLUMNS}, made, imported, on_order, {_ALERTS} AS open_alerts, {_STATE} AS state, {CIRCUIT} AS circuit,
           b.pooled, b.reserved, b.attached, b.expired, b.deleted
    FROM program LEFT JOIN remote_service s ON s.program_id = program.id
    CROSS JOIN LATERAL ({_BY_STATE} WHERE program_id = program.id) b WHERE program.id = $1
    """  # noqa: S608  constants
_OF_NAMES: Final = f"""
    SELECT {COLUMNS}, made, imported, on_order, {_ALERTS} AS open_alerts, {_STATE} AS state,
           b.pooled + {_RESERVED} AS pooled, {_RESERVED} AS reserved, {CIRCUIT} AS circuit
    FROM program CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}), 0)::bigint AS pooled FROM block WHERE program_id = program.id AND {AVAILABLE}
    ) b LEFT JOIN remote_service s ON s.program_id = program.id WHERE program.name = ANY ($1::text[])
    """  # noqa: S608  constants
_TOTALS: Final = f"""
    SELECT coalesce(sum(size - returned - undone), 0)::bigint AS all,
           coalesce(sum({POOLED}) FILTER (WHERE {UNEXPIRED}), 0)::bigint AS pooled,
           coalesce(sum(deleted), 0)::bigint AS deleted
    FROM block WHERE program_id = $1
    """  # noqa: S608  constants


class ProgramSummary(NamedTuple):
    """A program, whether it gives codes now, its number of pooled codes, and how many it has had."""

    program: Program
    state: Literal["active", "off", "not started", "ended", "removed"]
    pooled: int
    had: int


async def overview(connection: Connection, *, removed: bool = False) -> list[ProgramSummary]:
    """Summaries of all removed programs, or of all others, by name."""
    rows = await connection.fetch(_OVERVIEW, removed)
    return [ProgramSummary(program_of(row), row["state"], row["pooled"], row["had"]) for row in rows]


async def page(
    connection: Connection, groups: Sequence[str], after: str, limit: int, *, search: str | None = None,
    state: ListedState | None = None, group: str | None = None,
) -> list[ProgramOverview]:  # fmt: skip
    """Up to `limit` programs whose name is after `after`, by name, without removed ones.

    Only programs with one of these access groups, where there are some. `search`: a part of the short name or the
    title, in either case; `state`: only those in this state now; `group`: only those in this access group.
    """
    rows = await connection.fetch(_PAGE, list(groups), after, limit, search, state, group)
    return [ProgramOverview(**_shown(row), pooled=row["pooled"]) for row in rows]


async def of_names(connection: Connection, names: Sequence[str]) -> list[ProgramOverview]:
    """The programs with these short names as they are now, in no order."""
    rows = await connection.fetch(_OF_NAMES, names)
    return [ProgramOverview(**_shown(row), pooled=row["pooled"]) for row in rows]


async def one(connection: Connection, program_id: int) -> ProgramStock:
    """A program as it is now, with its codes by state, from the counters of its blocks."""
    row = await connection.fetchrow(_ONE, program_id)
    counts = {name: row[name] for name in ("pooled", "attached", "expired", "deleted")}
    return ProgramStock(**_shown(row), **counts)


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    names = ("state", "reserved", "made", "imported", "on_order", "circuit")
    return {"program": program_of(row), "alerts": row["open_alerts"], **{name: row[name] for name in names}}


async def total(connection: Connection, program_id: int, state: State | None) -> int:
    """How many codes a program has, by its blocks' counters: all, `pooled` or `deleted` ones. Raises KeyError."""
    row = await connection.fetchrow(_TOTALS, program_id)
    count: int = row[state or "all"]
    return count


async def stock(connection: Connection, name: str) -> Stock:
    """The program's codes by state. Raises ProgramUnknown if there is no such program."""
    row = await connection.fetchrow(_STOCK, name)
    if row is None:
        raise ProgramUnknown(name)
    return Stock(**row)
