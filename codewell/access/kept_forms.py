"""Forms that came when their session had ended, kept for the same person until they have signed in again.

A form is encrypted with a key that its browser alone has. It is given back only to a session of the same kind and name
as the one that it was sent in, so that another person at the same browser can neither read nor send it.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from codewell.access.tokens import hash_of
from codewell.infra.postgres.connection import Connection

LIFETIME: Final = timedelta(minutes=30)
_SECRET_BYTES: Final = 32
_EXPIRED_DELETED_MAX: Final = 100
_BYTES_MAX: Final = 400_000
# Each key encrypts one form only.
_NONCE: Final = bytes(12)

_KEEP: Final = "INSERT INTO kept_form (hash, kind, name, path, sealed) VALUES ($1, $2, $3, $4, $5)"
_DELETE_EXPIRED: Final = """
    DELETE FROM kept_form WHERE hash IN (
        SELECT hash FROM kept_form WHERE created_at < now() - $1::interval ORDER BY created_at LIMIT $2)
    """
_FIND: Final = """
    SELECT path, sealed FROM kept_form
    WHERE hash = $1 AND kind = $2 AND name = $3 AND created_at > now() - $4::interval
    """
_FORGET: Final = "DELETE FROM kept_form WHERE hash = $1"


class Sender(NamedTuple):
    """How a person signed in, and as whom."""

    kind: str
    name: str


class KeptForm(NamedTuple):
    """The path that a form was posted to, with its query, and its fields in their order."""

    path: str
    fields: list[tuple[str, str]]


async def keep(connection: Connection, sender: Sender, path: str, fields: Sequence[tuple[str, str]]) -> str | None:
    """Keep a form for its sender; returns the secret for the browser, which is not stored. Deletes expired forms.

    Returns None for a form that is too large to be kept.
    """
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    sealed = AESGCM(_key(secret)).encrypt(_NONCE, json.dumps(fields, ensure_ascii=False).encode(), path.encode())
    if len(sealed) > _BYTES_MAX:
        return None
    async with connection.transaction():
        await connection.execute(_DELETE_EXPIRED, LIFETIME, _EXPIRED_DELETED_MAX)
        await connection.execute(_KEEP, hash_of(secret), *sender, path, sealed)
    return secret


async def find(connection: Connection, secret: str, person: Sender) -> KeptForm | None:
    """The form with this secret, if this person sent it; None too once it is older than LIFETIME."""
    row = await connection.fetchrow(_FIND, hash_of(secret), *person, LIFETIME)
    if row is None:
        return None
    try:
        opened = AESGCM(_key(secret)).decrypt(_NONCE, row["sealed"], row["path"].encode())
    except InvalidTag:
        return None
    return KeptForm(row["path"], [(name, value) for name, value in json.loads(opened)])


async def forget(connection: Connection, secret: str) -> None:
    """Delete the form with this secret, if there is one."""
    await connection.execute(_FORGET, hash_of(secret))


def _key(secret: str) -> bytes:
    return hashlib.sha256(b"codewell kept form\n" + secret.encode()).digest()
