"""Open connections with a limit on everything: connecting, a statement, a lock, an idle transaction."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from services.errors import NotTrusted, StackUnavailable

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
COMMAND_TIMEOUT_S: Final = 60.0
START_PAUSE_S: Final = 0.2
LOCK_TIMEOUT_MS: Final = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 15_000

# What OpenSSL says of a certificate that is good, but of another name or another address.
_OTHER_NAME: Final = (62, 64)

Pool: TypeAlias = asyncpg.Pool
Connection: TypeAlias = asyncpg.Connection

# What asyncpg raises when the server is away, starting, stopping, or has turned into a read-only standby.
UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # The server's last words came while the connection was idle, and it is not yet known to be closed.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
)


async def _keep_as_is(_: Connection) -> None:
    """Nothing here changes a session for more than a transaction, so nothing is to be reset when it is given back."""


@asynccontextmanager
async def pool(
    url: str,
    application_name: str,
    connections_max: int,
    init: Callable[[Connection], Awaitable[None]] | None = None,
) -> AsyncIterator[Pool]:
    """A pool that connects when it is first used; `init` is called once for each connection.

    Raises nothing itself; its users see what asyncpg raises (`UNAVAILABLE` while the database is away).
    """
    opened = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=connections_max,
        init=init,
        reset=_keep_as_is,
        # The generator counts workers by their connections, idle ones too.
        max_inactive_connection_lifetime=0,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=_server_settings(application_name),
    )
    await opened
    try:
        yield opened
    finally:
        # A server that has stopped answering is not said goodbye to: then its connections are cut.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(opened.close(), CLOSE_TIMEOUT_S)


async def forget_read_only(opened: Pool, error: BaseException) -> None:
    """After a fail-over, connections to what is now a standby look alive and refuse every write: connect anew."""
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        await opened.expire_connections()


@asynccontextmanager
async def connection(url: str, application_name: str) -> AsyncIterator[Connection]:
    """One connection for one command. Raises StackUnavailable, in words for a person."""
    try:
        opened = await asyncpg.connect(
            url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_server_settings(application_name),
        )
    except (*UNAVAILABLE, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise _why_not(place(url), error) from error
    try:
        yield opened
    finally:
        await asyncio.shield(opened.close(timeout=CONNECT_TIMEOUT_S))


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
            if not error.retriable or time.monotonic() + START_PAUSE_S > deadline:
                raise
        await asyncio.sleep(START_PAUSE_S)


def place(url: str) -> str:
    """Hosts, ports and database of a URL, without its user and password."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def _why_not(where: str, error: Exception) -> StackUnavailable:
    match error:
        case ssl.SSLCertVerificationError() if error.verify_code in _OTHER_NAME:
            return NotTrusted(
                f"Postgres at {where} has a certificate for another name ({error.verify_message.rstrip('.')}): call it "
                "by the name that is in its certificate, in CODEWELL_POSTGRES_URL."
            )
        case ssl.SSLCertVerificationError():
            return NotTrusted(
                f"Postgres at {where} has a certificate that is not trusted ({error.verify_message}): set sslrootcert "
                "in CODEWELL_POSTGRES_URL to the certificate of its authority."
            )
        case ssl.SSLError():
            return StackUnavailable(
                f"TLS with Postgres at {where} fails ({error}): look at sslrootcert, sslcert and sslkey in "
                "CODEWELL_POSTGRES_URL, which must be files in PEM."
            )
        case asyncpg.ClientConfigurationError():
            return NotTrusted(f"CODEWELL_POSTGRES_URL is not right ({error.args[0]}): set it to what Postgres takes.")
        case asyncpg.InvalidAuthorizationSpecificationError():
            return NotTrusted(
                f"Postgres at {where} does not let us in ({error}): look at the user, the password and, if it asks for "
                "them, sslmode and sslcert in CODEWELL_POSTGRES_URL."
            )
        case _:
            return StackUnavailable(
                f"Postgres can't be reached at {where} ({str(error) or type(error).__name__}): "
                "start it, or set CODEWELL_POSTGRES_URL to where it is."
            )


def _server_settings(application_name: str) -> dict[str, str]:
    return {
        "application_name": application_name,
        "timezone": "UTC",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        # A worker that is stopped in the middle of a claim must not keep its blocks from the others for ever.
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "jit": "off",
    }
