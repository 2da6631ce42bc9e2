"""Counts failed look-ups of codes in the current minute, of a token and of its callers' contexts, over all consoles."""

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection

_DELETED_AT_ONCE_MAX: Final = 1_000

_RECENT: Final = """
    SELECT NULL::bytea AS context, misses, extract(epoch FROM since + interval '1 minute' - now())::float8 AS left_s
    FROM token_miss WHERE token_id = $1 AND since > now() - interval '1 minute'
    UNION ALL
    SELECT context, misses, extract(epoch FROM since + interval '1 minute' - now())::float8
    FROM context_miss WHERE token_id = $1 AND since > now() - interval '1 minute'
    """

# The same order of locks in every console. What a statement has counted is counted for both.
_ADD: Final = """
    WITH w AS (
        SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::integer[]) AS w (token_id, context, misses)
    ), by_context AS (
        INSERT INTO context_miss AS m (token_id, context, since, misses)
        SELECT token_id, context, now(), misses FROM w ORDER BY token_id, context
        ON CONFLICT (token_id, context) DO UPDATE SET
            since = CASE WHEN m.since > now() - interval '1 minute' THEN m.since ELSE now() END,
            misses = CASE WHEN m.since > now() - interval '1 minute' THEN m.misses ELSE 0 END + excluded.misses
        RETURNING token_id, context, misses, since
    ), by_token AS (
        INSERT INTO token_miss AS m (token_id, since, misses)
        SELECT token_id, now(), sum(misses) FROM w GROUP BY token_id ORDER BY token_id
        ON CONFLICT (token_id) DO UPDATE SET
            since = CASE WHEN m.since > now() - interval '1 minute' THEN m.since ELSE now() END,
            misses = CASE WHEN m.since > now() - interval '1 minute' THEN m.misses ELSE 0 END + excluded.misses
        RETURNING token_id, NULL::bytea, misses, since
    )
    SELECT token_id, context, misses, extract(epoch FROM since + interval '1 minute' - now())::float8 AS left_s
    FROM (SELECT * FROM by_context UNION ALL SELECT * FROM by_token) counted
    """

_DELETE_OLD: Final = """
    DELETE FROM context_miss WHERE (token_id, context) IN (
        SELECT token_id, context FROM context_miss WHERE since <= now() - interval '1 minute'
        LIMIT $1 FOR UPDATE SKIP LOCKED)
    """


class Budget(NamedTuple):
    """Whose failed look-ups are counted: those of a context, a SHA-256 or empty, or all of the token's (None)."""

    token_id: int
    context: bytes | None


class FailedLookups(NamedTuple):
    """Failed look-ups in the current minute, and the rest of that minute (s)."""

    failures: int
    left_s: float


def budgets(token_id: int, context: str | None) -> tuple[Budget, Budget]:
    """The budgets of a look-up: that of its context, of which only a hash is kept, and that of its token."""
    hashed = b"" if context is None else hashlib.sha256(context.encode()).digest()
    return Budget(token_id, hashed), Budget(token_id, None)


async def recent(connection: Connection, token_id: int) -> dict[bytes | None, FailedLookups]:
    """A token's failed look-ups by context, and in all (None). One whose minute is over is left out."""
    rows = await connection.fetch(_RECENT, token_id)
    return {row["context"]: FailedLookups(row["misses"], row["left_s"]) for row in rows}


async def add(connection: Connection, more: Mapping[Budget, int]) -> dict[Budget, FailedLookups]:
    """Add failed look-ups of contexts, to their tokens too. Returns the new counts of both.

    A minute begins with the first failed look-up in it.
    """
    rows = await connection.fetch(
        _ADD, [one.token_id for one in more], [one.context for one in more], list(more.values())
    )
    return {Budget(row["token_id"], row["context"]): FailedLookups(row["misses"], row["left_s"]) for row in rows}


async def delete_old(connection: Connection) -> None:
    """Delete counts of contexts whose minute is over, of any token, at most 1,000."""
    await connection.execute(_DELETE_OLD, _DELETED_AT_ONCE_MAX)
