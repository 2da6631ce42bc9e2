"""Links that sign in to the web console, each once and within a minute."""

import secrets
from datetime import timedelta
from typing import Final, NamedTuple

from codewell.access.tokens import hash_of
from codewell.errors import TokenRefused
from codewell.infra.postgres.connection import Connection

LIFETIME: Final = timedelta(seconds=60)
_SECRET_BYTES: Final = 32

_MAKE: Final = """
    INSERT INTO sign_in_link (hash, token_id)
    SELECT $1, id FROM token WHERE name = $2 AND kind = 'api' AND revoked_at IS NULL RETURNING token_id
    """
_DELETE_EXPIRED: Final = "DELETE FROM sign_in_link WHERE created_at < now() - $1::interval"
# Of two who use a link at once, the second waits for the first and then finds no row.
_USE: Final = """
    DELETE FROM sign_in_link l USING token t
    WHERE l.hash = $1 AND l.created_at > now() - $2::interval AND t.id = l.token_id AND t.revoked_at IS NULL
      AND (t.expires_at IS NULL OR t.expires_at > now())
    RETURNING t.id, t.name
    """


class LinkedToken(NamedTuple):
    """The token that a link signs in with."""

    id: int
    name: str


async def make(connection: Connection, token_name: str) -> str:
    """Make a link for this token and return its secret, which is not stored. Deletes expired links.

    Raises TokenRefused if no token in force has this name.
    """
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    async with connection.transaction():
        await connection.execute(_DELETE_EXPIRED, LIFETIME)
        if await connection.fetchval(_MAKE, hash_of(secret), token_name) is None:
            raise TokenRefused(f"There is no active token {token_name}: list them with codewell token list.")
    return secret


async def use(connection: Connection, secret: str) -> LinkedToken | None:
    """The token of the link with this secret, which works no more afterwards; None if it is unknown, used or old."""
    row = await connection.fetchrow(_USE, hash_of(secret), LIFETIME)
    return None if row is None else LinkedToken(**row)
