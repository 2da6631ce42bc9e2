"""Names profiles in the stream: an HMAC of the profile's id with a random key of its own.

Without the key, which `forget` deletes, nothing links a pseudonym to a profile's id. The keys are in lifecycle_profile.
"""

import os
from collections.abc import Collection, Mapping
from hashlib import sha256
from hmac import digest
from typing import Any, Final, NamedTuple

from codewell.infra.postgres.connection import Connection

_KEY_BYTES: Final = 16
_HEX_DIGITS: Final = 32

# In the order of the key, so that two workers cannot deadlock.
_ADD: Final = """
    INSERT INTO lifecycle_profile AS p (profile_id, key)
    SELECT profile_id, key FROM unnest($1::text[], $2::bytea[]) AS n (profile_id, key) ORDER BY profile_id
    ON CONFLICT (profile_id) DO NOTHING RETURNING profile_id, key
    """
_KNOWN: Final = """
    SELECT profile_id, key, forgotten_at - '0/0' AS forgotten_at FROM lifecycle_profile
    WHERE profile_id = ANY($1::text[])
    """
_RENEW: Final = """
    UPDATE lifecycle_profile p SET key = n.key, forgotten_at = NULL
    FROM unnest($1::text[], $2::bytea[]) AS n (profile_id, key)
    WHERE p.profile_id = n.profile_id AND p.key IS NULL RETURNING p.profile_id, p.key
    """


class _Key(NamedTuple):
    key: bytes | None
    forgotten_at: int


class Pseudonyms:
    """The pseudonyms of some profiles. None of them is kept for longer than a batch, as a profile may be forgotten."""

    def __init__(self, keys: Mapping[str, _Key]) -> None:
        self._keys = keys
        self._named: dict[str, str] = {}

    def of(self, profile_id: str, lsn: int) -> str | None:
        """The pseudonym in an event that was committed at `lsn`; None if the profile was forgotten after it."""
        known = self._keys[profile_id]
        if known.key is None or lsn < known.forgotten_at:
            return None
        name = self._named.get(profile_id)
        if name is None:
            name = digest(known.key, profile_id.encode(), sha256).hex()[:_HEX_DIGITS]
            self._named[profile_id] = name
        return name


async def pseudonyms(connection: Connection, last_seen: Mapping[str, int]) -> Pseudonyms:
    """The pseudonyms of these profiles, by id, with the place in the log of the last event about each.

    New ones get their keys, which are committed when this returns. Call it outside of any transaction.
    """
    if not last_seen:
        return Pseudonyms({})
    keys = {row["profile_id"]: _Key(row["key"], 0) for row in await _with_new_keys(connection, _ADD, last_seen)}
    missing = [profile_id for profile_id in last_seen if profile_id not in keys]
    forgotten: dict[str, int] = {}
    for row in await connection.fetch(_KNOWN, missing) if missing else ():
        keys[row["profile_id"]] = _Key(row["key"], int(row["forgotten_at"] or 0))
        if row["key"] is None:
            forgotten[row["profile_id"]] = int(row["forgotten_at"])
    # The same id is a new customer's after that.
    again = [profile_id for profile_id, at in forgotten.items() if last_seen[profile_id] >= at]
    for row in await _with_new_keys(connection, _RENEW, again) if again else ():
        keys[row["profile_id"]] = _Key(row["key"], forgotten[row["profile_id"]])
    for profile_id in last_seen.keys() - keys.keys():
        # Forgotten just now, between two statements.
        keys[profile_id] = _Key(None, 0)
    return Pseudonyms(keys)


async def _with_new_keys(connection: Connection, statement: str, profiles: Collection[str]) -> list[Any]:
    random = os.urandom(_KEY_BYTES * len(profiles))
    keys = [random[at : at + _KEY_BYTES] for at in range(0, len(random), _KEY_BYTES)]
    rows: list[Any] = await connection.fetch(statement, list(profiles), keys)
    return rows
