"""The stream when its database changes: a standby that has the slot takes over, and a slot that is lost to a limit."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from codewell.infra.postgres.connection import Pool, pool
from codewell.issuing.claim import Claims
from codewell.lifecycle import slot
from codewell.pool.minter_cache import Minters
from tests.integration.healing.standby_pair import Pair, pair
from tests.integration.lifecycle.test_stream_audit import check, live, stream
from tests.support.running import until
from tests.support.servers import IN_CONTAINERS, with_database

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="a container's data directory is not ours to copy")

_HAS_SLOTS = {
    "sync_replication_slots": "on", "hot_standby_feedback": "on", "primary_slot_name": "standby",
    "max_slot_wal_keep_size": "64MB",
}  # fmt: skip
_SYNCED = "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary AND invalidation_reason IS NULL"
_EPOCH = "SELECT epoch, reason FROM lifecycle_progress"


async def test_i11_a_standby_with_the_slot_goes_on_and_a_lost_slot_begins_an_epoch(
    tmp_path: Path, kafka_bootstrap: str, prefix: str
) -> None:
    async with pair(tmp_path, _HAS_SLOTS) as servers:
        name = await servers.database()
        async with pool(with_database(servers.primary.url, name), "codewell-test", 4) as connections:
            async with stream(connections, kafka_bootstrap, prefix):
                await give(connections, "BEFORE")
                assert (await check(connections, kafka_bootstrap, prefix)).is_clean
                await until_standby_has_slot(servers, connections)
            # Committed, and not published.
            await give(connections, "BETWEEN")
        await servers.fail_over()
        async with pool(with_database(servers.standby.url, name), "codewell-test", 4) as connections:
            async with stream(connections, kafka_bootstrap, prefix):
                await give(connections, "AFTER")
                verdict = await check(connections, kafka_bootstrap, prefix)
            assert verdict.is_clean, verdict
            async with connections.acquire() as connection:
                assert tuple(await connection.fetchrow(_EPOCH)) == (1, "switched_on")
                # Nobody reads, as while Kafka is away, until the log is larger than it may be.
                await exceed_limit(connection)
            await give(connections, "UNSEEN")
            async with stream(connections, kafka_bootstrap, prefix):
                verdict = await check(connections, kafka_bootstrap, prefix)
            assert verdict.is_clean, verdict
            async with connections.acquire() as connection:
                assert tuple(await connection.fetchrow(_EPOCH)) == (2, "slot_lost")


async def give(connections: Pool, name: str) -> None:
    minters = Minters(None)
    async with connections.acquire() as connection:
        await live(connection, minters, Claims(connections, minters), name)


async def until_standby_has_slot(servers: Pair, connections: Pool) -> None:
    standby = await asyncpg.connect(servers.standby.url)

    async def has_slot() -> bool:
        async with connections.acquire() as connection:
            await slot.mark(connection)
        await asyncio.sleep(0.2)
        return bool(await standby.fetchval(_SYNCED))

    await until(has_slot, "slot on the standby", timeout_s=60)
    await standby.close()


async def exceed_limit(connection: asyncpg.Connection) -> None:
    """Let Postgres remove log that the slot needs, as it is over max_slot_wal_keep_size."""
    name = await slot.slot_name(connection)

    async def is_lost() -> bool:
        await connection.execute("SELECT pg_logical_emit_message(false, 'codewell', 'more'), pg_switch_wal()")
        await connection.execute("CHECKPOINT")
        status = await slot.status(connection, name)
        return status is not None and status.is_lost

    await until(is_lost, "slot that is lost")
