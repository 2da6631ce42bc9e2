"""Locks of migrations: one migration at a time, and none that makes requests wait for longer than two seconds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, TypeVar

import asyncpg

from codewell.errors import SchemaLocked
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection

T = TypeVar("T")

# Requests that come after it wait behind a migration that waits for a lock.
LOCK_TIMEOUT_S: Final = 2.0
LOCK_ATTEMPTS_MAX: Final = 20
LOCK_PAUSE_S: Final = 2.0
# For the build of an index beside writers: nothing waits behind it.
INDEX_LOCK_TIMEOUT_S: Final = 600.0
# For another run of migrations, which may build a large index.
RUN_TIMEOUT_S: Final = 6 * 3600.0
STATEMENT_TIMEOUT_S: Final = 24 * 3600.0
_RUN_POLL_S: Final = 0.2
_LOOK_INTERVAL_S: Final = 0.25
# An arbitrary number that no other application uses in this database.
_ADVISORY_LOCK: Final = 0x636F_6465_7765_6C6C >> 1

_HOLDERS: Final = """
    SELECT pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown'), a.usename, a.state,
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8
    FROM unnest(pg_blocking_pids($1)) AS pid LEFT JOIN pg_stat_activity a USING (pid) ORDER BY pid
    """
# Of the run that holds the advisory lock.
_RUNNING: Final = """
    SELECT a.pid, a.application_name, a.usename, a.state,
        extract(epoch FROM clock_timestamp() - a.backend_start)::float8
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
        AND (l.classid::bigint << 32) | l.objid::bigint = $1
    """


class Holder(NamedTuple):
    """A session whose lock somebody waits for. What its user may not see is None."""

    pid: int
    """0: a prepared transaction, which has no session."""
    application: str
    user: str | None
    state: str | None
    since_s: float | None

    def __str__(self) -> str:
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        facts = [f"user {self.user}"] if self.user else []
        facts += [self.state] if self.state else []
        facts += [f"for {self.since_s:.0f} s"] if self.since_s is not None else []
        return f"process {self.pid} ({', '.join([self.application, *facts])})"


def listed(holders: Sequence[Holder]) -> str:
    """The holders as the subject of a sentence."""
    return " and ".join(map(str, holders)) or "a session that pg_locks and pg_stat_activity show"


@asynccontextmanager
async def alone(connection: Connection) -> AsyncIterator[None]:
    """Wait until no other session is in this block, then run it.

    It asks again and again: a statement that waits has a snapshot, and the build of an index beside writers waits for
    all older snapshots, so that each would wait for the other.

    Raises SchemaLocked if the other one has not ended after RUN_TIMEOUT_S.
    """
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _ADVISORY_LOCK):
        if time.monotonic() > deadline:
            running = [Holder(*row) for row in await connection.fetch(_RUNNING, _ADVISORY_LOCK)]
            raise SchemaLocked(
                f"Another codewell migrate has not ended: {listed(running)}. Wait for it, or end it with "
                "pg_terminate_backend, and run codewell migrate again."
            )
        await asyncio.sleep(_RUN_POLL_S)
    try:
        yield
    finally:
        # A connection that is lost has lost the lock too.
        with suppress(*UNAVAILABLE_ERRORS):
            await connection.execute("SELECT pg_advisory_unlock($1)", _ADVISORY_LOCK)


async def in_transaction(
    connection: Connection, observer: Connection | None, what: str, work: Callable[[], Awaitable[T]]
) -> T:
    """Do the work in a transaction whose statements wait for a lock LOCK_TIMEOUT_S at most, and again if one had to.

    `observer` is another connection of the same user, which sees who holds the lock.

    Raises SchemaLocked after LOCK_ATTEMPTS_MAX attempts.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            async with _watched(connection, observer) as holders, connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_S * 1000:.0f}")
                await connection.execute("SET LOCAL statement_timeout = 0")
                return await work()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if attempt >= LOCK_ATTEMPTS_MAX:
                raise SchemaLocked(
                    f"{what} was not applied: its lock could not be had in {attempt} attempts of {LOCK_TIMEOUT_S:g} s. "
                    f"It is held by {listed(holders)}. Wait for that, or end it with pg_terminate_backend, and run "
                    "codewell migrate again."
                ) from error
        await asyncio.sleep(LOCK_PAUSE_S)


@asynccontextmanager
async def outside_transactions(connection: Connection, observer: Connection | None, what: str) -> AsyncIterator[None]:
    """Run a block that builds an index beside writers. It waits INDEX_LOCK_TIMEOUT_S at most for a transaction.

    Raises SchemaLocked if one of them has not ended then.
    """
    await connection.execute(f"SET lock_timeout = {INDEX_LOCK_TIMEOUT_S * 1000:.0f}")
    await connection.execute("SET statement_timeout = 0")
    try:
        async with _watched(connection, observer) as holders:
            yield
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise SchemaLocked(
            f"{what} was not applied: a transaction did not end in {INDEX_LOCK_TIMEOUT_S:g} s, that of "
            f"{listed(holders)}. Wait for that, or end it with pg_terminate_backend, and run codewell migrate again, "
            "which removes what is left of the index and builds it."
        ) from error
    finally:
        with suppress(*UNAVAILABLE_ERRORS):
            await connection.execute("RESET lock_timeout")
            await connection.execute("RESET statement_timeout")


@asynccontextmanager
async def _watched(connection: Connection, observer: Connection | None) -> AsyncIterator[list[Holder]]:
    """During the block, keep the list up to date: whom the connection's statement waits for, or waited for last."""
    holders: list[Holder] = []
    if observer is None:
        yield holders
        return
    pid = connection.get_server_pid()

    async def watch() -> None:
        with suppress(*UNAVAILABLE_ERRORS, asyncpg.PostgresError):
            while True:
                if found := [Holder(*row) for row in await observer.fetch(_HOLDERS, pid)]:
                    holders[:] = found
                await asyncio.sleep(_LOOK_INTERVAL_S)

    watching = asyncio.create_task(watch())
    try:
        yield holders
    finally:
        watching.cancel()
        await asyncio.wait((watching,))
