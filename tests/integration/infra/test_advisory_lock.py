"""Advisory locks of sessions: a connection that goes back to its pool has none any more."""

import asyncio

import asyncpg
import pytest

from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import Connection, Pool
from tests.support.running import until

LOCK = (0x74657374, 1)


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
