"""A fail-over to a standby that lagged: what was answered and is lost with the primary is reconciled from Kafka."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.client.exchange import OutgoingRequest
from codewell.infra.postgres.migrations import migrate
from services.standalone.child import Child
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer
from services.standalone.postgres_data import ENVIRONMENT, binaries
from services.standalone.server_user import give_to, server_user
from tests.support import running
from tests.support.commands import Said, codewell, environment
from tests.support.postgres_settings import FOR_TESTS
from tests.support.sender_records import data_of, message
from tests.support.servers import IN_CONTAINERS
from tests.support.site import Site, open_site

REPLY = "message-render.reply"

pytestmark = pytest.mark.skipif(IN_CONTAINERS, reason="a container's data directory is not ours to copy")


@asynccontextmanager
async def primary(path: Path) -> AsyncIterator[tuple[PostgresServer, str]]:
    home = await Home.open(path)
    server = PostgresServer(home, FOR_TESTS)
    try:
        url = await server.start()
        connection = await asyncpg.connect(url)
        await migrate(connection)
        await connection.close()
        yield server, url
    finally:
        await server.stop()
        home.close()


@asynccontextmanager
async def standby_of(url: str, path: Path, primary_path: Path) -> AsyncIterator[str]:
    """An asynchronous standby of this primary."""
    home = await Home.open(path)
    directory = path / "postgres"
    directory.mkdir(mode=0o700)
    programs = binaries()
    read = (programs, programs.with_name("lib"), programs.with_name("share"))
    run_as = server_user(directory, programs / "postgres", *read)
    give_to(run_as, directory)
    copying = await Child.start(
        "pg_basebackup",
        [programs / "pg_basebackup", "-d", url, "-D", directory / "data", "-X", "stream", "-R", "--checkpoint=fast"],
        log_path=home.logs / "pg_basebackup.log",
        env=ENVIRONMENT,
        cwd=Path("/"),
        run_as=run_as,
    )
    try:
        async with asyncio.timeout(60):
            assert await copying.wait() == 0, copying.last_words()
    finally:
        await copying.stop(signal.SIGKILL)
    (directory / "password").write_text((primary_path / "postgres" / "password").read_text())
    server = PostgresServer(home, FOR_TESTS)
    try:
        yield await server.start()
    finally:
        await server.stop()
        home.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    yield opened
    await opened.close()


async def stop_receiving(standby: asyncpg.Connection, primary: asyncpg.Connection) -> None:
    """Have the standby hear of nothing more, once it has heard of everything up to now."""
    sent = await primary.fetchval("SELECT pg_current_wal_lsn()::text")

    async def has_all() -> bool:
        return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", sent))

    await running.until(has_all, "standby that has caught up")
    await standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
    await standby.execute("SELECT pg_reload_conf()")

    async def is_deaf() -> bool:
        return not await standby.fetchval("SELECT count(*) FROM pg_stat_wal_receiver")

    await running.until(is_deaf, "standby that receives nothing")


def asked(who: str, count: int, program: str = "SPRING") -> list[OutgoingRequest]:
    return [message(f"{who}-{number}", program) for number in range(count)]


async def answers(site: Site, count: int) -> list[dict[str, Any]]:
    return [data_of(record) for record in await site.came(REPLY, count)]


def codes(found: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Which profiles were told each code."""
    told: dict[str, set[str]] = {}
    for answer in found:
        for code in answer.get("codes", []):
            told.setdefault(code["code"], set()).add(answer["profile_id"])
    return told


def told_twice(found: list[dict[str, Any]]) -> set[str]:
    return {code for code, profiles in codes(found).items() if len(profiles) > 1}


async def reconcile(site: Site, url: str, cwd: Path, *words: str) -> Said:
    variables = environment(
        CODEWELL_POSTGRES_URL=url, CODEWELL_KAFKA_BOOTSTRAP=site.bootstrap, CODEWELL_TOPIC_PREFIX=site.prefix
    )
    return await codewell("reconcile", *words, env=variables, cwd=cwd)


@pytest.mark.parametrize("issuers_went_on", [False, True])
async def test_what_a_standby_never_heard_of_is_found_and_given_to_nobody_else(
    tmp_path: Path, kafka_bootstrap: str, prefix: str, issuers_went_on: bool
) -> None:
    # Root's servers run as another user, who must get through to their data.
    tmp_path.chmod(0o711)
    before, lost, later, refused = asked("b", 200), asked("l", 300), asked("a", 400), asked("r", 5, "NOBODY")
    async with (
        primary(tmp_path / "primary") as (server, url),
        standby_of(url, tmp_path / "standby", tmp_path / "primary") as standby_url,
        open_site(url, kafka_bootstrap, prefix) as site,
        connected(standby_url) as standby,
    ):
        await site.program("SPRING", 250, campaign_can_create=True, pool_max=400)
        async with site.issuer():
            await site.publish(before)
            await answers(site, 200)
            await stop_receiving(standby, site.database)
            # Fifty from the pool, and codes that are made on the spot.
            await site.publish([*lost, *refused])
            await answers(site, 505)
        assert not (await reconcile(site, url, tmp_path)).status
        await site.database.close()
        await server.stop()
        assert await standby.fetchval("SELECT pg_promote()")
        site.postgres_url = standby_url
        if issuers_went_on:
            async with site.issuer():
                await site.publish(later[:100])
                await answers(site, 605)
                # Some of the old requests come once more.
                await site.publish(lost[:10])
                await answers(site, 615)
        count = len(await site.all_of(REPLY))
        twice = told_twice(await answers(site, count))
        again = 10 if issuers_went_on else 0
        assert bool(twice) == issuers_went_on

        listed = await reconcile(site, standby_url, tmp_path, "--json", "--unmasked")
        assert listed.status == 1
        *cases, _ = listed.objects
        assert {case["code"] for case in cases if case["kind"] == "two_profiles"} == twice
        assert sum(case["kind"] == "two_answers" for case in cases) == again
        assert {case["request_id"] for case in cases} == {str(one.request_id) for one in [*lost, *refused]}
        masked = await reconcile(site, standby_url, tmp_path)
        assert masked.out.count("\n") == len(cases) + 1
        assert not any(code in masked.out for code in codes(await answers(site, count)))

        repaired = await reconcile(site, standby_url, tmp_path, "--repair", "--json")
        assert repaired.status == (1 if issuers_went_on else 0), repaired
        assert repaired.objects[-1]["left"] == len(twice) + again
        assert await audit(standby) == []
        # From now on nobody is told a code that somebody was told before.
        async with site.issuer():
            await site.publish(later[100:])
            found = await answers(site, count + 300)
        assert told_twice(found) == twice
        assert await audit(standby) == []
        assert (await reconcile(site, standby_url, tmp_path)).status == (1 if issuers_went_on else 0)
