"""The secrets of endpoints: those that sign, of which several are active during a rotation, and the URLs of Slack."""

import secrets as random_secrets
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.keys.master_keys import MasterKeys, WrappedKey
from codewell.remote.signing_secrets import ACTIVE_SECRETS_MAX, OVERLAP, SECRET_BYTES, SigningSecret

_ACTIVE: Final = """
    SELECT endpoint_id, secret, wrapped, key_id, made_at, ends_at FROM webhook_secret
    WHERE endpoint_id = ANY ($1::bigint[]) AND (ends_at IS NULL OR ends_at > statement_timestamp()) ORDER BY id DESC
    """
_ADD: Final = "INSERT INTO webhook_secret (endpoint_id, secret, wrapped, key_id) VALUES ($1, $2, $3, $4)"
_END: Final = (
    "UPDATE webhook_secret SET ends_at = statement_timestamp() + $2 WHERE endpoint_id = $1 AND ends_at IS NULL"
)
_DELETE: Final = "DELETE FROM webhook_secret WHERE endpoint_id = $1"
# Keys are wrapped in units of this many bytes, at least two of them (RFC 3394).
_UNIT_BYTES: Final = 8


class RotatedSecret(NamedTuple):
    """The secret that signs from now on, and when the last of those before it ends."""

    text: str
    previous_end_at: datetime | None


async def active(connection: Connection, endpoint_ids: Sequence[int]) -> dict[int, list[WrappedKey]]:
    """The active secrets by endpoint as stored, newest first."""
    found: dict[int, list[WrappedKey]] = defaultdict(list)
    for row in await connection.fetch(_ACTIVE, list(set(endpoint_ids))):
        found[row["endpoint_id"]].append(WrappedKey(*row[1:4]))
    return found


async def add(connection: Connection, keys: MasterKeys, endpoint_id: int) -> str:
    """Make a secret that signs; returns it in the form that the receiver configures."""
    secret = SigningSecret(random_secrets.token_bytes(SECRET_BYTES), datetime.min, None)  # noqa: DTZ901  unused
    await connection.execute(_ADD, endpoint_id, *keys.wrap(secret.key))
    return secret.text


async def rotate(connection: Connection, keys: MasterKeys, endpoint_id: int) -> RotatedSecret:
    """Make a new secret; the one before it ends after OVERLAP. Lock the endpoint before.

    Raises ProgramRefused if too many are active.
    """
    if len(await connection.fetch(_ACTIVE, [endpoint_id])) >= ACTIVE_SECRETS_MAX:
        raise ProgramRefused(
            f"Webhook {endpoint_id} has {ACTIVE_SECRETS_MAX} valid secrets: wait until the oldest one expires.",
            reason="secrets_exhausted",
        )
    await connection.execute(_END, endpoint_id, OVERLAP)
    text = await add(connection, keys, endpoint_id)
    rows = await connection.fetch(_ACTIVE, [endpoint_id])
    return RotatedSecret(text, max((row["ends_at"] for row in rows if row["ends_at"]), default=None))


async def set_url(connection: Connection, keys: MasterKeys, endpoint_id: int, url: str) -> None:
    """Replace the URL of an endpoint whose URL is a secret."""
    await delete(connection, endpoint_id)
    raw = url.encode()
    units = max(2, -(-len(raw) // _UNIT_BYTES))
    await connection.execute(_ADD, endpoint_id, *keys.wrap(raw.ljust(units * _UNIT_BYTES)))


def url_of(secret: bytes) -> str:
    """The URL that `set_url` stored."""
    return secret.decode().rstrip(" ")


async def delete(connection: Connection, endpoint_id: int) -> None:
    """Delete all secrets of an endpoint."""
    await connection.execute(_DELETE, endpoint_id)
