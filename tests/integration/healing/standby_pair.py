"""A primary and its standby, real ones, whose roles can be changed."""

import itertools
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from codewell.infra.postgres.migrations import migrate
from services.standalone.child import Child
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer
from services.standalone.postgres_data import ENVIRONMENT, binaries
from services.standalone.server_user import give_to, server_user
from tests.support.postgres_settings import FOR_TESTS
from tests.support.processes import children_of, frozen
from tests.support.running import until
from tests.support.servers import with_database
from torture.proxy import LOOPBACK

_numbers = itertools.count(1)


class Pair:
    """Commits on the primary wait for the standby until that is promoted."""

    def __init__(
        self, stack: AsyncExitStack, homes: list[Home], primary: PostgresServer, of_standby: Mapping[str, str]
    ) -> None:
        self._stack = stack
        self._homes = homes
        self.primary = primary
        self.standby = PostgresServer(homes[1], replace(FOR_TESTS, more=of_standby))

    async def begin(self) -> None:
        """Make the standby from the primary as it is now, and have commits wait for it."""
        here, there = (home.path / "postgres" for home in self._homes)
        there.mkdir(mode=0o700)
        programs = binaries()
        run_as = server_user(there, programs / "pg_basebackup", programs, programs.with_name("lib"))
        password = there / "password"
        password.write_text((here / "password").read_text())
        give_to(run_as, there, password)
        words: list[str | Path] = [
            programs / "pg_basebackup",
            "-D",
            there / "data",
            "-R",
            "-c",
            "fast",
            "-d",
            self.primary.url,
        ]
        copying = await Child.start(
            "copy", words, log_path=there.parent / "logs" / "copy.log", env=ENVIRONMENT, cwd=Path("/"), run_as=run_as
        )
        assert await copying.wait() == 0, copying.log_tail()
        await copying.stop()
        self._stack.push_async_callback(self.standby.stop)
        await self.standby.start()
        database = await asyncpg.connect(self.primary.url)
        await database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await database.execute("SELECT pg_reload_conf()")

        async def synchronous() -> bool:
            return bool(await database.fetchval("SELECT sync_state = 'sync' FROM pg_stat_replication"))

        await until(synchronous, "synchronous standby")
        await database.close()

    async def database(self) -> str:
        """The name of a new migrated database on both."""
        name = f"codewell_{next(_numbers)}"
        server = await asyncpg.connect(self.primary.url)
        await server.execute(f"CREATE DATABASE {name}")
        await server.close()
        database = await asyncpg.connect(with_database(self.primary.url, name))
        await migrate(database)
        await database.close()
        return name

    async def restart(self, how: signal.Signals) -> None:
        """Stop the primary in this way, and start it again at the same place."""
        assert self.primary.child is not None
        await self.primary.child.stop(how)
        await self.primary.start()

    @contextmanager
    def standby_frozen(self) -> Iterator[None]:
        """Have no process of the standby go on for a while, as if its machine were away."""
        assert self.standby.child is not None
        pid = self.standby.child.pid
        with frozen([pid, *children_of(pid)]):
            yield

    async def fail_over(self) -> None:
        """Have the primary die, and the standby take over."""
        assert self.primary.child is not None
        await self.primary.child.stop(signal.SIGKILL)
        database = await asyncpg.connect(self.standby.url)
        assert await database.fetchval("SELECT pg_promote()")
        await database.close()

    async def bring_back(self) -> None:
        """Start the old primary again, which refuses every write now, as a standby does."""
        read_only = {"default_transaction_read_only": "on", "synchronous_standby_names": ""}
        port = urlsplit(self.primary.url).port
        self.primary = PostgresServer(self._homes[0], replace(FOR_TESTS, port=port, more=read_only))
        self._stack.push_async_callback(self.primary.stop)
        await self.primary.start()

    def url(self, database: str, *ports: int) -> str:
        """The URL of several hosts, tried in this order."""
        parts = urlsplit(self.primary.url)
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in ports)
        return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@{hosts}", path=f"/{database}"))


def port_of(server: PostgresServer) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


@asynccontextmanager
async def pair(path: Path, of_standby: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Pair]:
    """Both run while the block runs. `of_standby` are further settings of the standby."""
    async with AsyncExitStack() as stack:
        homes = []
        for name in ("one", "two"):
            homes.append(await Home.open(path / name))
            stack.callback(homes[-1].close)
        primary = PostgresServer(homes[0], FOR_TESTS)
        stack.push_async_callback(primary.stop)
        await primary.start()
        if "primary_slot_name" in of_standby:
            server = await asyncpg.connect(primary.url)
            await server.execute("SELECT pg_create_physical_replication_slot($1)", of_standby["primary_slot_name"])
            await server.close()
        opened = Pair(stack, homes, primary, of_standby)
        await opened.begin()
        yield opened
