"""How often a token asked for codes that don't exist, counted for all consoles together."""

from typing import Final

from services.postgres.connection import Connection

_LEFT: Final = """
    SELECT misses, ceil(extract(epoch FROM since + interval '1 minute' - now()))::integer AS wait_s
    FROM token_miss WHERE token_id = $1 AND since > now() - interval '1 minute'
    """

_COUNT: Final = """
    INSERT INTO token_miss AS m (token_id, since, misses) VALUES ($1, now(), 1)
    ON CONFLICT (token_id) DO UPDATE SET
        since = CASE WHEN m.since > now() - interval '1 minute' THEN m.since ELSE now() END,
        misses = CASE WHEN m.since > now() - interval '1 minute' THEN m.misses + 1 ELSE 1 END
    """


async def wait_s(connection: Connection, token_id: int, misses_max: int) -> int | None:
    """For how long (s, at least 1) a token may look up nothing, or None while its budget of a minute lasts."""
    row = await connection.fetchrow(_LEFT, token_id)
    return None if row is None or row["misses"] < misses_max else max(1, row["wait_s"])


async def count(connection: Connection, token_id: int) -> None:
    """Note that a token asked for a code that doesn't exist; a minute begins when none is running."""
    await connection.execute(_COUNT, token_id)
