"""Counts a token's failed look-ups of codes in the current minute, across all consoles."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection

_RECENT: Final = """
    SELECT misses, extract(epoch FROM since + interval '1 minute' - now())::float8 AS left_s
    FROM token_miss WHERE token_id = $1 AND since > now() - interval '1 minute'
    """

_ADD: Final = """
    INSERT INTO token_miss AS m (token_id, since, misses)
    SELECT token_id, now(), misses FROM unnest($1::bigint[], $2::integer[]) AS w (token_id, misses) ORDER BY token_id
    ON CONFLICT (token_id) DO UPDATE SET
        since = CASE WHEN m.since > now() - interval '1 minute' THEN m.since ELSE now() END,
        misses = CASE WHEN m.since > now() - interval '1 minute' THEN m.misses ELSE 0 END + excluded.misses
    RETURNING token_id, misses, extract(epoch FROM since + interval '1 minute' - now())::float8 AS left_s
    """


class FailedLookups(NamedTuple):
    """A token's failed look-ups in the current minute, and the rest of that minute (s)."""

    failures: int
    left_s: float


NONE: Final = FailedLookups(0, 0.0)


async def recent(connection: Connection, token_id: int) -> FailedLookups:
    """A token's failed look-ups in its current minute; zero if no minute is running."""
    row = await connection.fetchrow(_RECENT, token_id)
    return NONE if row is None else FailedLookups(*row)


async def add(connection: Connection, more: Mapping[int, int]) -> dict[int, FailedLookups]:
    """Add failed look-ups by token id and return the new counts; the first one starts the token's minute."""
    rows = await connection.fetch(_ADD, list(more), list(more.values()))
    return {row["token_id"]: FailedLookups(row["misses"], row["left_s"]) for row in rows}
