"""Tokens of the HTTP API, with their scopes and access groups."""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, get_args

import asyncpg

from codewell.audit.audit_log import Actor
from codewell.errors import TokenRefused, TokenUnknown
from codewell.infra.digits import whole_number
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.constraints import violates
from schemas import patterns
from schemas.token import Scope

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
_PREFIX: Final = "cw_"
_SECRET_BYTES: Final = 32
_ID_MAX: Final = 2**63 - 1
_LIFETIME_MAX: Final = timedelta(days=36_500)

COLUMNS: Final = "id, name, scopes, groups, created_at, last_used, revoked_at, expires_at"

_LIST: Final = f"SELECT {COLUMNS} FROM token WHERE revoked_at IS NULL AND kind = 'api' ORDER BY name"  # noqa: S608  a constant

_CREATE: Final = f"""
    INSERT INTO token (name, hash, scopes, groups, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval)
    RETURNING {COLUMNS}
    """  # noqa: S608  a constant

# Without groups, or those of these groups alone.
_PAGE: Final = f"""
    SELECT {COLUMNS} FROM token
    WHERE revoked_at IS NULL AND kind = 'api' AND name > $1
      AND ($2::text[] = '{{}}' OR groups <> '{{}}' AND groups <@ $2)
    ORDER BY name LIMIT $3
    """  # noqa: S608  a constant

_GET: Final = f"""
    SELECT {COLUMNS} FROM token
    WHERE id = $1 AND revoked_at IS NULL AND kind = 'api'
      AND ($2::text[] = '{{}}' OR groups <> '{{}}' AND groups <@ $2)
    """  # noqa: S608  a constant

_GRANT: Final = f"SELECT {COLUMNS} FROM grant_token($1, $2, $3, $4, $5, $6)"  # noqa: S608  a constant

_REVOKE_AS: Final = f"SELECT {COLUMNS} FROM revoke_token($1, $2)"  # noqa: S608  a constant

_REVOKE: Final = f"""
    UPDATE token SET revoked_at = now() WHERE revoked_at IS NULL AND kind = 'api' AND (name = $1 OR id = $2)
    RETURNING {COLUMNS}
    """  # noqa: S608  a constant

_AUTHENTICATE: Final = f"""
    SELECT {COLUMNS}, coalesce(last_used < now() - interval '1 hour', true) AS long_unused
    FROM token WHERE hash = $1 AND kind = 'api' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    """  # noqa: S608  a constant

_IN_FORCE: Final = """
    SELECT EXISTS (SELECT FROM token
                   WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))
    """


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
    session_id: int | None = None
    """The session that the caller came through, with the token's rights; None with the token itself."""

    @property
    def actor(self) -> Actor:
        """The token as an actor in the audit log."""
        return Actor("token" if self.session_id is None else "session", self.name)

    def may(self, *scopes: Scope) -> bool:
        """Whether the token has one of these scopes; `admin` includes all of them."""
        return not {*scopes, "admin"}.isdisjoint(self.scopes)

    @property
    def sees_profiles(self) -> bool:
        """Whether the token may see fields of profiles, which belong to no group. `admin` alone is not enough, as a
        profile may have codes of every program."""
        return not self.groups or "profiles" in self.scopes

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
    return await _made(partial(connection.fetchrow, _CREATE), name, scopes, groups, lifetime)


async def grant(
    connection: Connection, maker: Token, name: str, scopes: Sequence[Scope], groups: Sequence[str] = (),
    lifetime: timedelta | None = None,
) -> tuple[Token, str]:  # fmt: skip
    """Create a token as `create` does, with no more scopes, groups and time than its maker has by the database.

    Raises TokenRefused (`grant_refused`) if it would have more, or the maker is not an administrator's token in force.
    """
    try:
        return await _made(partial(connection.fetchrow, _GRANT, maker.id), name, scopes, groups, lifetime)
    except asyncpg.InsufficientPrivilegeError as error:
        if not violates(error, "token_grant"):
            raise
        raise TokenRefused(str(error), reason="grant_refused") from error


async def replace(connection: Connection, name: str, scopes: Sequence[Scope]) -> str:
    """Revoke the token of this name, if any, and create another. Returns the new secret."""
    async with connection.transaction():
        await connection.execute(_REVOKE, name, None)
        return (await create(connection, name, scopes))[1]


async def list_all(connection: Connection) -> list[Token]:
    """The tokens that are not revoked, by name. Expired ones are included, since their names stay taken."""
    return [of_row(row) for row in await connection.fetch(_LIST)]


async def revoke(connection: Connection, name_or_id: str) -> Token:
    """Revoke a token for good. Raises TokenRefused if no unrevoked token has this name or id."""
    number = whole_number(name_or_id)
    row = None
    if number is None or number <= _ID_MAX:
        row = await connection.fetchrow(_REVOKE, name_or_id, number)
    if row is None:
        raise TokenRefused(f"There is no active token {name_or_id}: list them with codewell token list.")
    return of_row(row)


async def page(connection: Connection, groups: Sequence[str], after: str, limit: int) -> list[Token]:
    """Up to `limit` unrevoked tokens after this name, by name; with `groups`, those of these groups alone."""
    return [of_row(row) for row in await connection.fetch(_PAGE, after, list(groups), limit)]


async def get(connection: Connection, token_id: int, groups: Sequence[str]) -> Token:
    """An unrevoked token; with `groups`, one of these groups alone. Raises TokenUnknown if there is none such."""
    row = await connection.fetchrow(_GET, token_id, list(groups))
    if row is None:
        raise TokenUnknown(token_id)
    return of_row(row)


async def revoke_as(connection: Connection, revoker: Token, token_id: int) -> Token:
    """Revoke a token that the revoker may see. Raises TokenUnknown if there is none, or it is revoked already."""
    row = await connection.fetchrow(_REVOKE_AS, revoker.id, token_id)
    if row is None:
        raise TokenUnknown(token_id)
    return of_row(row)


async def authenticate(connection: Connection, secret_hash: bytes) -> Token | None:
    """Return the token whose secret has this hash, unless it is revoked or expired; updates `last_used`."""
    row = await connection.fetchrow(_AUTHENTICATE, secret_hash)
    if row is None:
        return None
    if row["long_unused"]:
        await connection.execute("UPDATE token SET last_used = now() WHERE id = $1", row["id"])
    return of_row(row)


async def is_in_force(connection: Connection, token_id: int) -> bool:
    """Whether the token is neither revoked nor expired."""
    return bool(await connection.fetchval(_IN_FORCE, token_id))


def hash_of(secret: str) -> bytes:
    """The stored hash of a secret. SHA-256 is enough: 256 random bits can't be guessed."""
    return hashlib.sha256(secret.encode()).digest()


async def _made(
    insert: Callable[..., Awaitable[Any]], name: str, scopes: Sequence[Scope], groups: Sequence[str],
    lifetime: timedelta | None,
) -> tuple[Token, str]:  # fmt: skip
    """What `insert` makes of a valid token, with its secret."""
    if not re.fullmatch(patterns.TOKEN_NAME, name):
        raise TokenRefused(
            f"{name!r} is not a valid token name: use up to 64 letters, digits, _, . and -, beginning with a letter."
        )
    for group in groups:
        if not re.fullmatch(patterns.SHORT_NAME, group):
            raise TokenRefused(f"{group!r} is not a valid access group: use up to 64 letters, digits and _.")
    if lifetime is not None and not timedelta(0) < lifetime <= _LIFETIME_MAX:
        raise TokenRefused(
            "The lifetime is invalid: use more than zero and at most 100 years, such as P90D for 90 days."
        )
    secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    try:
        row = await insert(name, hash_of(secret), _unique(scopes), _unique(groups), lifetime)
    except asyncpg.UniqueViolationError as error:
        sentence = f"There is a token {name} already: choose another name, or revoke that one."
        raise TokenRefused(sentence, reason="token_taken") from error
    return of_row(row), secret


def of_row(row: asyncpg.Record) -> Token:
    """The token of a row with COLUMNS."""
    facts = {name: row[name] for name in Token._fields if name != "session_id"}
    return Token(**{**facts, "scopes": tuple(row["scopes"]), "groups": tuple(row["groups"])})


def _unique(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words))
