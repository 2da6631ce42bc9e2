"""How often a token asked for codes that don't exist, counted for all consoles together."""

from typing import Final

from services.postgres.connection import Connection

_LEFT: Final = """
    SELECT misses, ceil(extract(epoch FROM minute + interval '1 minute' - now()))::integer AS wait_s
    FROM token_miss WHERE token_id = $1 AND minute = date_trunc('minute', now())
    """

# What was counted in minutes that are over goes at once, so that a token never has more than a few rows.
_COUNT: Final = """
    WITH over AS (
        DELETE FROM token_miss WHERE token_id = $1 AND minute < date_trunc('minute', now())
    )
    INSERT INTO token_miss AS m (token_id, minute, misses) VALUES ($1, date_trunc('minute', now()), 1)
    ON CONFLICT (token_id, minute) DO UPDATE SET misses = m.misses + 1
    """


async def wait_s(connection: Connection, token_id: int, misses_max: int) -> int | None:
    """For how long (s, at least 1) a token may look up nothing, or None while its budget for this minute lasts."""
    row = await connection.fetchrow(_LEFT, token_id)
    return None if row is None or row["misses"] < misses_max else max(1, row["wait_s"])


async def count(connection: Connection, token_id: int) -> None:
    """Note that a token asked for a code that doesn't exist."""
    await connection.execute(_COUNT, token_id)
