"""The commands of docs/operations/backup-and-restore.md, run as they stand there, into a cluster without the roles."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from services.standalone.home import Home
from services.standalone.postgres import TESTS, PostgresServer
from services.standalone.postgres_data import binaries
from tests.support.commands import Said, codewell, environment
from tests.support.servers import IN_CONTAINERS
from tests.support.worker_processes import running_workers

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations" / "backup-and-restore.md"
TIMEOUT_S: Final = 120.0
PROGRAM: Final = ("program", "create", "SPRING", "--template", "{string 4}-{number 4}-{upstring 4}",
                  "--codes-max", "100000", "--campaign-can-create")  # fmt: skip

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="it needs two clusters, and the programs of the wheel")


@asynccontextmanager
async def cluster(path: Path) -> AsyncIterator[str]:
    """A new cluster with an empty database: the URL of its owner."""
    home = await Home.open(path)
    server = PostgresServer(home, TESTS)
    try:
        yield await server.start()
    finally:
        await server.stop()
        home.close()


class Site:
    """One deployment's Kafka and the database that it has now."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder = folder
        self.variables = {
            "CODEWELL_KAFKA_BOOTSTRAP": bootstrap,
            "CODEWELL_TOPIC_PREFIX": f"restore{uuid4().hex[:8]}.",
            "CODEWELL_MASTER_KEY": "a2V5IG9mIDMyIGJ5dGVzIGZvciBhbGwgdGhlIHRlc3Q=",
        }

    async def run(self, *words: str, stdin: str | None = None) -> Said:
        """Run a command of Codewell as the owner of the database."""
        return await codewell(*words, env=environment(**self.variables), cwd=self.folder, stdin=stdin)

    async def page(self, block: str) -> str:
        """Run a block of the page, and give what it printed."""
        found = re.search(rf"^ *```sh {block}\n(.*?)^ *```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        assert found is not None, block
        path = os.pathsep.join([str(binaries()), str(Path(sys.executable).parent), os.environ["PATH"]])
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            found[1],
            env=environment(**self.variables, PATH=path),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        # Long commands say on standard error how far they are.
        assert process.returncode == 0, out.decode() + err.decode()
        return out.decode()

    async def send(self, who: str, count: int) -> dict[str, str]:
        """The code that each of so many new profiles gets from a running issuer."""
        profiles = "".join(f"{who}-{number}\n" for number in range(count))
        words = ("send", "message-render", "--program", "SPRING", "--file", "-", "--json", "--timeout", "60")
        answers = (await self.run(*words, stdin=profiles)).is_done().objects
        return {answer["codes"][0]["code"]: answer["profile_id"] for answer in answers}


@asynccontextmanager
async def issuer(site: Site, url: str) -> AsyncIterator[None]:
    """An issuer that has this user of the database."""
    async with running_workers(site.folder, {**site.variables, "CODEWELL_POSTGRES_URL": url}, "issuer-1") as workers:
        yield
        assert workers.deaths == []
        assert await workers.terminate("issuer-1") == 0


def users(printed: str) -> dict[str, str]:
    """The URL of each service, as `codewell login` prints it."""
    found = re.findall(r"^CODEWELL_POSTGRES_URL=(postgresql://(\w+):\S+)$", printed, re.MULTILINE)
    return {user: url for url, user in found}


async def test_a_restore_into_a_new_cluster_loses_no_answer_and_issues_on(tmp_path: Path, kafka_bootstrap: str) -> None:
    # Root's servers run as another user, who must get through to their data.
    tmp_path.chmod(0o711)
    site = Site(tmp_path, kafka_bootstrap)
    async with cluster(tmp_path / "old") as url:
        site.variables["CODEWELL_POSTGRES_URL"] = url
        for words in (("migrate",), ("topics",), PROGRAM, ("code", "generate", "SPRING", "200")):
            (await site.run(*words)).is_done()
        async with issuer(site, users(await site.page("users"))["issuer"]):
            given = await site.send("before", 60)
            assert int(await site.page("backup")) > 10
            given |= await site.send("after", 40)
    assert len(given) == 100

    async with cluster(tmp_path / "new") as url:
        site.variables["CODEWELL_POSTGRES_URL"] = url
        said = await site.page("restore")
        assert "applied roles.sql\n" in said
        assert "100 answers in Kafka: repaired 40 of 40 differences." in said
        assert (await site.run("migrate")).is_done().out == "The schema is up to date.\n"
        logins = users(await site.page("users"))
        assert logins.keys() == {"issuer", "generator", "console"}
        async with issuer(site, logins["issuer"]):
            more = await site.send("later", 150)
        assert len(more) == 150
        assert not more.keys() & given.keys()
        [program] = (await site.run("program", "show", "SPRING", "--json")).is_done().objects
        assert program["stock"]["attached"] == 250
        assert (await site.run("audit", "--json")).is_done().objects[0]["clean"]
        assert "no difference from the database" in (await site.run("reconcile")).out
