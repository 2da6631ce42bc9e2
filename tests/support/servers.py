"""One Postgres and one Kafka for all processes of a test run, each started when the first test needs it.

Each server belongs to a process of its own, `python -m tests.support.servers NAME DIRECTORY PID`: the kernel ends a
server together with the process that started it, and any of the run's workers may end first. That process ends with
the run, `PID`.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from codewell.infra.postgres.migrations import migrate
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.postgres import PostgresServer
from tests.support.postgres_settings import FOR_TESTS

DIRECTORY = pytest.StashKey[str]()
RUN = pytest.StashKey[int]()

TEMPLATE = "codewell_template"
IN_CONTAINERS = os.environ.get("CODEWELL_TEST_CONTAINERS") == "1"

_START_TIMEOUT_S = 240.0
_STOP_TIMEOUT_S = 60.0
_POLL_S = 0.02
_LOOK_AT_RUN_S = 1.0
_MEMORY = Path("/dev/shm")
_MEMORY_FREE_BYTES_MIN = 4 * 1024**3


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def as_role(url: str, role: str) -> str:
    """The same database with the rights of one service's role only."""
    return urlunsplit(urlsplit(url)._replace(query=f"role=codewell_{role}"))


def new_directory() -> Path:
    """A folder for the servers of one run, in memory where there is room: a clone of a database is 400 new files."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _MEMORY_FREE_BYTES_MIN
    directory = Path(tempfile.mkdtemp(prefix="codewell-tests-", dir=_MEMORY if roomy else None))
    # When root starts the servers, they run as another user, which needs access to their folders.
    directory.chmod(0o711)
    return directory


def address(directory: Path, name: str, run_pid: int) -> str:
    """The address of the run's server of this name; starts it unless another worker has."""
    answer = directory / f"{name}.address"
    with _locked(directory / f"{name}.lock"):
        if not answer.exists():
            _start(directory, name, run_pid)
    return answer.read_text()


def stop(directory: Path) -> None:
    """Stop the servers that were started, and wait until they have ended."""
    running = list(directory.glob("*.pid"))
    for file in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while any(file.exists() for file in running):
        assert time.monotonic() < deadline, "the servers of the tests do not stop"
        time.sleep(_POLL_S)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(directory: Path, name: str, run_pid: int) -> None:
    log = directory / f"{name}.log"
    words = [sys.executable, "-m", "tests.support.servers", name, str(directory), str(run_pid)]
    with log.open("wb") as said:
        output = [(os.POSIX_SPAWN_DUP2, said.fileno(), number) for number in (1, 2)]
        # A session of its own: Ctrl-C ends the tests first, and they stop the server.
        pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=output, setsid=True)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not (directory / f"{name}.address").exists():
        ended, _ = os.waitpid(pid, os.WNOHANG)
        assert not ended, f"{name} has not started: {log.read_text()}"
        assert time.monotonic() < deadline, f"{name} takes too long to start: {log.read_text()}"
        time.sleep(_POLL_S)


@asynccontextmanager
async def _postgres(directory: Path) -> AsyncIterator[str]:
    async with _postgres_server(directory) as url:
        await _prepare(url)
        yield url


@asynccontextmanager
async def _postgres_server(directory: Path) -> AsyncIterator[str]:
    if IN_CONTAINERS:
        from tests.support.containers import postgres_container

        with postgres_container() as container:
            yield container.get_connection_url()
        return
    home = await Home.open(directory / "postgres")
    server = PostgresServer(home, FOR_TESTS)
    try:
        yield await server.start()
    finally:
        await server.stop()
        home.close()


async def _prepare(url: str) -> None:
    """A migrated database to clone, and a login that costs a client little."""
    parts = urlsplit(url)
    server = await asyncpg.connect(url)
    # A client computes each round in Python for each connection: 4096 of them take longer than most tests.
    await server.execute("SET scram_iterations = 1")
    await server.execute(f"ALTER ROLE {parts.username} PASSWORD '{parts.password}'")
    await server.execute(f"CREATE DATABASE {TEMPLATE}")
    await server.close()
    template = await asyncpg.connect(with_database(url, TEMPLATE))
    await migrate(template)
    await template.close()


@asynccontextmanager
async def _kafka(directory: Path) -> AsyncIterator[str]:
    if IN_CONTAINERS:
        from tests.support.containers import kafka_container

        container, bootstrap = kafka_container()
        with container:
            yield bootstrap
        return
    home = await Home.open(directory / "kafka")
    broker = KafkaBroker(home)
    try:
        yield await broker.start()
    finally:
        await broker.stop()
        home.close()


_SERVERS = {"postgres": _postgres, "kafka": _kafka}


async def _serve(name: str, directory: Path, run_pid: int) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    pid_file = directory / f"{name}.pid"
    pid_file.write_text(str(os.getpid()))
    try:
        async with _SERVERS[name](directory) as where:
            partial = directory / f"{name}.partial"
            partial.write_text(where)
            partial.rename(directory / f"{name}.address")
            while not stopped.is_set() and _runs(run_pid):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), _LOOK_AT_RUN_S)
    finally:
        pid_file.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
