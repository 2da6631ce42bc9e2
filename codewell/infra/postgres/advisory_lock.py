"""Advisory locks of a session: one process at a time does a work that others may do as well."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from codewell.infra.postgres.connection import Connection

_TRY: Final = "SELECT pg_try_advisory_lock($1, $2)"
_UNLOCK: Final = "SELECT pg_advisory_unlock($1, $2)"


@asynccontextmanager
async def try_lock(connection: Connection, lock: tuple[int, int]) -> AsyncIterator[bool]:
    """Hold `lock` during the block if no other session has it; yields whether it is held. Raises what asyncpg raises.

    A connection that can't give the lock up is closed, as by `held`.
    """
    async with held(connection, _TRY, _UNLOCK, *lock) as is_held:
        yield is_held


@asynccontextmanager
async def held(connection: Connection, take: str, give_up: str, *lock: object) -> AsyncIterator[bool]:
    """Hold a lock during the block; yields False if `take` returns false. Raises what asyncpg raises.

    `take` and `give_up` are statements with the parameters `lock`. A connection that was lost has lost the lock with
    it. One that can't give the lock up, or does not know whether it has it, is closed: a pool would keep both.
    """
    try:
        is_held = await connection.fetchval(take, *lock) is not False
    except asyncpg.LockNotAvailableError:
        raise
    except BaseException:
        # Cancelled, or timed out, after the server gave the lock.
        connection.terminate()
        raise
    try:
        yield is_held
    finally:
        if is_held and not connection.is_closed():
            try:
                await connection.execute(give_up, *lock)
            except BaseException:
                connection.terminate()
                raise
