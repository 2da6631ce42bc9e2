"""The advisory lock that lets a profile be forgotten between decisions, never in the middle of one."""

from typing import Final

from codewell.infra.postgres.connection import Connection

# Held by every transaction that decides requests, from before it reads anything until its end, side by side with the
# others; whoever forgets a profile takes it alone, so that each request is decided wholly before that or after it.
DECIDING_LOCK: Final = (0x636F6465, 1)
_LOCK_SHARED: Final = f"SELECT pg_advisory_xact_lock_shared({DECIDING_LOCK[0]}, {DECIDING_LOCK[1]})"


async def hold_deciding_lock(connection: Connection) -> None:
    """Hold DECIDING_LOCK from now on; to be called before a transaction that attaches codes reads anything."""
    await connection.execute(_LOCK_SHARED)
