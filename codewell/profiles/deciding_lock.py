"""The advisory lock that separates the forgetting of a profile from transactions that decide requests."""

from typing import Final

from codewell.infra.postgres.connection import Connection

# Each transaction that decides requests holds it in shared mode from before its first read to its end. Forgetting a
# profile takes it in exclusive mode, so that each request is decided entirely before or after that moment.
DECIDING_LOCK: Final = (0x636F6465, 1)
_LOCK_SHARED: Final = f"SELECT pg_advisory_xact_lock_shared({DECIDING_LOCK[0]}, {DECIDING_LOCK[1]})"


async def hold_deciding_lock(connection: Connection) -> None:
    """Hold DECIDING_LOCK to the transaction's end; call it before a transaction that attaches codes reads anything."""
    await connection.execute(_LOCK_SHARED)
