"""A change of many codes is killed again and again, and so is its undo: each ends with exactly its effect, once."""

import asyncio
import itertools
import random
import signal
import sys
from uuid import UUID

import pytest

from codewell.audit.audit_log import Actor
from codewell.audit.promises import audit
from codewell.codes import bulk
from codewell.codes.bulk import NewChange
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import assigned
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from schemas.changes import ChangeFilter
from tests.support.commands import environment
from tests.support.factories import OFF, program
from tests.support.seeded_random import seeded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by signal")

ATTACHED, POOLED, KILLS = 20_000, 30_000, 4
PERSON = Actor("command", "somebody")
TIMEOUT_S = 60.0
POLL_S = 0.002
_CHILD = """
import asyncio, sys, uuid
import asyncpg
from codewell.codes import bulk_apply

async def work():
    connection = await asyncpg.connect(sys.argv[1])
    await bulk_apply.carry_out(connection, uuid.UUID(sys.argv[2]), lambda _: None)

asyncio.run(work())
"""


async def start(url: str, change_id: UUID) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", _CHILD, url, str(change_id), env=environment())


async def killed(connection: Connection, url: str, change_id: UUID, column: str, chance: random.Random) -> None:
    """Let a process do a part of the work, and kill it at any moment of a chunk."""
    sql = f"SELECT {column} FROM bulk_change WHERE id = $1"
    before = await connection.fetchval(sql, change_id)
    process = await start(url, change_id)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while await connection.fetchval(sql, change_id) == before:
                assert process.returncode is None, "it ended by itself"
                await asyncio.sleep(POLL_S)
        await asyncio.sleep(chance.uniform(0, 0.1))
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await audit(connection) == []


async def test_i4_a_change_that_is_killed_again_and_again(connection: Connection, database_url: str) -> None:
    chance, minters = seeded(), Minters(None)
    spring = await program(connection, minters, **OFF, codes_max=100_000)
    ids = (UUID(int=n << 80 | 0x7 << 76 | 0b10 << 62) for n in itertools.count(1))
    await assigned.generate_for(connection, minters, spring.id, [f"p-{n}" for n in range(ATTACHED)], ids, None)
    await generate(connection, minters, spring.id, POOLED, None)
    async with connection.transaction():
        change = NewChange(void=True, expires_at=None)
        begun = await bulk.start(connection, uuid7(), spring.id, "SPRING", ChangeFilter(), change, PERSON)

    for _ in range(KILLS):
        await killed(connection, database_url, begun.id, "done", chance)
    assert await (await start(database_url, begun.id)).wait() == 0

    now, done = await overview.stock(connection, "SPRING"), await bulk.get(connection, begun.id)
    assert (now.pooled, now.attached, now.deleted) == (0, 0, ATTACHED + POOLED)
    assert (done.state, done.changed, done.done) == ("done", ATTACHED + POOLED, ATTACHED + POOLED)
    await bulk.undo(connection, begun.id, PERSON)
    for _ in range(KILLS):
        await killed(connection, database_url, begun.id, "restored", chance)
    assert await (await start(database_url, begun.id)).wait() == 0
    now, done = await overview.stock(connection, "SPRING"), await bulk.get(connection, begun.id)
    assert (now.pooled, now.attached, now.deleted) == (POOLED, ATTACHED, 0)
    assert (done.state, done.restored) == ("undone", ATTACHED + POOLED)
    assert await audit(connection) == []
