"""The attached codes of a chunk of a change of many codes: which ones, and what happens to them."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import asyncpg

from codewell.codes.lookup import CodePlace, place_in
from codewell.codes.state import ACTIVATED, EXPIRES_AT, FIELDS, STATE, USED_OR_HELD
from codewell.infra.postgres.connection import Connection

Key = tuple[int, int]
"""A block's id, and a position in it."""

# Whether the change `c` is for the code, by its state, import and expiry. An order may hold it, or have used a part.
_WANTED: Final = f"""
    (s.returned_at IS NULL AND CASE {STATE} WHEN 'held' THEN 'attached' ELSE {STATE} END = ANY(
        CASE WHEN c.code_state IS NULL THEN '{{attached,expired}}' ELSE ARRAY[c.code_state] END)
     AND (c.import_id IS NULL OR b.import_id = c.import_id)
     AND (c.expires_from IS NULL OR {EXPIRES_AT} >= c.expires_from)
     AND (c.expires_until IS NULL OR {EXPIRES_AT} < c.expires_until)
     AND (c.void OR {EXPIRES_AT} IS DISTINCT FROM c.expires_at))
    """.strip()
# Null: it is to be changed. Empty: it is none of the change. Else why it is left as it is.
_OUTCOME: Final = f"""
    CASE WHEN s.returned_at IS NOT NULL THEN ''
         WHEN {ACTIVATED} THEN CASE WHEN s.activated_at >= c.started_at THEN 'activated' ELSE '' END
         WHEN NOT {_WANTED} THEN '' WHEN {USED_OR_HELD} THEN 'in_use' END
    """.strip()
_COLUMNS: Final = f"a.block_id, a.position, b.id, b.kind, b.version, b.first, {_OUTCOME} AS outcome"
_FIND: Final = f"""
    SELECT {_COLUMNS}
    FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (block_id, after, n)
    CROSS JOIN LATERAL (
        SELECT * FROM answer
        WHERE block_id = w.block_id AND position > w.after AND NOT again AND block_id IS NOT NULL
        ORDER BY position LIMIT $4
    ) a
    JOIN block b ON b.id = a.block_id
    JOIN bulk_change c ON c.id = $1
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
    ORDER BY n, a.position LIMIT $4
    """  # noqa: S608  constants
# A shared code is the code of each profile that got it; its answers but the first give it again.
_FIND_OF_PROFILE: Final = f"""
    SELECT {_COLUMNS}
    FROM bulk_change c
    CROSS JOIN LATERAL (
        SELECT DISTINCT block_id, position FROM answer
        WHERE profile_id = c.profile_id AND program_id = c.program_id AND block_id IS NOT NULL
    ) own
    JOIN answer a ON a.block_id = own.block_id AND a.position = own.position AND NOT a.again AND a.block_id IS NOT NULL
    JOIN block b ON b.id = a.block_id
    CROSS JOIN LATERAL (SELECT (kind = 'list')::int AS listed, coalesce(version, b.id) AS major,
                               coalesce(first, 0) + a.position AS minor) place
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
    WHERE c.id = $1 AND (place.listed, place.major, place.minor) > ($2, $3, $4)
    ORDER BY place.listed, place.major, place.minor LIMIT $5
    """  # noqa: S608  constants

_LOOK: Final = f"""
    SELECT {_COLUMNS} FROM unnest($2::bigint[], $3::bigint[]) AS w (block_id, position)
    JOIN bulk_change c ON c.id = $1
    JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND NOT a.again AND a.block_id IS NOT NULL
    JOIN block b ON b.id = a.block_id
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
    """  # noqa: S608  constants

_ELIGIBLE: Final = f"""
    eligible AS (
        SELECT a.block_id, a.position, a.profile_id, c.program_id, {EXPIRES_AT} AS old, {FIELDS} AS fields,
               row_number() OVER (ORDER BY a.block_id, a.position) AS n
        FROM unnest($2::bigint[], $3::bigint[]) AS w (block_id, position)
        JOIN bulk_change c ON c.id = $1
        JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND NOT a.again AND a.block_id IS NOT NULL
        JOIN block b ON b.id = a.block_id
        JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
        WHERE {_WANTED} AND NOT {USED_OR_HELD}
    )
    """  # noqa: S608  constants
# The empty profile id is that of a shared code.
_HELD_BY: Final = """
    h.program_id = e.program_id AND h.profile_id IN ('', e.profile_id) AND h.block_id = e.block_id
        AND h.position = e.position
    """
_EXTEND: Final = f"""
    WITH {_ELIGIBLE}, marked AS (
        UPDATE code_state s SET changed = true, expires_at = $5, fields = e.fields
        FROM eligible e WHERE s.block_id = e.block_id AND s.position = e.position
    ), assigned AS (
        UPDATE holding h SET expires_at = $5 FROM eligible e WHERE {_HELD_BY}
    )
    INSERT INTO bulk_change_item (change_id, number, block_id, position, outcome, codes, old_expires_at)
    SELECT $1, $4::bigint + n - 1, block_id, position, 'changed', 1, old FROM eligible
    RETURNING block_id, position
    """  # noqa: S608  constants
_DELETE: Final = f"""
    WITH {_ELIGIBLE}, marked AS (
        UPDATE code_state s SET deleted_at = statement_timestamp()
        FROM eligible e WHERE s.block_id = e.block_id AND s.position = e.position
    ), counted AS (
        UPDATE block SET attached = attached - t.codes, deleted = deleted + t.codes
        FROM (SELECT block_id, count(*) AS codes FROM eligible GROUP BY block_id) t WHERE block.id = t.block_id
    ), freed AS (
        DELETE FROM holding h USING eligible e WHERE {_HELD_BY}
        RETURNING h.block_id, h.position, h.scope, h.profile_id = '' AS is_everybodys
    )
    INSERT INTO bulk_change_item (change_id, number, block_id, position, outcome, codes, scope, is_everybodys)
    SELECT $1, $4::bigint + n - 1, e.block_id, e.position, 'changed', 1, f.scope, coalesce(f.is_everybodys, false)
    FROM eligible e LEFT JOIN (SELECT DISTINCT ON (block_id, position) * FROM freed) f
         ON f.block_id = e.block_id AND f.position = e.position
    RETURNING block_id, position
    """  # noqa: S608  constants


class LookedAt(NamedTuple):
    """An attached code that a chunk looks at, and what becomes of it: None to change it, "" nothing, or why not."""

    block_id: int
    position: int
    place: CodePlace
    outcome: str | None

    @property
    def key(self) -> Key:
        return self.block_id, self.position


async def find_attached(
    connection: Connection, change: asyncpg.Record, blocks: Sequence[asyncpg.Record], after: CodePlace, limit: int
) -> list[LookedAt]:
    """Up to `limit` codes of these blocks that profiles have or had, after `after`, in order."""
    starts = [_position_of(after, block) for block in blocks]
    ids = [block["id"] for block in blocks]
    return [_found(row) for row in await connection.fetch(_FIND, change["id"], ids, starts, limit)]


async def find_of_profile(
    connection: Connection, change: asyncpg.Record, after: CodePlace, limit: int
) -> list[LookedAt]:
    """Up to `limit` codes of the change's profile after `after`, in order."""
    return [_found(row) for row in await connection.fetch(_FIND_OF_PROFILE, change["id"], *after, limit)]


async def look_again(connection: Connection, change: asyncpg.Record, keys: Collection[Key]) -> list[LookedAt]:
    """What becomes of these codes by now."""
    columns = map(list, zip(*sorted(keys), strict=True))
    return [_found(row) for row in await connection.fetch(_LOOK, change["id"], *columns)]


async def extend_attached(connection: Connection, change: asyncpg.Record, keys: Sequence[Key], number: int) -> set[Key]:
    """Give the locked codes the new expiry, unless they were used meanwhile, and list those that got it."""
    columns = map(list, zip(*keys, strict=True))
    rows = await connection.fetch(_EXTEND, change["id"], *columns, number, change["expires_at"])
    return {(row["block_id"], row["position"]) for row in rows}


async def delete_attached(connection: Connection, change: asyncpg.Record, keys: Sequence[Key], number: int) -> set[Key]:
    """Delete the locked codes of locked blocks, unless they were used meanwhile, and list those that are deleted."""
    columns = map(list, zip(*keys, strict=True))
    rows = await connection.fetch(_DELETE, change["id"], *columns, number)
    return {(row["block_id"], row["position"]) for row in rows}


def _found(row: asyncpg.Record) -> LookedAt:
    return LookedAt(row["block_id"], row["position"], place_in(row, row["position"]), row["outcome"])


def _position_of(after: CodePlace, block: asyncpg.Record) -> int:
    """The position in the block after which to look: -1 for all."""
    first = place_in(block, 0)
    return max(-1, after.minor - first.minor) if first[:2] == after[:2] else -1
