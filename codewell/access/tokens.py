"""Tokens of the HTTP API, with their scopes and access groups."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, get_args

import asyncpg

from codewell.audit.audit_log import Actor
from codewell.errors import TokenRefused
from codewell.infra.postgres.connection import Connection
from schemas.events import SHORT_NAME_PATTERN

Scope = Literal["read", "write", "redeem", "admin"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
_PREFIX: Final = "cw_"
_SECRET_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_ID_MAX: Final = 2**63 - 1
_LIFETIME_MAX: Final = timedelta(days=36_500)

_COLUMNS: Final = "id, name, scopes, groups, created_at, last_used, revoked_at, expires_at"

_LIST: Final = f"SELECT {_COLUMNS} FROM token WHERE revoked_at IS NULL ORDER BY name"  # noqa: S608  a constant

_CREATE: Final = f"""
    INSERT INTO token (name, hash, scopes, groups, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval)
    RETURNING {_COLUMNS}
    """  # noqa: S608  a constant

_REVOKE: Final = f"""
    UPDATE token SET revoked_at = now() WHERE revoked_at IS NULL AND (name = $1 OR id = $2) RETURNING {_COLUMNS}
    """  # noqa: S608  a constant

_AUTHENTICATE: Final = f"""
    SELECT {_COLUMNS}, coalesce(last_used < now() - interval '1 hour', true) AS long_unused
    FROM token WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    """  # noqa: S608  a constant


class Token(NamedTuple):
    """A token without its secret. Empty `groups` means all programs; `last_used` is exact to the hour; `expires_at`
    None means no expiry."""

    id: int
    name: str
    scopes: tuple[Scope, ...]
    groups: tuple[str, ...]
    created_at: datetime
    last_used: datetime | None
    revoked_at: datetime | None
    expires_at: datetime | None = None

    @property
    def actor(self) -> Actor:
        """The token as an actor in the audit log."""
        return Actor("token", self.name)

    def may(self, *scopes: Scope) -> bool:
        """Whether the token has one of these scopes; `admin` includes all."""
        return not {*scopes, "admin"}.isdisjoint(self.scopes)

    def sees(self, groups: Sequence[str]) -> bool:
        """Whether the token may see a program of these access groups."""
        return not self.groups or not set(self.groups).isdisjoint(groups)


async def create(
    connection: Connection, name: str, scopes: Sequence[Scope], groups: Sequence[str] = (),
    lifetime: timedelta | None = None,
) -> tuple[Token, str]:  # fmt: skip
    """Create a token and return it with its secret, which is not stored and can't be shown again.

    Without `lifetime` it is valid until it is revoked. Raises TokenRefused if the name is taken, a name or group is
    invalid, or the lifetime is out of bounds.
    """
    if not _NAME.fullmatch(name):
        raise TokenRefused(
            f"{name!r} is not a valid token name: use up to 64 letters, digits, _, . and -, beginning with a letter."
        )
    for group in groups:
        if not re.fullmatch(SHORT_NAME_PATTERN, group):
            raise TokenRefused(f"{group!r} is not a valid access group: use up to 64 letters, digits and _.")
    if lifetime is not None and not timedelta(0) < lifetime <= _LIFETIME_MAX:
        raise TokenRefused(
            "The lifetime is invalid: use more than zero and at most 100 years, such as P90D for 90 days."
        )
    secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    try:
        row = await connection.fetchrow(_CREATE, name, hash_of(secret), _unique(scopes), _unique(groups), lifetime)
    except asyncpg.UniqueViolationError as error:
        raise TokenRefused(f"There is a token {name} already: choose another name, or revoke that one.") from error
    return _token(row), secret


async def replace(connection: Connection, name: str, scopes: Sequence[Scope]) -> str:
    """Revoke the token of this name, if any, and create another. Returns the new secret."""
    async with connection.transaction():
        await connection.execute(_REVOKE, name, None)
        return (await create(connection, name, scopes))[1]


async def list_all(connection: Connection) -> list[Token]:
    """The tokens that are not revoked, by name. Expired ones are included, since their names stay taken."""
    return [_token(row) for row in await connection.fetch(_LIST)]


async def revoke(connection: Connection, name_or_id: str) -> Token:
    """Revoke a token for good. Raises TokenRefused if no unrevoked token has this name or id."""
    number = int(name_or_id) if name_or_id.isascii() and name_or_id.isdigit() else None
    row = None
    if number is None or number <= _ID_MAX:
        row = await connection.fetchrow(_REVOKE, name_or_id, number)
    if row is None:
        raise TokenRefused(f"There is no active token {name_or_id}: list them with codewell token list.")
    return _token(row)


async def authenticate(connection: Connection, secret_hash: bytes) -> Token | None:
    """Return the token whose secret has this hash, unless it is revoked or expired; updates `last_used`."""
    row = await connection.fetchrow(_AUTHENTICATE, secret_hash)
    if row is None:
        return None
    if row["long_unused"]:
        await connection.execute("UPDATE token SET last_used = now() WHERE id = $1", row["id"])
    return _token(row)


def hash_of(secret: str) -> bytes:
    """The stored hash of a secret. SHA-256 is enough: 256 random bits can't be guessed."""
    return hashlib.sha256(secret.encode()).digest()


def _token(row: asyncpg.Record) -> Token:
    facts = {name: row[name] for name in Token._fields}
    return Token(**{**facts, "scopes": tuple(row["scopes"]), "groups": tuple(row["groups"])})


def _unique(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words))
