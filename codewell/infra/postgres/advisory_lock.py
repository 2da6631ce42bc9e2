"""Advisory locks of a session: one process at a time does a work that others may do as well."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from codewell.infra.postgres.connection import Connection


@asynccontextmanager
async def try_lock(connection: Connection, lock: tuple[int, int]) -> AsyncIterator[bool]:
    """Hold `lock` during the block if no other session has it; yields whether it is held. Raises what asyncpg raises.

    A connection that was lost has lost the lock with it. One that can't give the lock up is closed: a pool would keep
    both.
    """
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *lock):
        yield False
        return
    try:
        yield True
    finally:
        if not connection.is_closed():
            try:
                await connection.execute("SELECT pg_advisory_unlock($1, $2)", *lock)
            except BaseException:
                connection.terminate()
                raise
