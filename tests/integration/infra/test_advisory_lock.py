"""Advisory locks of sessions: a connection that goes back to its pool has none any more."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final
from uuid import UUID

import asyncpg
import pytest

from codewell.imports.run import import_lock
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import Connection, Pool
from tests.support.cancelling import CancelledAt
from tests.support.running import until

LOCK = (0x74657374, 1)
IMPORT = UUID(int=1)

TAKE: Final[dict[str, Callable[[Connection], AbstractAsyncContextManager[bool]]]] = {
    "try_lock": lambda connection: try_lock(connection, LOCK),
    "import_lock": lambda connection: import_lock(connection, IMPORT),
    "import_lock_if_free": lambda connection: import_lock(connection, IMPORT, wait=False),
}


async def test_a_lock_ends_with_its_block(connections: Pool, connection: Connection) -> None:
    async with connections.acquire() as pooled, try_lock(pooled, LOCK) as is_held:
        assert is_held
        async with try_lock(connection, LOCK) as is_held_too:
            assert not is_held_too
    async with try_lock(connection, LOCK) as is_held:
        assert is_held


async def test_a_connection_that_cannot_give_it_up_is_closed(connections: Pool, connection: Connection) -> None:
    """As while another task uses it."""
    others: list[asyncio.Future[object]] = []

    async def work() -> None:
        async with connections.acquire() as pooled, try_lock(pooled, LOCK):
            others.append(asyncio.ensure_future(pooled.execute("SELECT pg_sleep(0.3)")))
            await asyncio.sleep(0.1)
            raise ZeroDivisionError

    with pytest.raises(asyncpg.InterfaceError):
        await work()
    await asyncio.wait(others)
    assert others[0].exception() is not None

    async def is_free() -> bool:
        async with try_lock(connection, LOCK) as is_held:
            return is_held

    await until(is_free, "free lock", 5)


@pytest.mark.parametrize("name", TAKE)
async def test_work_that_is_cancelled_at_any_await_keeps_no_lock(
    name: str, connections: Pool, connection: Connection
) -> None:
    take = TAKE[name]

    async def work() -> None:
        async with connections.acquire() as pooled, take(pooled):
            await asyncio.sleep(0)

    async def is_given_up() -> bool:
        return not await connection.fetchval(
            """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        )

    # Connected, and with its statements prepared: all of the work's awaits are its own.
    await work()
    number = 0
    while not await CancelledAt(work(), number):
        await until(is_given_up, f"lock given up after a cancellation at await {number}", 5)
        await work()
        number += 1
    # To take the lock, within the block, and to give the lock up.
    assert number >= 3
