"""A deployment whose database is replaced by the commands of a documentation page, run as they stand there."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg

from services.standalone.home import Home
from services.standalone.postgres import PostgresServer
from services.standalone.postgres_data import binaries
from tests.support import in_process
from tests.support.commands import Said, environment
from tests.support.postgres_settings import FOR_TESTS
from tests.support.worker_processes import running_workers

_PAGES: Final = Path(__file__).parents[2] / "docs" / "operations"
_TIMEOUT_S: Final = 120.0
PROGRAM: Final = ("program", "create", "SPRING", "--template", "{string 4}-{number 4}-{upstring 4}",
                  "--codes-max", "100000", "--campaign-can-create")  # fmt: skip


@asynccontextmanager
async def cluster(path: Path, **settings: str) -> AsyncIterator[str]:
    """A cluster on this path, new and with an empty database unless it has data: the URL of its owner."""
    home = await Home.open(path)
    server = PostgresServer(home, replace(FOR_TESTS, more=settings))
    try:
        yield await server.start()
    finally:
        await server.stop()
        home.close()


async def fetch(url: str, sql: str) -> Any:
    """The value that a statement gives."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


class Site:
    """One deployment's Kafka and the database that it has now."""

    def __init__(self, folder: Path, bootstrap: str, page: str) -> None:
        self.folder = folder
        self._page = _PAGES / page
        self.variables = {
            "CODEWELL_KAFKA_BOOTSTRAP": bootstrap,
            "CODEWELL_TOPIC_PREFIX": f"restore{uuid4().hex[:8]}.",
            "CODEWELL_MASTER_KEY": "a2V5IG9mIDMyIGJ5dGVzIGZvciBhbGwgdGhlIHRlc3Q=",
        }

    async def run(self, *words: str, stdin: str | None = None) -> Said:
        """Run a command of Codewell as the owner of the database."""
        return await in_process.codewell(*words, env=environment(**self.variables), cwd=self.folder, stdin=stdin)

    async def page(self, block: str) -> str:
        """Run a block of the page, and give what it printed."""
        found = re.search(rf"^ *```sh {block}\n(.*?)^ *```$", self._page.read_text(), re.DOTALL | re.MULTILINE)
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
        out, err = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
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
