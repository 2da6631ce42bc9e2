"""Freed pages lose their filters of profiles until they are full again, also after each vacuum."""

from pathlib import Path
from uuid import uuid4

from codewell.archiving import filters
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from tests.integration.archiving.test_leaving import given, old, stocked
from tests.support.factories import message
from tests.support.old_answers import age, archive
from tests.support.running import until


async def makes_filter(connection: Connection) -> bool:
    """Makes the filter of the first pages, and says whether there was none."""
    return bool(await connection.fetchval("SELECT brin_summarize_range('answer_profile', 0)"))


async def vacuum(connection: Connection) -> None:
    counted = "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'answer'"
    before = await connection.fetchval(counted)
    await connection.execute("VACUUM answer")

    async def is_counted() -> bool:
        return bool(await connection.fetchval(counted) > before)

    await until(is_counted, "vacuum")


async def test_freed_pages_have_no_filter_until_they_are_full_again(
    connection: Connection, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    await stocked(connection, minters, 40)
    # The last page has to stay, else the vacuum would cut it off.
    await given(claims, [*old(20), message("SPRING", request_id=uuid4())])
    await age(connection)
    assert not await makes_filter(connection)
    assert await filters.drop(connection) == 0
    # With a generator's rights.
    await connection.execute("SET ROLE codewell_generator")
    assert await archive(connection, tmp_path) == 20
    assert await connection.fetch("SELECT number, answers FROM freed_range") == [(0, 21)]

    assert await filters.drop(connection) == 1
    await connection.execute("RESET ROLE")
    assert await makes_filter(connection)
    # Only a vacuum makes them anew.
    assert await filters.drop(connection) == 0
    await vacuum(connection)
    assert await filters.drop(connection) == 1
    assert await makes_filter(connection)

    await stocked(connection, minters, 40, "SUMMER")
    await given(claims, [message("SUMMER", profile_id=f"n-{number}") for number in range(19)])
    await vacuum(connection)
    assert await filters.drop(connection) == 1
    assert not await makes_filter(connection)
    assert await connection.fetchval("SELECT count(*) FROM freed_range") == 0
