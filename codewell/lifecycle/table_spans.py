"""The codes of the tables as spans of places, in order: what folding the stream is to give."""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from codewell.infra.postgres.connection import Connection
from codewell.lifecycle.spans import CodeSpan, PlaceState

_ROWS_AT_ONCE: Final = 5_000
# Postgres sorts all codes first.
_TIMEOUT_S: Final = 3_600

_RUN: Final = """
    b.program_id, CASE b.kind WHEN 'list' THEN 1 ELSE 0 END AS listed,
    CASE b.kind WHEN 'list' THEN b.id ELSE b.version END AS major, CASE b.kind WHEN 'list' THEN 0 ELSE b.first END"""
_MICROSECONDS: Final = "(extract(epoch FROM {}) * 1000000)::bigint"
_IS_GONE: Final = "(s.returned_at IS NOT NULL OR s.deleted_at IS NOT NULL)"
_GONE: Final = "CASE WHEN s.returned_at IS NOT NULL THEN 'moved' ELSE 'deleted' END"

# Runs are blocks, of which nothing happened to most codes. Of an undone import nothing else is left in a block. Single
# codes are those that were attached, and others that are gone.
_SPANS: Final = f"""
    SELECT {_RUN} AS first, b.size, false AS is_single,
           CASE WHEN b.archived_until IS NOT NULL THEN 'archived' WHEN b.undone > 0 THEN 'withdrawn'
                WHEN b.voided_at IS NOT NULL THEN 'deleted' ELSE 'pooled' END AS state,
           {_MICROSECONDS.format("b.expires_at")} AS expires_at, 0 AS uses, NULL::bigint AS held_until
    FROM block b
    UNION ALL
    SELECT {_RUN} + a.position, 1, true,
           CASE WHEN s.returned_at IS NOT NULL THEN 'moved' WHEN s.deleted_at IS NOT NULL THEN 'deleted_attached'
                WHEN s.activated_at IS NOT NULL THEN 'activated' ELSE 'attached' END,
           {_MICROSECONDS.format("CASE WHEN s.changed THEN s.expires_at ELSE a.expires_at END")}, coalesce(s.uses, 0),
           {_MICROSECONDS.format("s.held_until")}
    FROM answer a JOIN block b ON b.id = a.block_id
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
    WHERE a.block_id IS NOT NULL AND NOT a.again
    UNION ALL
    SELECT {_RUN} + s.position, 1, true, {_GONE}, NULL, 0, NULL
    FROM code_state s JOIN block b ON b.id = s.block_id
    WHERE {_IS_GONE} AND NOT EXISTS (
        SELECT FROM answer a WHERE a.block_id = s.block_id AND a.position = s.position AND NOT a.again)
    ORDER BY program_id, listed, major, first, is_single
    """  # noqa: S608  constants


async def read(connection: Connection) -> AsyncIterator[tuple[CodeSpan, bool]]:
    """All codes as `overlaid` takes them, in the snapshot of the connection's transaction.

    Raises what asyncpg raises.
    """
    async for row in connection.cursor(_SPANS, prefetch=_ROWS_AT_ONCE, timeout=_TIMEOUT_S):
        yield _span(row)


def _span(row: asyncpg.Record) -> tuple[CodeSpan, bool]:
    program_id, listed, major, first, size, is_single, state, expires_at, uses, held_until = row
    known = PlaceState(state, expires_at, uses, held_until)
    return CodeSpan(program_id, listed, major, first, first + size, known.comparable), is_single
