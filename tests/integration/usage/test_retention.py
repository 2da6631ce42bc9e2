"""How long figures and rows of workers are kept."""

from codewell.infra.postgres.connection import Connection, pool
from codewell.pool.minter_cache import Minters
from codewell.usage import retention
from tests.support.factories import program
from tests.support.servers import as_role

_FIGURES = """
    INSERT INTO usage_{unit} (program_id, {unit}, source, outcome, number)
    SELECT n, date_trunc('{unit}', now()) - make_interval(days => $1), 'campaign', 'attached', 1
    FROM generate_series(1, $2) n
    """
_WORKER = """
    INSERT INTO worker (id, service, host, pid, version, started_at, report, seen_at, state, waiting_for, counters)
    VALUES (gen_random_uuid(), 'issuer', $1, 1, '1', now(), 1, now() - make_interval(mins => $2), $3, '{}', '{}')
    """


async def test_minutes_are_kept_35_days_and_hours_longer(connection: Connection, database_url: str) -> None:
    for unit, days in (("minute", (0, 34, 36)), ("hour", (0, 36, 799, 801))):
        for age in days:
            await connection.execute(_FIGURES.format(unit=unit), age, 3)
    await connection.execute(
        "INSERT INTO return_minute SELECT $1, date_trunc('minute', now()) - make_interval(days => age), 1 "
        "FROM unnest('{0,34,36}'::integer[]) AS age",
        (await program(connection, Minters(None))).id,
    )
    async with pool(as_role(database_url, "generator"), "codewell-test", 1) as own, own.acquire() as generator:
        assert await retention.delete_old(generator) == 7

    assert await connection.fetchval("SELECT count(*) FROM usage_minute") == 6
    assert await connection.fetchval("SELECT count(*) FROM usage_hour") == 9
    assert await connection.fetchval("SELECT count(*) FROM return_minute") == 2


async def test_one_call_deletes_a_bounded_number(connection: Connection) -> None:
    await connection.execute(_FIGURES.format(unit="minute"), 36, 3 * retention.ROWS_MAX * retention._ROUNDS_MAX // 2)

    assert await retention.delete_old(connection) == retention.ROWS_MAX * retention._ROUNDS_MAX
    assert await retention.delete_old(connection) == retention.ROWS_MAX * retention._ROUNDS_MAX // 2


async def test_workers_that_are_gone_are_removed_after_a_while(connection: Connection) -> None:
    rows = (("now", 0, "running"), ("stopped", 5, "stopped"), ("lost", 23 * 60, "running"),
            ("long stopped", 11, "stopped"), ("long lost", 25 * 60, "stopping"))  # fmt: skip
    for row in rows:
        await connection.execute(_WORKER, *row)

    await retention.delete_old(connection)

    left = await connection.fetch("SELECT host FROM worker")
    assert {row["host"] for row in left} == {"now", "stopped", "lost"}
