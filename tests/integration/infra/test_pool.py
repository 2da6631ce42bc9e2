"""Connections that come back to the pool."""

import asyncpg
import pytest

from codewell.infra.postgres.connection import Connection, pool

_OPEN = "SELECT xact_start FROM pg_stat_activity WHERE application_name = 'codewell-pool'"


async def test_a_statement_that_breaks_off_leaves_no_transaction(database_url: str, bystander: Connection) -> None:
    """Its value is refused after it was prepared, as when its task is cancelled between the two."""
    async with pool(database_url, "codewell-pool", 1) as connections:
        with pytest.raises(asyncpg.DataError):
            async with connections.acquire() as connection:
                await connection.fetchval("SELECT $1::integer", "one")
        assert [row["xact_start"] for row in await bystander.fetch(_OPEN)] == [None]

        async with (
            connections.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            assert await connection.fetchval("SELECT 1") == 1
