"""The advisory lock that separates what all requests must agree on from transactions that decide requests."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeVar

import asyncpg

from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import Connection

# Each transaction that decides requests, or copies a profile's id from one row to another, holds it in shared mode from
# before its first read to its end. Who forgets a profile, or lets old answers leave, takes it in exclusive mode, so
# that each request is decided entirely before or after that moment.
DECIDING_LOCK: Final = (0x636F6465, 1)
_LOCK_SHARED: Final = f"SELECT pg_advisory_xact_lock_shared({DECIDING_LOCK[0]}, {DECIDING_LOCK[1]})"
_LOCK_EXCLUSIVE: Final = "SELECT pg_advisory_xact_lock($1, $2)"
# New requests wait while this waits for those being decided, so it gives up early and retries later.
_LOCK_TIMEOUT_MS: Final = 200
_ATTEMPTS_MAX: Final = 20
_PAUSE_S: Final = 0.2

_DECIDING: Final = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid = $1::bigint::oid AND objid = $2::bigint::oid AND pid <> pg_backend_pid()
    """
_POLL_S: Final = 0.005

_BEGIN: Final = f"BEGIN; {_LOCK_SHARED}"
_T = TypeVar("_T")


async def hold_deciding_lock(connection: Connection) -> None:
    """Hold DECIDING_LOCK to the transaction's end; call it before a transaction that stores profiles reads anything."""
    await connection.execute(_LOCK_SHARED)


async def hold_exclusively(connection: Connection) -> None:
    """Hold DECIDING_LOCK in exclusive mode to the transaction's end: no request is being decided meanwhile.

    From here on the transaction waits for no lock longer than _LOCK_TIMEOUT_MS: run it by `until_held`.
    """
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", str(_LOCK_TIMEOUT_MS))
    await connection.execute(_LOCK_EXCLUSIVE, *DECIDING_LOCK)


async def until_held(transaction: Callable[[], Awaitable[_T]]) -> _T:
    """Run a transaction, which may call `hold_exclusively`, again until it has waited for no lock too long.

    Raises StackUnavailable if requests are being decided without a pause.
    """
    for _ in range(_ATTEMPTS_MAX):
        try:
            return await transaction()
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311  jitter, not security
    raise StackUnavailable("Too many requests are being decided: try again in a moment.")


async def run_exclusively(connection: Connection, *statement: object) -> datetime:
    """Run a statement, with its parameters, while no request is being decided.

    Returns the moment that separates earlier requests from later ones. Raises StackUnavailable as `until_held` does.
    """

    async def run() -> datetime:
        async with connection.transaction():
            await hold_exclusively(connection)
            if statement:
                sql, *parameters = statement
                await connection.execute(str(sql), *parameters)
            moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return moment

    return await until_held(run)


async def wait_for_deciding(connection: Connection) -> None:
    """Wait until the transactions that decide requests at this moment, or wait to, have ended. Later ones are not kept
    waiting.

    Call it outside of a transaction. One that is idle is ended by the server, so the wait has an end.
    """
    going = set(await connection.fetch(_DECIDING, *DECIDING_LOCK))
    while going:
        await asyncio.sleep(_POLL_S)
        going.intersection_update(await connection.fetch(_DECIDING, *DECIDING_LOCK))


@asynccontextmanager
async def deciding(connection: Connection) -> AsyncIterator[None]:
    """A transaction that holds DECIDING_LOCK. Both begin in one round trip, which asyncpg's own transactions do not."""
    try:
        await connection.execute(_BEGIN)
        yield
        await connection.execute("COMMIT")
    except BaseException:
        if connection.is_in_transaction() and not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
