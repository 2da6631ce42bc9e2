"""The commands of docs/operations/postgres-upgrade.md, run as they stand there. Both servers are of one version."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.replaced_database import PROGRAM, Site, cluster, fetch, issuer
from tests.support.running import until
from tests.support.servers import IN_CONTAINERS

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(IN_CONTAINERS, reason="it needs two clusters, and the programs of the wheel"),
]


async def test_a_new_server_is_filled_while_codes_are_given_and_gives_on(tmp_path: Path, kafka_bootstrap: str) -> None:
    tmp_path.chmod(0o711)
    site = Site(tmp_path, kafka_bootstrap, "postgres-upgrade.md")
    async with cluster(tmp_path / "old") as old, cluster(tmp_path / "new") as new:
        await fetch(new, "CREATE ROLE upgrader SUPERUSER LOGIN PASSWORD 'upgrader'")
        parts = urlsplit(new)
        upgrader = urlunsplit(parts._replace(netloc=f"upgrader:upgrader@{parts.hostname}:{parts.port}"))
        site.variables |= {"CODEWELL_POSTGRES_URL": old, "OLD": old, "NEW": upgrader}
        for words in (("migrate",), ("topics",), PROGRAM, ("code", "generate", "SPRING", "200")):
            (await site.run(*words)).is_done()

        async def copied() -> bool:
            return await site.page("copied") == "0\n"

        async def same() -> bool:
            return await site.page("same") == "t\n"

        async with issuer(site, old):
            given = await site.send("before", 50)
            await site.page("schema")
            await site.page("copy")
            given |= await site.send("meanwhile", 50)
            # Updates and deletes of rows go over too.
            (await site.run("profile", "forget", "before-0")).is_done()
        await until(copied, "the first copy of all tables")
        await until(same, "the last commit on the new server")
        await site.page("sequences")
        # The roles came with their passwords.
        login = urlsplit(old).netloc.partition("@")[0]
        moved = urlunsplit(parts._replace(netloc=f"{login}@{parts.hostname}:{parts.port}"))
        site.variables["CODEWELL_POSTGRES_URL"] = moved
        assert "no difference from the database" in await site.page("check")
        # A new program and new blocks need ids that the old server has not given.
        (await site.run("program", "create", "SUMMER", "--template", "{number 12}", "--codes-max", "10")).is_done()
        (await site.run("code", "generate", "SPRING", "100")).is_done()
        async with issuer(site, moved):
            more = await site.send("after", 100)
        assert len(given) == len(more) == 100
        assert not more.keys() & given.keys()
        assert (await site.run("audit", "--json")).is_done().objects[0]["clean"]
