"""Responses stored under idempotency keys, in the transaction of the request that they answer.

A response may name a profile, so a transaction that looks for one holds DECIDING_LOCK until its end. Forgetting the
profile then waits for the transactions that have read its id and not stored their response yet.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import hold_deciding_lock

# Serializes requests with one key, across all consoles.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($2, $1))"

_GET: Final = "SELECT fingerprint, status, media_type, body FROM idempotency WHERE token_id = $1 AND key = $2"

_GET_MANY: Final = """
    SELECT token_id, key, fingerprint, status, media_type, body FROM idempotency
    JOIN unnest($1::bigint[], $2::text[]) AS w (token_id, key) USING (token_id, key)
    """

_TYPES: Final = ("bigint", "text", "bytea", "smallint", "text", "bytea")


def storing(first: int) -> str:
    """A part of a WITH that stores responses in six parameters, whose numbers begin with this one (`parameters_of`).

    A trigger deletes up to a hundred expired ones each time.
    """
    columns = ", ".join(f"${first + number}::{kind}[]" for number, kind in enumerate(_TYPES))
    return f"""
    stored AS (
        INSERT INTO idempotency (token_id, key, fingerprint, status, media_type, body)
        SELECT * FROM unnest({columns}) ORDER BY 1, 2
    )
    """  # noqa: S608  constants


_STORE: Final = f"WITH {storing(1)} SELECT"


TokenKey: TypeAlias = tuple[int, str]
"""A token's id and its idempotency key."""


class StoredResponse(NamedTuple):
    """A response, and the SHA-256 of the request that it answers."""

    fingerprint: bytes
    status: int
    media_type: str
    body: bytes


async def get_response(
    connection: Connection, token_id: int, key: str, *, may_name_profile: bool = True
) -> StoredResponse | None:
    """The response stored for this token and key, or None. Locks the key until the transaction ends.

    With `may_name_profile=False` it does not take DECIDING_LOCK, so that a slow transaction delays no forgetting of a
    profile. Waits while another transaction holds the key; raises asyncpg.LockNotAvailableError after the lock timeout.
    """
    await connection.execute(_LOCK, token_id, key)
    if may_name_profile:
        await hold_deciding_lock(connection)
    row = await connection.fetchrow(_GET, token_id, key)
    return None if row is None else StoredResponse(*row)


async def store_response(connection: Connection, token_id: int, key: str, response: StoredResponse) -> None:
    """Store a response for at least a day. Deletes up to a hundred expired ones."""
    await store_responses(connection, {(token_id, key): response})


async def get_responses(connection: Connection, keys: Collection[TokenKey]) -> dict[TokenKey, StoredResponse]:
    """The responses stored for these tokens and keys; call it in a transaction that holds DECIDING_LOCK.

    Takes no lock on keys: `store_responses` detects conflicts.
    """
    tokens, names = [key[0] for key in keys], [key[1] for key in keys]
    rows = await connection.fetch(_GET_MANY, tokens, names)
    return {(row["token_id"], row["key"]): StoredResponse(*row[2:]) for row in rows}


async def store_responses(connection: Connection, responses: Mapping[TokenKey, StoredResponse]) -> None:
    """Store responses as `store_response` does.

    Raises asyncpg.UniqueViolationError of `idempotency_once` if one of the keys already has a response.
    """
    await connection.execute(_STORE, *parameters_of(responses))


def parameters_of(responses: Mapping[TokenKey, StoredResponse]) -> list[list[Any]]:
    """The parameters for `storing`."""
    return columns_of([(*key, *response) for key, response in responses.items()], len(_TYPES))
