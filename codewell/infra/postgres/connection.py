"""Open connections with a limit on everything: connecting, a statement, a lock, an idle transaction."""

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from codewell.errors import NotTrusted, StackUnavailable
from codewell.infra.postgres.hosts import connect

CLOSE_TIMEOUT_S: Final = 2.0
COMMAND_TIMEOUT_S: Final = 60.0
# In workers. Past it a statement is cancelled, and where nothing is said to that either for as long again, its
# connection is given up: so that all is well a minute after a network came back that had swallowed what was sent.
# Longer than a lock is waited for.
WORKER_COMMAND_TIMEOUT_S: Final = 20.0
# For a connection that is free, or can be made.
ACQUIRE_TIMEOUT_S: Final = 15.0
_START_PAUSE_S: Final = 0.2
LOCK_TIMEOUT_MS: Final = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 15_000

# What OpenSSL says of a certificate that is good, but of another name or another address.
_HOST_MISMATCH_CODES: Final = (62, 64)

Connection: TypeAlias = asyncpg.Connection

# What asyncpg raises when the server is away, starting, stopping, full, or has turned into a read-only standby.
UNAVAILABLE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # The server's last words came while the connection was idle, and it is not yet known to be closed; or it takes no
    # writes.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    # Its connections, its memory, its disk.
    asyncpg.InsufficientResourcesError,
    # Its files.
    asyncpg.PostgresSystemError,
    # While it is being moved or set up: the new place has no such database yet, or doesn't know our password.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)

# The classes of errors (the beginning of their SQLSTATE) whose sentence is about the server and holds nothing of ours.
_SERVER_ERROR_CLASSES: Final = ("08", "25", "28", "3D", "53", "55", "57", "58")


def outage_reason(error: BaseException) -> str:
    """What to say of an error while the database is waited for: no code, no profile id and no password is in it."""
    name, said = type(error).__name__, str(error).partition("\n")[0]
    state = getattr(error, "sqlstate", None)
    if isinstance(error, asyncpg.PostgresError) and state is not None:
        return f"{name} ({state}): {said}" if state.startswith(_SERVER_ERROR_CLASSES) else f"{name} ({state})"
    return f"{name}: {said}" if isinstance(error, OSError) and said else name


class Pool(asyncpg.Pool):
    """A pool whose waits have a limit, and which keeps no connection that was found dead with another."""

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection for as long as the block runs. Raises what asyncpg raises.

        After a fail-over, connections to what is now a standby look alive and refuse every write; behind a network
        that is gone they look alive and say nothing. Where one of them shows it, all are made anew.
        """
        try:
            opened = await super().acquire(timeout=ACQUIRE_TIMEOUT_S)
        except TimeoutError as error:
            raise TimeoutError("no connection could be had in time") from error
        try:
            yield opened
        except (TimeoutError, asyncpg.ReadOnlySQLTransactionError):
            await self.expire_connections()
            raise
        finally:
            await self.release(opened)


async def _skip_reset(_: Connection) -> None:
    """Skip the reset on release: no code here changes a session for longer than a transaction."""


@asynccontextmanager
async def pool(
    url: str,
    application_name: str,
    connections_max: int,
    init: Callable[[Connection], Awaitable[None]] | None = None,
) -> AsyncIterator[Pool]:
    """A pool that connects when it is first used; `init` is called once for each connection.

    Raises nothing itself; its users see what asyncpg raises (`UNAVAILABLE_ERRORS` while the database is away).
    """
    opened = Pool(
        url,
        min_size=0,
        max_size=connections_max,
        # They are good for ever.
        max_queries=sys.maxsize,
        init=init,
        reset=_skip_reset,
        # The generator counts workers by their connections, idle ones too.
        max_inactive_connection_lifetime=0,
        connect=connect,
        loop=None,
        connection_class=Connection,
        record_class=asyncpg.Record,
        command_timeout=WORKER_COMMAND_TIMEOUT_S,
        server_settings=_server_settings(application_name),
    )
    await opened
    try:
        yield opened
    finally:
        # A server that has stopped answering would block the close: after the timeout its connections are cut.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(opened.close(), CLOSE_TIMEOUT_S)


@asynccontextmanager
async def connection(url: str, application_name: str) -> AsyncIterator[Connection]:
    """One connection for one command. Raises StackUnavailable, in words for a person."""
    try:
        opened = await connect(
            url,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_server_settings(application_name),
        )
    except UNAVAILABLE_ERRORS as error:
        raise _connect_error(address_of(url), error) from error
    try:
        yield opened
    finally:
        # What was to be done is done, or has its own error.
        with contextlib.suppress(*UNAVAILABLE_ERRORS):
            await asyncio.shield(opened.close(timeout=CLOSE_TIMEOUT_S))


async def wait_until_up(
    url: str, application_name: str, timeout_s: float, check: Callable[[Connection], Awaitable[None]]
) -> None:
    """Wait until Postgres answers and `check` is content, or raise what was wrong last (StackUnavailable).

    What waiting does not mend, NotTrusted, is raised at once.
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
        except UNAVAILABLE_ERRORS as error:
            if time.monotonic() + _START_PAUSE_S > deadline:
                raise _connect_error(address_of(url), error) from error
        await asyncio.sleep(_START_PAUSE_S)


def address_of(url: str) -> str:
    """Hosts, ports and database of a URL, without its user and password."""
    parts = urlsplit(url)
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


def _server_settings(application_name: str) -> dict[str, str]:
    return {
        "application_name": application_name,
        "timezone": "UTC",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        # A worker that is stopped in the middle of a claim must not keep its blocks from the others for ever.
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        # A machine that is gone without a word lets go within a minute of what its sessions hold (an import, say).
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "jit": "off",
    }
