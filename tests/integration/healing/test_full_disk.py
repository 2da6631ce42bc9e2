"""I3, I4: a database whose disk is full refuses with 53100, and goes on when there is room again."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from codewell.audit.promises import audit
from tests.integration.healing.all_workers import workers
from tests.integration.healing.conftest import end_faust_waits
from tests.support.running import no_task_left
from tests.support.servers import IN_CONTAINERS, with_database
from tests.support.site import open_site

_DISK = "48m"
_PIECE = 4096


@pytest.fixture
def disk(servers_directory: Path) -> Iterator[Path]:
    """A small disk of the database's own."""
    if sys.platform != "linux" or os.geteuid() != 0 or IN_CONTAINERS:
        pytest.skip("only root on Linux can mount a small disk, and Postgres must be on this machine to use it")
    # The server's user gets through to its own folder, and not to those of the tests.
    where = Path(tempfile.mkdtemp(prefix="disk-", dir=servers_directory))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", where], check=False)
    if mounted.returncode != 0:
        pytest.skip("this root may mount nothing")
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)
        where.rmdir()


@pytest.mark.usefixtures("impatient")
async def test_i3_and_i4_a_full_disk_is_waited_out(
    disk: Path, servers_directory: Path, postgres_url: str, template_database: str, kafka_bootstrap: str, prefix: str
) -> None:
    data = disk / "data"
    data.mkdir(mode=0o700)
    owner = (servers_directory / "postgres" / "postgres" / "data").stat()
    for path in (disk, data):
        os.chown(path, owner.st_uid, owner.st_gid)
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE TABLESPACE small LOCATION '{data}'")
    await server.execute(f"CREATE DATABASE small TEMPLATE {template_database} TABLESPACE small")
    try:
        async with no_task_left():
            async with (
                open_site(with_database(postgres_url, "small"), kafka_bootstrap, prefix) as site,
                workers(site) as running,
            ):
                ballast = disk / "ballast"
                await asyncio.to_thread(fill, ballast)
                # More than fits into the pages that the table has.
                await running.publish(2_000)
                await running.wait_for("postgres", "(53100)", "issuer")
                await asyncio.to_thread(ballast.unlink)
                await running.heal()
                await running.check()
                assert await audit(site.database) == []
            end_faust_waits()
    finally:
        await server.execute("DROP DATABASE small WITH (FORCE)")
        await server.execute("DROP TABLESPACE small")
        await server.close()


def fill(path: Path) -> None:
    """Take all the room that the disk has left."""
    with path.open("wb", buffering=0) as file:
        while shutil.disk_usage(path).free >= _PIECE:
            file.write(bytes(_PIECE))
