"""A rolling upgrade to the next release under load, and the return to the one before."""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Final

from tests.support.commands import CODEWELL, run_to_end
from torture.copies import copied
from torture.moment import Moment
from torture.site import GENERATORS, ISSUERS, LIFECYCLES, Site

_MIGRATE_LIMIT_S: Final = 120.0
_READY_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.1
# What a next release adds, to tables that the workers of this one write all the time.
_TABLES: Final = ("program", "block", "code_state", "answer", "worker", "usage_minute")
_REPORTS: Final = "SELECT FROM worker WHERE service = $1 AND pid = $2 AND state = 'running'"
_LATEST: Final = "SELECT max(number), clock_timestamp() FROM migration"
# Between two answers, or two batches of answers.
_PAUSE: Final = """
    SELECT coalesce(extract(epoch FROM max(pause)), 0)::float8 FROM (
        SELECT answered_at - lag(answered_at) OVER (ORDER BY answered_at) AS pause FROM answer WHERE answered_at >= $1
    ) AS pauses"""


async def rolling_upgrade(site: Site, _: Moment) -> None:
    """Migrate to a next release while the workers run, and replace them by its workers; then return.

    Issuers, generators and life-cycle workers are replaced beside each other, those of one service one at a time. The
    next release is this one with migrations more, which take this one.
    """
    [[latest, began]] = await site.run_sql(_LATEST)
    later = {"PYTHONPATH": str(_next_release(site, latest))}
    said = await _migrated(site, later)
    assert f"applied {latest + 2:04}_index.sql" in said, said
    await _replaced(site, later)
    await _replaced(site, {})
    said = await _migrated(site, {})
    assert "of a later release, which takes this one" in said, said
    [[pause_s]] = await site.run_sql(_PAUSE, began)
    site.upgrade_pauses_s.append(pause_s)


def _next_release(site: Site, latest: int) -> Path:
    """Write a copy of the product that has two migrations more: wider tables, and an index beside writers."""
    before = sorted(site.directory.glob("release-*/schemas/sql/*_[wi][in]de[rx].sql"))
    directory = copied(site.directory / f"release-{latest + 1}")
    own = directory / "schemas/sql"
    for path in before:
        shutil.copy(path, own)
    wider = "".join(f"ALTER TABLE {table} ADD COLUMN wider_{latest} integer NOT NULL DEFAULT 7;\n" for table in _TABLES)
    index = f"CREATE INDEX CONCURRENTLY answer_wider_{latest} ON answer (wider_{latest});\n"
    (own / f"{latest + 1:04}_wider.sql").write_text(f"-- min_worker: 1\n{wider}")
    (own / f"{latest + 2:04}_index.sql").write_text(f"-- min_worker: 1\n{index}")
    return directory


async def _migrated(site: Site, variables: dict[str, str]) -> str:
    """Run `codewell migrate` until it succeeds, as a supervisor does under another fault; return what it says."""
    async with asyncio.timeout(_MIGRATE_LIMIT_S):
        while True:
            env = {**site.workers.env, "CODEWELL_POSTGRES_URL": site.postgres_url(), **variables}
            said = await run_to_end(*CODEWELL, "migrate", env=env, cwd=site.workers.directory)
            if said.status == 0:
                return said.out
            await asyncio.sleep(_POLL_S)


async def _replaced(site: Site, variables: dict[str, str]) -> None:
    """Replace all workers by those with these variables."""
    async with asyncio.TaskGroup() as group:
        for names in (ISSUERS, GENERATORS, LIFECYCLES):
            group.create_task(_replaced_one_by_one(site, names, variables))


async def _replaced_one_by_one(site: Site, names: tuple[str, ...], variables: dict[str, str]) -> None:
    for name in names:
        site.workers.at_next_start[name] = dict(variables)
        stopped = site.workers.pid(name)
        status = await site.workers.terminate(name)
        assert status in {0, -signal.SIGKILL, -signal.SIGTERM}, f"{name} ended with {status} when it was told to stop"
        async with asyncio.timeout(_READY_LIMIT_S):
            while not await _reports(site, name, stopped):
                await asyncio.sleep(_POLL_S)
            if name in ISSUERS:
                await site.issuers_work()


async def _reports(site: Site, name: str, stopped: int) -> bool:
    """Whether the successor of a stopped worker has said in the database that it runs."""
    pid = site.workers.pid(name)
    return pid != stopped and bool(await site.run_sql(_REPORTS, name.partition("-")[0], pid))
