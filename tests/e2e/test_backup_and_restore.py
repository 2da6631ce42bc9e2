"""The commands of docs/operations/backup-and-restore.md, run as they stand there, into a cluster without the roles."""

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.replaced_database import PROGRAM, Site, cluster, fetch, issuer, users
from tests.support.running import until
from tests.support.servers import IN_CONTAINERS

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="it needs two clusters, and the programs of the wheel")


async def archived(url: str) -> None:
    """Wait until all of the log so far is in the archive."""
    last = await fetch(url, "SELECT pg_walfile_name(pg_switch_wal())")

    async def there() -> bool:
        return bool(await fetch(url, f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"))

    await until(there, "the log in the archive")


async def restored_to(moment: datetime, site: Site, given: dict[str, str]) -> dict[str, str]:
    """Restore the base backup and the log up to a moment; returns what an issuer gives from there."""
    new = site.folder / "moment" / "postgres"
    new.mkdir(parents=True)
    site.variables |= {"PGDATA": str(new / "data"), "MOMENT": moment.isoformat()}
    await site.page("moment")
    old = site.folder / "old" / "postgres"
    shutil.copy(old / "password", new / "password")
    owner = old.stat()
    for path in (new, *new.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    async with cluster(site.folder / "moment") as url:

        async def promoted() -> bool:
            return not await fetch(url, "SELECT pg_is_in_recovery()")

        await until(promoted, "the end of the recovery")
        assert await fetch(url, "SELECT count(*) FROM answer") == 100
        site.variables["CODEWELL_POSTGRES_URL"] = url
        assert "130 answers in Kafka: repaired 30 of 30 differences." in await site.page("repair")
        async with issuer(site, url):
            more = await site.send("again", 50)
        assert len(more) == 50
        assert not more.keys() & given.keys()
        assert (await site.run("audit", "--json")).is_done().objects[0]["clean"]
        return more


async def test_a_restore_into_a_new_cluster_loses_no_answer_and_issues_on(tmp_path: Path, kafka_bootstrap: str) -> None:
    # Root's servers run as another user, who must get through to their data.
    tmp_path.chmod(0o711)
    site = Site(tmp_path, kafka_bootstrap, "backup-and-restore.md")
    (tmp_path / "log").mkdir()
    (tmp_path / "log").chmod(0o777)
    to_archive = f"test ! -f {tmp_path}/log/%f && cp %p {tmp_path}/log/%f"
    async with cluster(tmp_path / "old", archive_mode="on", archive_command=to_archive) as url:
        site.variables["CODEWELL_POSTGRES_URL"] = url
        for words in (("migrate",), ("topics",), PROGRAM, ("code", "generate", "SPRING", "200")):
            (await site.run(*words)).is_done()
        async with issuer(site, users(await site.page("users"))["issuer"]):
            given = await site.send("before", 60)
            assert int(await site.page("backup")) > 10
            await site.page("base")
            given |= await site.send("after", 40)
            moment = await fetch(url, "SELECT clock_timestamp()")
            given |= await site.send("undone", 30)
        await archived(url)
    assert len(given) == 130

    given |= await restored_to(moment, site, given)

    async with cluster(tmp_path / "new") as url:
        site.variables["CODEWELL_POSTGRES_URL"] = url
        said = await site.page("restore")
        assert "applied roles.sql\n" in said
        assert "180 answers in Kafka: repaired 120 of 120 differences." in said
        assert (await site.run("migrate")).is_done().out == "The schema is up to date.\n"
        logins = users(await site.page("users"))
        assert logins.keys() == {"issuer", "generator", "console", "lifecycle"}
        async with issuer(site, logins["issuer"]):
            more = await site.send("later", 150)
        assert len(more) == 150
        assert not more.keys() & given.keys()
        [program] = (await site.run("program", "show", "SPRING", "--json")).is_done().objects
        assert program["stock"]["attached"] == 330
        assert (await site.run("audit", "--json")).is_done().objects[0]["clean"]
        assert "no difference from the database" in (await site.run("reconcile")).out
