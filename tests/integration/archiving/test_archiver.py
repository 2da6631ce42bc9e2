"""The generator's work on old answers: when it waits, and that it leaves nothing to do."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from codewell.archiving import horizon
from codewell.archiving.archive_folder import FolderUnavailable
from codewell.audit.promises import audit
from codewell.errors import SchemaMismatch
from codewell.infra.postgres import migrations
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.telemetry.health import Health
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from services.generator.archiver import LOCK, WAITING, Archiver
from services.generator.figures import GeneratorFigures
from services.generator.settings import GeneratorSettings
from tests.integration.archiving.test_leaving import given, old, remaining, stocked
from tests.support.old_answers import RETENTION_DAYS, age
from tests.support.stream_log import StreamLog

_WORKER = """
    INSERT INTO worker (id, service, host, pid, version, started_at, report, seen_at, state, waiting_for, counters,
                        schema_version)
    VALUES (gen_random_uuid(), 'issuer', 'h', 1, '0', now(), 1, now() - interval '1 h', $1, '{}', '{}', $2)
    """


def archiver(pool: Pool, **given: Any) -> Archiver:
    settings = GeneratorSettings(
        postgres_url="postgresql://localhost/none",
        kafka_bootstrap="localhost:1",
        retention_days=RETENTION_DAYS,
        **given,
    )
    return Archiver(pool, settings, Health("postgres"), asyncio.Event())


def waiting() -> dict[str, float]:
    return {sample.labels["why"]: sample.value for [metric] in [WAITING.collect()] for sample in metric.samples}


async def test_it_waits_for_workers_that_know_nothing_of_requests_that_are_too_old(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stocked(connection, minters, 10)
    await given(claims, old(10))
    await age(connection)
    one = archiver(connections)
    for state, version in (("running", None), ("stopping", horizon.SCHEMA_MIN - 1)):
        await connection.execute("DELETE FROM worker")
        await connection.execute(_WORKER, state, version)
        await one.look(RETENTION_DAYS)
        assert len(await remaining(connection)) == 10
        assert waiting() == {"earlier_workers": 1, "folder": 0, "database": 0}
        # `codewell doctor` reads it there.
        assert GeneratorFigures()(1.0)["archive_waiting"] == waiting()
        assert await connection.fetchval("SELECT count(*) FROM retention") == 0
    await connection.execute("DELETE FROM worker")
    await connection.execute(_WORKER, "running", horizon.SCHEMA_MIN)
    await connection.execute(_WORKER, "stopped", None)
    await one.look(RETENTION_DAYS)
    assert await remaining(connection) == []
    assert set(waiting().values()) == {0}
    assert await audit(connection) == []

    # None of an earlier release can start any more.
    known = [one for one in migrations.load_migrations() if one.number < horizon.SCHEMA_MIN]
    monkeypatch.setattr(migrations, "load_migrations", lambda: known)
    with pytest.raises(SchemaMismatch, match=f"takes programs of version {horizon.SCHEMA_MIN}"):
        await migrations.check_schema(connection)


async def test_one_generator_works_and_the_others_wait_for_nothing(
    connection: Connection, bystander: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    await stocked(connection, minters, 10)
    await given(claims, old(10))
    await age(connection)
    WAITING.labels("folder").set(1)
    async with try_lock(bystander, LOCK) as is_held:
        assert is_held
        await archiver(connections).look(RETENTION_DAYS)
    assert len(await remaining(connection)) == 10
    assert set(waiting().values()) == {0}


async def test_the_stream_and_the_tables_agree_on_what_has_left(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    log = await StreamLog.begin(connection)
    await stocked(connection, minters, 30)
    await given(claims, old(20))
    await age(connection)
    # One code stays, as something happened to it.
    await connection.execute(
        "INSERT INTO code_state (block_id, position, changed) SELECT block_id, 3, true FROM answer LIMIT 1"
    )
    await archiver(connections, archive_dir=tmp_path / "new").look(RETENTION_DAYS)
    assert len(await remaining(connection)) == 1
    assert len(list((tmp_path / "new").glob("*/block-*-0-*.csv.gz"))) == 1
    folds = tmp_path / "folds"
    folds.mkdir()
    assert await log.differences(connection, folds, with_times=False) == []


async def test_nothing_leaves_where_the_folder_cannot_be_written(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    await stocked(connection, minters, 10)
    await given(claims, old(10))
    await age(connection)
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnavailable, match=r"file \((Not a directory|File exists)\): make it writable"):
        await archiver(connections, archive_dir=tmp_path / "file").look(RETENTION_DAYS)
    assert len(await remaining(connection)) == 10
    assert await audit(connection) == []
