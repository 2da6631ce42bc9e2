"""A console opens connections that have run the statements of batches, before the first request."""

from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.pool.minter_cache import Minters
from services.console.warm_up import warm_up
from services.standalone.ports import LOOPBACK, free_port

# Postgres has planned the reading for good. What a function runs has such plans by its settings.
RUN = """
    SELECT count(*) FILTER (WHERE statement ~ 'use_untouched|claim_known'),
           count(*) FILTER (WHERE statement ~ 'untouched,' AND generic_plans > 0)
    FROM pg_prepared_statements WHERE statement !~ 'pg_prepared'
    """


async def test_connections_are_opened_and_have_planned_what_batches_run(
    connections: Pool, connection: Connection, minters: Minters
) -> None:
    opened = connections.get_size()

    await warm_up(connections, minters)

    assert connections.get_size() == max(opened, 5)
    assert connections.get_idle_size() == connections.get_size()
    async with connections.acquire() as one, connections.acquire() as two:
        for warm in (one, two):
            assert tuple(await warm.fetchrow(RUN) or ()) == (2, 1)
    for table in ("code_state", "code_use", "idempotency", "answer"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_without_a_database_it_is_left_to_the_requests(minters: Minters) -> None:
    async with pool(f"postgresql://codewell@{LOOPBACK}:{free_port()}/codewell", "test", 10) as away:
        await warm_up(away, minters)
        assert away.get_size() == 0
