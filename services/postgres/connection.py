"""Open connections with a limit on everything: connecting, a statement, a lock, an idle transaction."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from services.errors import StackUnavailable

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
COMMAND_TIMEOUT_S: Final = 60.0
START_PAUSE_S: Final = 0.2
LOCK_TIMEOUT_MS: Final = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 15_000

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
        raise StackUnavailable(
            f"Postgres can't be reached at {place(url)} ({str(error) or type(error).__name__}): "
            "start it, or set CODEWELL_POSTGRES_URL to where it is."
        ) from error
    try:
        yield opened
    finally:
        await asyncio.shield(opened.close(timeout=CONNECT_TIMEOUT_S))


async def wait_until_up(
    url: str, application_name: str, timeout_s: float, check: Callable[[Connection], Awaitable[None]]
) -> None:
    """Wait until Postgres answers and `check` is content, or raise what was wrong last (StackUnavailable)."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            async with connection(url, application_name) as opened:
                await check(opened)
                return
        except StackUnavailable:
            if time.monotonic() + START_PAUSE_S > deadline:
                raise
        await asyncio.sleep(START_PAUSE_S)


def place(url: str) -> str:
    """Hosts, ports and database of a URL, without its user and password."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def _server_settings(application_name: str) -> dict[str, str]:
    return {
        "application_name": application_name,
        "timezone": "UTC",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        # A worker that is stopped in the middle of a claim must not keep its blocks from the others for ever.
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "jit": "off",
    }
