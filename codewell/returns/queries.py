"""SQL statements about receipts and the codes that they return.

The order of locks: receipts, code states, blocks, holdings. Changes of codes use the same order, and claims lock blocks
before holdings.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, chain
from typing import Any, Final
from uuid import UUID

import asyncpg

from codewell.codes.state import DELETED, HELD, USED_OR_HELD
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection

_REQUESTS: Final = """
    SELECT a.request_id, a.ordinal, a.program_id, a.block_id, a.position, a.again, a.preview, a.profile_id, a.code,
           a.refusals IS NOT NULL AS refused, a.answered_at, a.expires_at, a.fields
    FROM unnest($1::uuid[]) AS w (request_id) JOIN answer a USING (request_id) ORDER BY a.request_id, a.ordinal
    """
_PROGRAMS: Final = """
    SELECT id, name, returns, return_after, shared, reuse <> 'request' AS reuses, EXISTS (
               SELECT FROM alert WHERE program_id = program.id AND kind = 'returns-stopped' AND cleared_at IS NULL
           ) AS stopped, statement_timestamp() AS now
    FROM program WHERE id = ANY($1::bigint[])
    """
_BLOCKS: Final = "SELECT id, expires_at, created_at FROM block WHERE id = ANY($1::bigint[])"
_RECEIPTS: Final = """
    SELECT request_id, ordinal, kind, program_id, outcome, reason, due_at, decided_at, ended
    FROM send_receipt WHERE request_id = ANY($1::uuid[]) ORDER BY request_id, ordinal, number FOR UPDATE
    """
_STATES: Final = f"""
    SELECT s.block_id, s.position, {USED_OR_HELD} AS used_or_held, {HELD} IS TRUE AS held, {DELETED} AS deleted,
           s.returned_at IS NOT NULL AS moved, s.changed, s.expires_at, s.fields
    FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position) JOIN code_state s USING (block_id, position)
    ORDER BY s.block_id, s.position FOR UPDATE OF s
    """  # noqa: S608  constants
# Shared codes, also of formerly shared programs; codes that were given again, in answers whose sends did not fail; and
# codes that their profile would get again.
_ASSIGNED: Final = """
    SELECT * FROM (
        SELECT w.block_id, w.position, EXISTS (
            SELECT FROM holding h WHERE h.program_id = w.program_id AND h.profile_id = '' AND h.scope = ''
            AND h.block_id = w.block_id AND h.position = w.position) AS everybodys, EXISTS (
            SELECT FROM answer x WHERE x.block_id = w.block_id AND x.position = w.position AND x.again AND NOT EXISTS (
                SELECT FROM send_receipt r WHERE r.request_id = x.request_id AND r.ordinal = x.ordinal
                AND r.kind IN ('before_handoff', 'permanent'))) AS given_again, EXISTS (
            SELECT FROM holding h WHERE h.program_id = w.program_id AND h.profile_id = w.profile_id
            AND h.block_id = w.block_id AND h.position = w.position) AS reusable
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
             AS w (program_id, profile_id, block_id, position)
    ) found WHERE everybodys OR given_again OR reusable
    """
# Alike receipts share all columns but the last, so each is one element of a parameter. They are stored in the order of
# their key, so that two batches can't deadlock.
_STORE: Final = """
    INSERT INTO send_receipt (ordinal, number, kind, program_id, outcome, reason, due_at, decided_at, request_id)
    SELECT k.ordinal, k.number, k.kind, k.program_id, k.outcome, k.reason, k.due_at, k.decided_at, r.request_id
    FROM unnest($2::smallint[], $3::smallint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::timestamptz[],
                $9::timestamptz[], $10::integer[], $11::integer[])
         AS k (ordinal, number, kind, program_id, outcome, reason, due_at, decided_at, first, last)
    CROSS JOIN LATERAL unnest(($1::uuid[])[k.first:k.last]) AS r (request_id)
    ORDER BY r.request_id, k.ordinal, k.number
    """
_END: Final = """
    UPDATE send_receipt r SET ended = w.ended, ended_reason = w.reason, ended_at = statement_timestamp()
    FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[]) AS w (request_id, ordinal, ended, reason)
    WHERE r.request_id = w.request_id AND r.ordinal = w.ordinal AND r.outcome = 'quarantined' AND r.ended IS NULL
    """
# Only quarantines of programs whose returns are not stopped. Another generator may take others.
_DUE: Final = """
    SELECT r.request_id FROM send_receipt r
    WHERE r.outcome = 'quarantined' AND r.ended IS NULL AND r.due_at <= now() AND NOT EXISTS (
        SELECT FROM alert WHERE program_id = r.program_id AND kind = 'returns-stopped' AND cleared_at IS NULL)
    ORDER BY r.due_at LIMIT $1 FOR UPDATE OF r SKIP LOCKED
    """
_COUNT_RETURNS: Final = """
    INSERT INTO return_minute AS m (program_id, minute, number)
    SELECT program_id, date_trunc('minute', attached_at), sum(number)
    FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[]) AS w (program_id, attached_at, number)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (program_id, minute) DO UPDATE SET number = m.number + excluded.number
    """
# Of the codes attached in the last hour, in minutes whose usage all workers have reported, and after people last let
# returns go on.
_SHARES: Final = """
    SELECT w.program_id, coalesce(m.number, 0)::bigint AS returned, coalesce(u.number, 0)::bigint AS attached
    FROM unnest($1::bigint[]) AS w (program_id)
    CROSS JOIN LATERAL (
        SELECT greatest(now() - interval '1 hour', max(cleared_at)) AS since FROM alert
        WHERE program_id = w.program_id AND kind = 'returns-stopped') c
    CROSS JOIN LATERAL (
        SELECT sum(number) AS number FROM return_minute WHERE program_id = w.program_id
        AND minute > c.since AND minute < date_trunc('minute', now() - interval '15 s')) m
    CROSS JOIN LATERAL (
        SELECT sum(number) AS number FROM usage_minute WHERE program_id = w.program_id AND outcome = 'attached'
        AND minute > c.since AND minute < date_trunc('minute', now() - interval '15 s')) u
    """
# Where codes that came back are now, and who got them there: the texts of such codes are stored. One that is neither
# pooled nor deleted and has no answer was given, and its answer has left.
_NOW_AT: Final = """
    SELECT c.block_id, c.position, c.program_id, c.text, a.request_id, a.profile_id,
           s.deleted_at IS NOT NULL OR a.request_id IS NULL AND (s.hole OR c.position >= b.voided_from) AS deleted,
           a.request_id IS NULL AND c.position >= b.next AS pooled
    FROM unnest($1::bigint[], $2::text[]) AS w (program_id, text)
    JOIN code c ON c.program_id = w.program_id AND c.text = w.text
    JOIN block b ON b.id = c.block_id
    LEFT JOIN answer a ON a.block_id = c.block_id AND a.position = c.position AND NOT a.again
          AND a.block_id IS NOT NULL
    LEFT JOIN code_state s ON s.block_id = c.block_id AND s.position = c.position
    """


class Raced(Exception):
    """Another transaction changed one of the codes or its receipts meanwhile. Settle the batch again."""


async def requests(connection: Connection, ids: Sequence[UUID]) -> list[asyncpg.Record]:
    """The stored answers of these requests, in the order of the ids."""
    rows: list[asyncpg.Record] = await connection.fetch(_REQUESTS, ids)
    return rows


async def programs(connection: Connection, ids: Iterable[int]) -> dict[int, asyncpg.Record]:
    """These programs: what they say about returns, whether an alert has stopped theirs, and the time, by id."""
    return {row["id"]: row for row in await connection.fetch(_PROGRAMS, list(ids))}


async def blocks(connection: Connection, ids: Iterable[int]) -> dict[int, asyncpg.Record]:
    """The expiry and the time of creation of these blocks, by id."""
    return {row["id"]: row for row in await connection.fetch(_BLOCKS, list(ids))}


async def receipts(connection: Connection, ids: Sequence[UUID]) -> list[asyncpg.Record]:
    """Lock and read the receipts about these requests so far, in their order, with the columns of an `Earlier`."""
    rows: list[asyncpg.Record] = await connection.fetch(_RECEIPTS, ids)
    return rows


async def states(connection: Connection, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], asyncpg.Record]:
    """Lock and read the states of the codes at these places; those to which nothing happened are left out."""
    rows = await connection.fetch(_STATES, *columns_of(places, 2))
    return {(row["block_id"], row["position"]): row for row in rows}


async def assigned(
    connection: Connection, codes: Iterable[tuple[int, str, int, int]]
) -> dict[tuple[int, int], asyncpg.Record]:
    """Which of these (program, profile, block, position) are everybody's, were given again, or would be."""
    rows = await connection.fetch(_ASSIGNED, *columns_of(codes, 4))
    return {(row["block_id"], row["position"]): row for row in rows}


async def store(connection: Connection, rows: Iterable[tuple[UUID, tuple[Any, ...]]]) -> None:
    """Store receipts: their requests, each with the ordinal, the number and what was decided, as an `Earlier` has it.

    Raises Raced when another receipt about a code was decided meanwhile.
    """
    alike: dict[tuple[Any, ...], list[UUID]] = {}
    for request_id, facts in rows:
        alike.setdefault(facts, []).append(request_id)
    ends = list(accumulate(map(len, alike.values())))
    parts = [(*facts, end - len(ids) + 1, end) for (facts, ids), end in zip(alike.items(), ends, strict=True)]
    try:
        await connection.execute(_STORE, list(chain.from_iterable(alike.values())), *columns_of(parts, 10))
    except asyncpg.UniqueViolationError as error:
        raise Raced from error


async def end(connection: Connection, rows: Iterable[tuple[UUID, int, str, str]]) -> None:
    """End quarantines, as (request, ordinal, outcome, reason)."""
    await connection.execute(_END, *columns_of(rows, 4))


async def due(connection: Connection, limit: int) -> list[UUID]:
    """Lock up to `limit` quarantines that are over, and return their requests."""
    return [row["request_id"] for row in await connection.fetch(_DUE, limit)]


async def count_returns(connection: Connection, counts: Mapping[tuple[int, datetime], int]) -> None:
    """Count codes that come back or wait for it, by program and time of attachment."""
    await connection.execute(_COUNT_RETURNS, *columns_of(((*key, number) for key, number in counts.items()), 3))


async def shares(connection: Connection, program_ids: Iterable[int]) -> Mapping[int, tuple[int, int]]:
    """By program: how many codes of the last hour came back, and how many were attached."""
    rows = await connection.fetch(_SHARES, list(program_ids))
    return {row["program_id"]: (row["returned"], row["attached"]) for row in rows}


async def hidden(connection: Connection, ids: Iterable[UUID], groups: Sequence[str]) -> frozenset[UUID]:
    """Those of these requests that gave codes of a program outside these access groups."""
    rows = await connection.fetch(
        "SELECT DISTINCT a.request_id FROM answer a JOIN program p ON p.id = a.program_id "
        "WHERE a.request_id = ANY($1::uuid[]) AND NOT p.groups && $2::text[]",
        list(ids),
        list(groups),
    )
    return frozenset(row["request_id"] for row in rows)


async def now_at(connection: Connection, codes: Iterable[tuple[int, str]]) -> dict[tuple[int, str], asyncpg.Record]:
    """Where codes that came back are now, by (program, text), and the request and profile that have them there."""
    rows = await connection.fetch(_NOW_AT, *columns_of(codes, 2))
    return {(row["program_id"], row["text"]): row for row in rows}
