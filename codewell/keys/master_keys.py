"""Master keys: they wrap the keys in the database (RFC 3394). Previous ones stay available during a rotation.

A stored key names its master key by an id that reveals nothing of that key. Unwrapping accepts any of the given master
keys, wrapping uses the newest.
"""

import contextlib
import hashlib
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from codewell.errors import SettingsInvalid, StackUnavailable
from codewell.infra.postgres.connection import Connection

ID_BYTES: Final = 8
_KEY_ID_PREFIX: Final = b"codewell master key\0"
# One sample of each stored kind, whatever the number of keys.
_TEMPLATE_KEY_SAMPLES: Final = """
    SELECT DISTINCT ON (key_wrapped, key_id) key AS stored, key_wrapped AS is_wrapped, key_id
    FROM template_version WHERE key_wrapped
    """
_REMOTE_KEY_SAMPLES: Final = """
    SELECT DISTINCT ON (wrapped, key_id) secret AS stored, wrapped AS is_wrapped, key_id
    FROM remote_secret WHERE wrapped
    """
_WEBHOOK_KEY_SAMPLES: Final = """
    SELECT DISTINCT ON (wrapped, key_id) secret AS stored, wrapped AS is_wrapped, key_id
    FROM webhook_secret WHERE wrapped
    """


class WrappedKey(NamedTuple):
    """A key as stored: plain, or wrapped with the master key of this id; None if the id was not stored."""

    stored: bytes
    is_wrapped: bool
    key_id: bytes | None


class MasterKeys:
    """The master keys of a process, the newest first. Without any, keys are stored in plain."""

    def __init__(self, *keys: bytes) -> None:
        self._keys = {key_id_of(key): key for key in keys}
        self.newest_id: bytes | None = key_id_of(keys[0]) if keys else None

    def wrap(self, secret: bytes) -> WrappedKey:
        """Return a new key in its stored form."""
        if self.newest_id is None:
            return WrappedKey(secret, False, None)
        return WrappedKey(aes_key_wrap(self._keys[self.newest_id], secret), True, self.newest_id)

    def unwrap(self, stored: WrappedKey) -> bytes:
        """Return a stored key in plain. Raises StackUnavailable, which names the setting, if it can't be unwrapped."""
        if not stored.is_wrapped:
            return stored.stored
        for key_id, key in self._keys.items():
            if stored.key_id in {None, key_id}:
                with contextlib.suppress(InvalidUnwrap):
                    return aes_key_unwrap(key, stored.stored)
        raise StackUnavailable(self._unwrap_error(stored.key_id))

    @property
    def ids(self) -> list[bytes]:
        """The ids of all given master keys."""
        return list(self._keys)

    def _unwrap_error(self, key_id: bytes | None) -> str:
        which = "a master key" if key_id is None else f"the master key of id {key_id.hex()}"
        if not self._keys:
            return f"The database's keys are encrypted with {which}: set CODEWELL_MASTER_KEY to it."
        given = ", ".join(one.hex() for one in self.ids)
        return (
            f"The database's keys are encrypted with {which}, but CODEWELL_MASTER_KEY and CODEWELL_MASTER_KEY_PREVIOUS "
            f"hold {given}: add the missing key to one of them."
        )


def key_id_of(key: bytes) -> bytes:
    """The id that stands for a master key in the database."""
    return hashlib.sha256(_KEY_ID_PREFIX + key).digest()[:ID_BYTES]


async def check(connection: Connection, keys: MasterKeys) -> None:
    """Raise SettingsInvalid unless every kind of stored key can be unwrapped."""
    await check_for_programs(connection, keys)
    await _check(connection, keys, _REMOTE_KEY_SAMPLES)
    await _check(connection, keys, _WEBHOOK_KEY_SAMPLES)


async def check_for_programs(connection: Connection, keys: MasterKeys) -> None:
    """Like `check`, for processes that use no secrets of remote services and webhooks, and may not read them."""
    await _check(connection, keys, _TEMPLATE_KEY_SAMPLES)


async def _check(connection: Connection, keys: MasterKeys, samples: str) -> None:
    for row in await connection.fetch(samples):
        try:
            keys.unwrap(WrappedKey(*row))
        except StackUnavailable as error:
            raise SettingsInvalid(str(error)) from error
