"""Opens connections with timeouts on everything: connecting, a statement, a lock, an idle transaction."""

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import asyncpg

from codewell.errors import NotTrusted, StackUnavailable
from codewell.infra.config.urls import split_postgres_url
from codewell.infra.postgres.hosts import connect

CLOSE_TIMEOUT_S: Final = 2.0
COMMAND_TIMEOUT_S: Final = 60.0
# In workers. After it asyncpg cancels the statement, and after the same time again without an answer it drops the
# connection: so workers recover within a minute of a network failure that dropped packets. Longer than the lock
# timeout.
WORKER_COMMAND_TIMEOUT_S: Final = 20.0
# For a free or new connection from the pool.
ACQUIRE_TIMEOUT_S: Final = 15.0
_START_PAUSE_S: Final = 0.2
LOCK_TIMEOUT_MS: Final = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 15_000

# OpenSSL's errors for a valid certificate with another name or address.
_HOST_MISMATCH_CODES: Final = (62, 64)

Connection: TypeAlias = asyncpg.Connection

# asyncpg's errors while the server is down, starting, stopping, full, or has become a read-only standby.
UNAVAILABLE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # The server closed an idle connection, and asyncpg has not noticed the end yet; or the server is read-only.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    # The server is out of connections, memory or disk space.
    asyncpg.InsufficientResourcesError,
    # The server fails to access its files.
    asyncpg.PostgresSystemError,
    # During a move or set-up: the new server does not have this database or this password yet.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)

# Errors of a statement that may pass when it runs again: others held its locks, or it took too long.
CONTENTION_ERRORS: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.SerializationError,
)

# Error classes (the first two characters of SQLSTATE) whose messages are about the server and contain none of our data.
_SERVER_ERROR_CLASSES: Final = ("08", "25", "28", "3D", "53", "55", "57", "58")


def outage_reason(error: BaseException) -> str:
    """The reason to report while the database is unavailable, without a code, profile id or password."""
    name, said = type(error).__name__, str(error).partition("\n")[0]
    state = getattr(error, "sqlstate", None)
    if isinstance(error, asyncpg.PostgresError) and state is not None:
        return f"{name} ({state}): {said}" if state.startswith(_SERVER_ERROR_CLASSES) else f"{name} ({state})"
    return f"{name}: {said}" if isinstance(error, OSError) and said else name


class Pool(asyncpg.Pool):
    """A pool with a timeout on acquire, which replaces all connections when one of them proves stale."""

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Yield a connection while the block runs. Raises what asyncpg raises.

        After a fail-over, connections to the old primary look alive and refuse every write; after a network failure
        they look alive and never answer. Once one connection shows this, the pool replaces all of them.
        """
        try:
            opened = await super().acquire(timeout=ACQUIRE_TIMEOUT_S)
        except TimeoutError as error:
            raise TimeoutError("no connection could be had in time") from error
        try:
            yield opened
        except BaseException as error:
            if isinstance(error, (TimeoutError, asyncpg.ReadOnlySQLTransactionError)):
                await self.expire_connections()
            await asyncio.shield(self._end_statement_and_release(opened))
            raise
        await self.release(opened)

    async def _end_statement_and_release(self, broken_off: Connection) -> None:
        """End the transaction that asyncpg leaves open when a statement breaks off after it was prepared.

        asyncpg does not know of it and would not roll it back. The connection's next user would see an old now(), or
        could not begin a transaction with an isolation level.
        """
        try:
            # As any query that is sent as text does.
            await broken_off.execute("SELECT")
        except (asyncpg.PostgresError, *UNAVAILABLE_ERRORS):
            # In a transaction that failed, which the release rolls back; or lost, or used by another task.
            pass
        finally:
            await self.release(broken_off)


async def _skip_reset(_: Connection) -> None:
    """Skip the reset on release: no code changes a session for longer than a transaction."""


@asynccontextmanager
async def pool(
    url: str,
    application_name: str,
    connections_max: int,
    init: Callable[[Connection], Awaitable[None]] | None = None,
    statement_timeout_s: float | None = None,
) -> AsyncIterator[Pool]:
    """A pool that connects on first use; `init` is called once for each connection.

    The server cancels a statement after `statement_timeout_s` (s), if given.

    Raises nothing itself; its users see what asyncpg raises (`UNAVAILABLE_ERRORS` while the database is unavailable).
    """
    opened = Pool(
        url,
        min_size=0,
        max_size=connections_max,
        # Connections have no maximum age.
        max_queries=sys.maxsize,
        init=init,
        reset=_skip_reset,
        # The generator counts workers by their connections, including idle ones.
        max_inactive_connection_lifetime=0,
        connect=connect,
        loop=None,
        connection_class=Connection,
        record_class=asyncpg.Record,
        command_timeout=WORKER_COMMAND_TIMEOUT_S,
        server_settings=_server_settings(application_name, statement_timeout_s),
    )
    await opened
    try:
        yield opened
    finally:
        # A server that does not answer would block the close: after the timeout the connections are dropped.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(opened.close(), CLOSE_TIMEOUT_S)


@asynccontextmanager
async def connection(url: str, application_name: str) -> AsyncIterator[Connection]:
    """One connection for one command. Raises StackUnavailable, with a message for users."""
    try:
        opened = await connect(
            url,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_server_settings(application_name),
        )
    except UNAVAILABLE_ERRORS as error:
        raise _connect_error(address_of(url), error) from error
    except asyncpg.PostgresError as error:
        # An option that asyncpg does not know is sent to the server as one of its settings.
        raise NotTrusted(f"CODEWELL_POSTGRES_URL has options that Postgres refuses ({error}): correct them.") from error
    try:
        yield opened
    finally:
        # The command's work is done, or failed with its own error.
        with contextlib.suppress(*UNAVAILABLE_ERRORS):
            await asyncio.shield(opened.close(timeout=CLOSE_TIMEOUT_S))


async def wait_until_up(
    url: str,
    application_name: str,
    timeout_s: float,
    check: Callable[[Connection], Awaitable[None]],
    waits: Callable[[str], None] | None = None,
) -> None:
    """Wait until Postgres answers and `check` passes, or raise the last error (StackUnavailable) after `timeout_s` (s).

    `waits` is called with the reason of each failure. Raises NotTrusted at once, as waiting does not help.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            async with connection(url, application_name) as opened:
                await check(opened)
                return
        except StackUnavailable as error:
            if not error.retriable or time.monotonic() + _START_PAUSE_S > deadline:
                raise
            failed: Exception = error
        except UNAVAILABLE_ERRORS as error:
            if time.monotonic() + _START_PAUSE_S > deadline:
                raise _connect_error(address_of(url), error) from error
            failed = error
        if waits is not None:
            waits(str(failed) if isinstance(failed, StackUnavailable) else outage_reason(failed))
        await asyncio.sleep(_START_PAUSE_S)


def address_of(url: str) -> str:
    """The hosts, ports and database of a URL, without user and password."""
    parts = split_postgres_url(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def _connect_error(where: str, error: Exception) -> StackUnavailable:
    match error:
        case ssl.SSLCertVerificationError() if error.verify_code in _HOST_MISMATCH_CODES:
            return NotTrusted(
                f"The certificate of Postgres at {where} is for another host name "
                f"({error.verify_message.rstrip('.')}): use the name in its certificate in CODEWELL_POSTGRES_URL."
            )
        case ssl.SSLCertVerificationError():
            return NotTrusted(
                f"The certificate of Postgres at {where} is not trusted ({error.verify_message}): set sslrootcert in "
                "CODEWELL_POSTGRES_URL to the certificate of its CA."
            )
        case ssl.SSLError():
            return StackUnavailable(
                f"TLS with Postgres at {where} failed ({error}): check sslrootcert, sslcert and sslkey in "
                "CODEWELL_POSTGRES_URL, which must be PEM files."
            )
        case asyncpg.ClientConfigurationError():
            return NotTrusted(f"CODEWELL_POSTGRES_URL is invalid ({error.args[0]}): correct it.")
        case asyncpg.InvalidAuthorizationSpecificationError():
            return NotTrusted(
                f"Postgres at {where} refused the login ({error}): check the user, the password and, if the server "
                "needs them, sslmode and sslcert in CODEWELL_POSTGRES_URL."
            )
        case _:
            return StackUnavailable(
                f"Cannot reach Postgres at {where} ({str(error) or type(error).__name__}): "
                "start it, or set CODEWELL_POSTGRES_URL to its address."
            )


def _server_settings(application_name: str, statement_timeout_s: float | None = None) -> dict[str, str]:
    own = {} if statement_timeout_s is None else {"statement_timeout": str(int(statement_timeout_s * 1000))}
    return own | {
        "application_name": application_name,
        "timezone": "UTC",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        # A worker that is stopped during a claim must not keep its blocks locked for ever.
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        # Locks of a machine that disappeared (during an import, for example) are released within a minute.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "jit": "off",
    }
