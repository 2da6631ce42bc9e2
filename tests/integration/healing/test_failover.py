"""I1, I4, I7: another Postgres takes over, by one address or by several."""

import asyncio
import signal
from pathlib import Path

import asyncpg
import pytest

from codewell.audit.promises import audit
from tests.integration.healing.all_workers import REPLY, workers
from tests.integration.healing.conftest import end_faust_waits
from tests.integration.healing.standby_pair import Pair, pair, port_of
from tests.support.running import no_task_left, until
from tests.support.servers import with_database
from tests.support.site import open_site
from torture.proxy import LOOPBACK, Weather, proxied

DECIDED = "SELECT count(*) FROM answer"


@pytest.mark.usefixtures("impatient")
async def test_i7_and_i1_another_postgres_takes_over(tmp_path: Path, kafka_bootstrap: str, prefix: str) -> None:
    async with no_task_left():
        async with pair(tmp_path) as servers:
            await bear_a_server_that_takes_no_writes(servers, kafka_bootstrap, prefix)
            await tell_nothing_that_the_standby_has_not(servers, kafka_bootstrap, prefix)
            await bear_a_restart(servers, kafka_bootstrap, prefix)
            await lose_nothing_when_the_standby_takes_over(servers, kafka_bootstrap, prefix)
        end_faust_waits()


async def bear_a_server_that_takes_no_writes(servers: Pair, kafka: str, prefix: str) -> None:
    """One address, behind which there is a standby for a while: its connections look alive, and stay when it ends."""
    name = await servers.database()
    async with (
        open_site(with_database(servers.primary.url, name), kafka, prefix) as site,
        proxied(LOOPBACK, port_of(servers.primary)) as proxy,
        workers(site, postgres_url=servers.url(name, proxy.port)) as running,
    ):
        proxy.target = (LOOPBACK, port_of(servers.standby))
        proxy.reset()
        await running.publish(5)
        await running.wait_for("postgres", "(25006)")
        proxy.target = (LOOPBACK, port_of(servers.primary))
        await running.heal()
        await running.check()


async def tell_nothing_that_the_standby_has_not(servers: Pair, kafka: str, prefix: str) -> None:
    """I1: a commit that waits for the standby is given up after a while, and seen by whoever repeats the batch."""
    name = await servers.database()
    async with (
        open_site(with_database(servers.primary.url, name), kafka, prefix) as site,
        workers(site, postgres_url=servers.url(name, port_of(servers.primary))) as running,
    ):
        told, decided = len(await site.all_of(REPLY)), await site.database.fetchval(DECIDED)
        with servers.standby_frozen():
            await running.publish(5)

            async def seen() -> bool:
                return bool(await site.database.fetchval(DECIDED) == decided + 5)

            await until(seen, "commits that the standby has not")
            await running.wait_for("postgres", "TimeoutError", "issuer")
            assert len(await site.all_of(REPLY)) == told
        await running.heal()
        await running.check()


async def bear_a_restart(servers: Pair, kafka: str, prefix: str) -> None:
    name = await servers.database()
    async with (
        open_site(with_database(servers.primary.url, name), kafka, prefix) as site,
        workers(site, postgres_url=servers.url(name, port_of(servers.primary))) as running,
    ):
        for how in (signal.SIGKILL, signal.SIGQUIT, signal.SIGINT):
            await servers.restart(how)
            site.database = await asyncpg.connect(site.postgres_url)
            await running.heal()
        await running.check()
        await site.database.close()


async def lose_nothing_when_the_standby_takes_over(servers: Pair, kafka: str, prefix: str) -> None:
    """Several addresses: one swallows what is sent to it, one is the old primary's, which comes back read-only."""
    name = await servers.database()
    async with (
        open_site(with_database(servers.primary.url, name), kafka, prefix) as site,
        proxied(LOOPBACK, port_of(servers.primary)) as nowhere,
    ):
        nowhere.becomes(Weather(to_server=False, to_client=False))
        url = servers.url(name, nowhere.port, port_of(servers.primary), port_of(servers.standby))
        async with workers(site, postgres_url=url) as running:
            publishing = asyncio.create_task(running.publish(2_000))
            await servers.fail_over()
            await publishing
            site.database = await asyncpg.connect(with_database(servers.standby.url, name))
            await running.heal()
            await servers.bring_back()
            await site.database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'codewell-%'"
            )
            await running.heal()
            # Also what was answered just before the old primary died is in the new one.
            await running.check()
            assert await audit(site.database) == []
        await site.database.close()
