"""Postgres with a synchronous standby: each commit is on both servers, so that either may be lost."""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Final

import asyncpg

from services.standalone.child import Child
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer, PostgresSettings
from services.standalone.postgres_data import ENVIRONMENT, binaries
from services.standalone.server_user import give_to, server_user

_SETTINGS: Final = PostgresSettings(
    shared_buffers="128MB",
    # A small log lets a disk fill quickly; a short timeout detects a lost replica quickly.
    more={
        # For the stream of codes.
        "wal_level": "logical",
        "max_wal_size": "512MB",
        "wal_sender_timeout": "5s",
        "wal_receiver_timeout": "5s",
        "wal_retrieve_retry_interval": "500ms",
    },
)
_COPY_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.05
_STREAMING_TIMEOUT_S: Final = 30.0


class Pair:
    """A primary, and a standby once `protect` was called. A fail-over swaps their roles."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._homes: list[Home] = []
        self._servers: list[PostgresServer] = []
        self._primary = 0

    @property
    def primary(self) -> PostgresServer:
        return self._servers[self._primary]

    @property
    def standby(self) -> PostgresServer:
        return self._servers[1 - self._primary]

    @property
    def url(self) -> str:
        """The URL of the primary."""
        return self.primary.url

    @property
    def data(self) -> Path:
        """The data directory of the primary."""
        return self._homes[self._primary].path / "postgres" / "data"

    async def open(self) -> None:
        """Start a primary without a standby."""
        for name in ("a", "b"):
            home = await Home.open(self._directory / name)
            self._homes.append(home)
            self._servers.append(PostgresServer(home, _SETTINGS))
        await self.primary.start()

    async def close(self) -> None:
        """Stop both."""
        await asyncio.gather(*(server.stop() for server in self._servers if server.child is not None))
        for home in self._homes:
            home.close()

    async def kill(self, number: signal.Signals) -> None:
        """Kill the primary with a signal; all its sessions end with it."""
        assert self.primary.child is not None
        await self.primary.child.stop(number)

    async def protect(self) -> None:
        """Make the other server a synchronous standby: each commit waits for it."""
        home = self._homes[1 - self._primary]
        if self.standby.child is not None:
            await self.standby.child.stop(signal.SIGQUIT)
        folder = home.path / "postgres"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        run_as = server_user(folder, binaries() / "postgres")
        give_to(run_as, folder)
        password = self._homes[self._primary].path / "postgres" / "password"
        shutil.copy(password, folder / "password")
        give_to(run_as, folder / "password")
        copying = await Child.start(
            "pg_basebackup",
            [binaries() / "pg_basebackup", "-D", folder / "data", "-R", "-X", "stream", "-c", "fast", "-d",
             self.primary.url],
            log_path=home.logs / "copy.log", env=ENVIRONMENT, cwd=Path("/"), run_as=run_as,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_COPY_TIMEOUT_S):
                assert await copying.wait() == 0, copying.last_words()
        finally:
            await copying.stop(signal.SIGKILL)
        await self.standby.start()
        await self._wait_for_commits_on_both()

    async def _wait_for_commits_on_both(self) -> None:
        connection = await asyncpg.connect(self.primary.url)
        try:
            async with asyncio.timeout(_STREAMING_TIMEOUT_S):
                while not await connection.fetchval("SELECT count(*) FROM pg_stat_replication"):
                    await asyncio.sleep(_POLL_S)
                await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                await connection.execute("SELECT pg_reload_conf()")
                while not await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
                ):
                    await asyncio.sleep(_POLL_S)
        finally:
            await connection.close()

    async def promote(self) -> None:
        """Promote the standby. The old primary has to be stopped before."""
        connection = await asyncpg.connect(self.standby.url)
        try:
            # The new primary has no standby to wait for yet.
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            await connection.execute("SELECT pg_reload_conf()")
            assert await connection.fetchval("SELECT pg_promote(true, 30)")
        finally:
            await connection.close()
        self._primary = 1 - self._primary
