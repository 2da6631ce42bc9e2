"""Secrets that sign a program's requests to its remote service; several are active during a rotation."""

import secrets
from base64 import b64encode
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.keys.master_keys import WrappedKey
from codewell.pool.minter_cache import Minters

# Standard Webhooks: 24 to 64 bytes, in base64 after this prefix.
PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
# A replaced secret still signs requests for this long, so that the service can switch without downtime.
OVERLAP: Final = timedelta(hours=24)
# Each active secret adds a signature to a header of every request.
ACTIVE_SECRETS_MAX: Final = 5

_ACTIVE: Final = """
    SELECT secret, wrapped, key_id, made_at, ends_at FROM remote_secret
    WHERE program_id = $1 AND (ends_at IS NULL OR ends_at > statement_timestamp()) ORDER BY id DESC
    """
_ADD: Final = "INSERT INTO remote_secret (program_id, secret, wrapped, key_id) VALUES ($1, $2, $3, $4)"


class SigningSecret(NamedTuple):
    """One secret; `ends_at` is None for the current one."""

    key: bytes
    made_at: datetime
    ends_at: datetime | None

    @property
    def text(self) -> str:
        """The secret in the form that the remote service's operator configures."""
        return PREFIX + b64encode(self.key).decode()

    def __repr__(self) -> str:
        """Omits the key, which must not be logged."""
        return f"Secret(made_at={self.made_at}, ends_at={self.ends_at})"


async def active_secrets(connection: Connection, minters: Minters, program_id: int) -> list[SigningSecret]:
    """The active secrets of a program, newest first; creates the first one if there is none.

    Raises StackUnavailable if they can't be unwrapped.
    """
    rows = await connection.fetch(_ACTIVE, program_id)
    if not rows:
        async with connection.transaction():
            await _lock(connection, program_id)
            rows = await connection.fetch(_ACTIVE, program_id)
            if not rows:
                await _add(connection, minters, program_id)
                rows = await connection.fetch(_ACTIVE, program_id)
    return [SigningSecret(minters.keys.unwrap(WrappedKey(*row[:3])), row["made_at"], row["ends_at"]) for row in rows]


async def rotate(connection: Connection, minters: Minters, program_id: int) -> list[SigningSecret]:
    """Create a new secret; the previous one ends after OVERLAP. Raises ProgramRefused if too many are active."""
    async with connection.transaction():
        name = await _lock(connection, program_id)
        if len(await connection.fetch(_ACTIVE, program_id)) >= ACTIVE_SECRETS_MAX:
            raise ProgramRefused(
                f"{name} has {ACTIVE_SECRETS_MAX} valid secrets: wait until the oldest one expires.",
                reason="secrets_exhausted",
            )
        await connection.execute(
            "UPDATE remote_secret SET ends_at = statement_timestamp() + $2 WHERE program_id = $1 AND ends_at IS NULL",
            program_id,
            OVERLAP,
        )
        await _add(connection, minters, program_id)
        return await active_secrets(connection, minters, program_id)


async def _lock(connection: Connection, program_id: int) -> str:
    return str(await connection.fetchval("SELECT name FROM program WHERE id = $1 FOR NO KEY UPDATE", program_id))


async def _add(connection: Connection, minters: Minters, program_id: int) -> None:
    await connection.execute(_ADD, program_id, *minters.keys.wrap(secrets.token_bytes(SECRET_BYTES)))
