"""Added attachments match those that the product stores."""

import asyncpg
import pytest

from benchmarks.grown import check_audit
from benchmarks.grown_answers import IdVersion, grow, indexes_afterwards
from codewell.audit.promises import audit
from codewell.errors import CodewellError
from codewell.infra.uuid7 import uuid7
from codewell.programs import overview
from tests.support.old_answers import archive

COUNT = 2_500


async def grown(connection: asyncpg.Connection, version: IdVersion) -> None:
    await grow(connection, "FIRST", COUNT, 0, version, lambda _: None)
    await grow(connection, "SECOND", COUNT, COUNT, version, lambda _: None)


@pytest.mark.parametrize("version", [4, 7])
async def test_the_audit_finds_nothing_wrong(connection: asyncpg.Connection, version: IdVersion) -> None:
    await grown(connection, version)

    assert await audit(connection) == []
    stock = await overview.stock(connection, "SECOND")
    assert (stock.made, stock.attached, stock.pooled) == (COUNT, COUNT, 0)
    assert await connection.fetchval("SELECT count(DISTINCT profile_id) FROM answer") == 2 * COUNT
    ids = [row["request_id"] for row in await connection.fetch("SELECT request_id FROM answer")]
    assert {(one.version, one.variant) for one in ids} == {(version, "specified in RFC 4122")}


async def test_codes_that_have_ended_leave_and_the_audit_finds_nothing_wrong(connection: asyncpg.Connection) -> None:
    await grow(connection, "ENDED", COUNT, 0, 7, lambda _: None, ended=True)
    assert await audit(connection) == []
    assert await archive(connection) == COUNT
    assert await audit(connection) == []


async def test_a_database_that_breaks_a_promise_is_no_success(
    connection: asyncpg.Connection, database_url: str
) -> None:
    await grown(connection, 7)
    await check_audit(database_url)
    await connection.execute("DELETE FROM answer WHERE profile_id = 'p-0000000007'")

    with pytest.raises(CodewellError, match="The grown database breaks I4"):
        await check_audit(database_url)


async def test_ids_of_version_7_are_in_the_order_of_time_and_before_those_of_today(
    connection: asyncpg.Connection,
) -> None:
    await grown(connection, 7)

    rows = await connection.fetch("SELECT request_id FROM answer ORDER BY program_id, block_id, position")
    ids = [row["request_id"] for row in rows]
    assert ids == sorted(ids)
    assert ids[-1] < uuid7()


async def test_a_commit_waits_for_the_disk_again_afterwards(connection: asyncpg.Connection) -> None:
    await grown(connection, 7)

    assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_indexes_that_are_built_afterwards_have_all_answers_and_those_to_come(
    connection: asyncpg.Connection,
) -> None:
    async with indexes_afterwards(connection, lambda _: None):
        await grow(connection, "FIRST", COUNT, 0, 7, lambda _: None)
        assert await connection.fetchval("SELECT pg_indexes_size('answer')") < COUNT

    assert await audit(connection) == []
    await grow(connection, "SECOND", COUNT, COUNT, 7, lambda _: None)
    await connection.execute("SET enable_seqscan = off")
    for of in ("request_id IS NOT NULL", "block_id IS NOT NULL AND NOT again AND position >= 0"):
        plan = await connection.fetchval(f"EXPLAIN (FORMAT json) SELECT request_id FROM answer WHERE {of}")
        assert '"Index Name"' in plan
        assert await connection.fetchval(f"SELECT count(request_id) FROM answer WHERE {of}") == 2 * COUNT
    with pytest.raises(asyncpg.UniqueViolationError, match="answer_code_once"):
        await connection.execute("UPDATE answer SET position = 0")
    with pytest.raises(asyncpg.UniqueViolationError, match="answer_once"):
        await connection.execute("UPDATE answer SET request_id = $1", uuid7())
