"""Sessions of the web console: who is signed in, with the rights of which token, and for how long.

A session is known by the hash of 256 random bits, which its cookie holds. It ends by itself 8 hours after its last
request, 7 days after its start and with its token, whichever comes first.
"""

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from codewell.access import tokens
from codewell.access.kept_forms import Sender
from codewell.access.tokens import Token, hash_of
from codewell.infra.postgres.connection import Connection
from schemas.token import Scope

Kind = Literal["token", "link", "oidc"]

IDLE_MAX: Final = timedelta(hours=8)
LIFETIME_MAX: Final = timedelta(days=7)
NAME_CHARACTERS_MAX: Final = 300
_SECRET_BYTES: Final = 32
_ENDED_DELETED_MAX: Final = 1_000

_OPEN: Final = """
    INSERT INTO session (hash, token_id, kind, name, ends_at, authenticated_at)
    SELECT $1, $2, $3, $4, least(now() + $5::interval, (SELECT expires_at FROM token WHERE id = $2)),
           least(now(), $6::timestamptz) RETURNING id
    """

_MAKE_TOKEN: Final = "SELECT make_session_token($1, $2, $3, $4)"  # noqa: S105  a statement

# Of a token `t`: what no other person ever has.
_PERSON: Final = "coalesce(encode(t.person, 'hex'), t.id::text)"

_FIND: Final = f"""
    SELECT s.id AS session_id, s.kind AS session_kind, s.name AS session_name, s.authenticated_at, s.ends_at,
           s.last_seen_at < now() - interval '1 minute' AS is_stale, t.*
    FROM session s JOIN (SELECT {tokens.COLUMNS}, {_PERSON} AS person FROM token t
                         WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) t ON t.id = s.token_id
    WHERE s.hash = $1 AND s.ended_at IS NULL AND s.ends_at > now() AND s.last_seen_at > now() - $2::interval
    """  # noqa: S608  a constant

_IN_FORCE: Final = """
    SELECT s.id FROM session s JOIN token t ON t.id = s.token_id
    WHERE s.id = ANY ($1::bigint[]) AND s.ended_at IS NULL AND s.ends_at > now()
      AND s.last_seen_at > now() - $2::interval
      AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
    """

_SEEN: Final = "UPDATE session SET last_seen_at = now() WHERE id = $1"

_END: Final = "UPDATE session SET ended_at = now() WHERE id = $1 AND ended_at IS NULL"

_ENTRIES: Final = f"""
    SELECT s.id, s.kind, s.name, s.created_at, s.last_seen_at, s.ends_at
    FROM session s JOIN token t ON t.id = s.token_id
    WHERE s.ended_at IS NULL AND s.ends_at > now() AND s.last_seen_at > now() - $1::interval
      AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
      AND ($2::text IS NULL OR s.kind = $2 AND {_PERSON} = $3)
    ORDER BY s.last_seen_at DESC, s.id DESC LIMIT $4
    """  # noqa: S608  a constant

_END_ONE: Final = f"""
    UPDATE session s SET ended_at = now() FROM token t
    WHERE s.id = $1 AND s.ended_at IS NULL AND t.id = s.token_id
      AND ($2::text IS NULL OR s.kind = $2 AND {_PERSON} = $3)
    RETURNING s.name
    """  # noqa: S608  a constant

_END_OTHERS: Final = f"""
    WITH ended AS (UPDATE session s SET ended_at = now() FROM token t
                   WHERE s.id <> $1 AND t.id = s.token_id AND s.kind = $2 AND {_PERSON} = $3
                     AND s.ended_at IS NULL AND s.ends_at > now()
                   RETURNING s.id)
    SELECT count(*) FROM ended
    """  # noqa: S608  a constant

_EXPIRED_SENDER: Final = "SELECT kind, name FROM session WHERE hash = $1 AND ended_at IS NULL"

_DELETE_ENDED: Final = "SELECT delete_ended_sessions($1)"


class Session(NamedTuple):
    """A session in force. `caller` has the rights of its token and the person's name."""

    id: int
    kind: Kind
    caller: Token
    authenticated_at: datetime
    ends_at: datetime
    person: str
    """What no other person ever has: of a provider's person a hash of its subject, else the token's id."""


class SessionEntry(NamedTuple):
    """A session in force in a list."""

    id: int
    kind: Kind
    name: str
    created_at: datetime
    last_seen_at: datetime
    ends_at: datetime


async def make_token(connection: Connection, scopes: Sequence[Scope], groups: Sequence[str], person: bytes) -> int:
    """The token of a session that no token was pasted for; returns its id. No request may bear it.

    A person, by 32 bytes that no other one has, gets the same token as long as the rights are the same.
    """
    return int(await connection.fetchval(_MAKE_TOKEN, list(scopes), list(groups), LIFETIME_MAX, person))


async def open_session(
    connection: Connection, kind: Kind, token_id: int, name: str, authenticated_at: datetime | None = None
) -> str:
    """Begin a session with the rights of a token; returns the secret of its cookie, which is not stored.

    `authenticated_at`: when the person last proved who they are, if that was earlier than now.
    """
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    await connection.fetchval(
        _OPEN, hash_of(secret), token_id, kind, name[:NAME_CHARACTERS_MAX], LIFETIME_MAX, authenticated_at
    )
    return secret


async def find(connection: Connection, secret_hash: bytes, *, is_activity: bool = True) -> Session | None:
    """The session in force whose secret has this hash, or None; notes that it was seen, if a person asks."""
    row = await connection.fetchrow(_FIND, secret_hash, IDLE_MAX)
    if row is None:
        return None
    if row["is_stale"] and is_activity:
        await connection.execute(_SEEN, row["session_id"])
    caller = tokens.of_row(row)._replace(session_id=row["session_id"], name=row["session_name"])
    return Session(
        row["session_id"], row["session_kind"], caller, row["authenticated_at"], row["ends_at"], row["person"]
    )


async def in_force(connection: Connection, session_ids: Collection[int]) -> set[int]:
    """Those of these sessions that are in force. It is no activity of theirs."""
    return {row["id"] for row in await connection.fetch(_IN_FORCE, list(session_ids), IDLE_MAX)}


async def end(connection: Connection, session_id: int) -> None:
    """End a session for good."""
    await connection.execute(_END, session_id)


async def entries(connection: Connection, whose: Session | None, limit: int) -> list[SessionEntry]:
    """Up to `limit` sessions in force, the last seen first: all, or those of the person of a session."""
    rows = await connection.fetch(_ENTRIES, IDLE_MAX, *_person(whose), limit)
    return [SessionEntry(**row) for row in rows]


async def end_one(connection: Connection, session_id: int, whose: Session | None) -> str | None:
    """End a session, of this person alone if given; returns its name, or None if there is no such session."""
    name: str | None = await connection.fetchval(_END_ONE, session_id, *_person(whose))
    return name


async def end_others(connection: Connection, session: Session) -> int:
    """End all other sessions of this session's person; returns how many."""
    return int(await connection.fetchval(_END_OTHERS, session.id, *_person(session)))


async def delete_ended(connection: Connection) -> int:
    """Delete sessions that ended a day ago, and hidden tokens of none; returns how many went, a bounded number."""
    return int(await connection.fetchval(_DELETE_ENDED, _ENDED_DELETED_MAX))


async def expired_sender(connection: Connection, secret_hash: bytes) -> Sender | None:
    """Whose session has this secret, also when it ended by time; None once somebody ended it."""
    row = await connection.fetchrow(_EXPIRED_SENDER, secret_hash)
    return None if row is None else Sender(**row)


def _person(session: Session | None) -> tuple[str | None, str | None]:
    return (None, None) if session is None else (session.kind, session.person)
