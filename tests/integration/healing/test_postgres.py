"""I7: what Postgres does to issuer, generator and console, what they say of it, and that they get over it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.integration.healing.all_workers import Workers, workers
from tests.support.site import Site
from torture.proxy import LOOPBACK, Proxy, Weather, proxied

PASSWORD = secrets.token_urlsafe(16)
SILENCE = Weather(to_server=False, to_client=False)
_GRANTS = """
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
    """


class Bad(NamedTuple):
    """Workers of one role of the database, behind a proxy that can be a bad network."""

    site: Site
    proxy: Proxy
    role: str
    workers: Workers

    async def change_role(self, change: str) -> None:
        await self.site.database.execute(f"ALTER ROLE {self.role} {change}")
        await self.site.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", self.role
        )


@pytest.fixture
async def bad(site: Site) -> AsyncIterator[Bad]:
    role = f"worker_{secrets.token_hex(4)}"
    # Of a superuser no connections are counted.
    await site.database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    await site.database.execute(_GRANTS.format(role=role))
    parts = urlsplit(site.postgres_url)
    assert parts.hostname is not None
    assert parts.port is not None
    try:
        async with proxied(parts.hostname, parts.port) as proxy:
            url = urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{LOOPBACK}:{proxy.port}"))
            async with workers(site, postgres_url=url) as running:
                yield Bad(site, proxy, role, running)
    finally:
        await site.database.execute(f"DROP OWNED BY {role}")
        await site.database.execute(f"DROP ROLE {role}")


End = Callable[[], Awaitable[None]]
Fault = Callable[[Bad], Awaitable[End]]


async def is_refused(bad: Bad) -> End:
    await bad.proxy.refuse()
    return bad.proxy.open


async def is_silent(bad: Bad) -> End:
    bad.proxy.becomes(SILENCE)

    async def end() -> None:
        bad.proxy.becomes(Weather())

    return end


async def is_silent_on_old_connections(bad: Bad) -> End:
    """As when a firewall has forgotten them: who waits for them waits for ever, and new ones are good."""
    bad.proxy.becomes(SILENCE)

    async def end() -> None:
        bad.proxy.forget()

    return end


async def has_too_many_connections(bad: Bad) -> End:
    await bad.change_role("CONNECTION LIMIT 0")
    return lambda: bad.change_role("CONNECTION LIMIT -1")


async def has_another_password(bad: Bad) -> End:
    await bad.change_role(f"PASSWORD '{secrets.token_urlsafe(16)}'")
    return lambda: bad.change_role(f"PASSWORD '{PASSWORD}'")


FAULTS: dict[Fault, str] = {
    is_refused: "Connect call failed",
    is_silent: "TimeoutError",
    is_silent_on_old_connections: "TimeoutError",
    has_too_many_connections: "(53300): too many connections",
    has_another_password: "(28P01): password authentication failed",
}


async def test_i7_workers_say_that_the_database_is_away_and_go_on_when_it_is_back(bad: Bad) -> None:
    for fault, words in FAULTS.items():
        end = await fault(bad)
        await bad.workers.publish(5)
        await bad.workers.wait_for("postgres", words)
        assert (await bad.workers.attach()).status_code == 503, fault
        assert PASSWORD not in str(await bad.workers.waiting_for())
        await end()
        await bad.workers.heal()
    await bad.workers.check()


async def test_i7_workers_bear_resets_and_i2_commits_whose_answer_is_lost(bad: Bad) -> None:
    for _ in range(3):
        assert bad.proxy.reset() > 0
        await bad.workers.work()
    for _ in range(3):
        lost = bad.proxy.answers_lost
        bad.proxy.becomes(Weather(lose_answer_to=b"COMMIT"))
        await bad.workers.publish(5)
        while bad.proxy.answers_lost == lost:
            await asyncio.sleep(0.02)
        bad.proxy.becomes(Weather())
        await bad.workers.heal()
    await bad.workers.check()
