"""Answers kept under idempotency keys, in the transaction that made what they tell of."""

from typing import Final, NamedTuple

from services.postgres.connection import Connection

_DELETED_AT_ONCE_MAX: Final = 100

# Two requests with one key come one after the other, in whichever consoles they are.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($2, $1))"

_FIND: Final = "SELECT fingerprint, status, media_type, body FROM idempotency WHERE token_id = $1 AND key = $2"

_KEEP: Final = """
    INSERT INTO idempotency (token_id, key, fingerprint, status, media_type, body) VALUES ($1, $2, $3, $4, $5, $6)
    """

# Each new key takes away up to a hundred old ones, so that they never pile up.
_FORGET: Final = """
    DELETE FROM idempotency WHERE (token_id, key) IN (
        SELECT token_id, key FROM idempotency WHERE created_at < now() - interval '1 day'
        ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    """


class KeptAnswer(NamedTuple):
    """An answer, and the SHA-256 of the request that it was given to."""

    fingerprint: bytes
    status: int
    media_type: str
    body: bytes


async def find(connection: Connection, token_id: int, key: str) -> KeptAnswer | None:
    """The answer that this token got under this key, or None; until the transaction ends, nobody else makes one.

    Waits while another transaction has the key, and raises asyncpg.LockNotAvailableError when that takes too long.
    """
    await connection.execute(_LOCK, token_id, key)
    row = await connection.fetchrow(_FIND, token_id, key)
    return None if row is None else KeptAnswer(*row)


async def keep(connection: Connection, token_id: int, key: str, answer: KeptAnswer) -> None:
    """Keep an answer for a day at least. Deletes up to a hundred that are older."""
    await connection.execute(_KEEP, token_id, key, *answer)
    await connection.execute(_FORGET, _DELETED_AT_ONCE_MAX)
