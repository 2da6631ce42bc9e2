"""Postgres under Patroni: three nodes with strict synchronous replication, and an etcd that holds the leader's lock."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from services.standalone.child import Child, RunAs
from services.standalone.ports import LOOPBACK, free_ports
from services.standalone.postgres_data import binaries
from services.standalone.server_user import give_to, server_user
from tests.support.debian import unpacked
from tests.support.processes import children_of

VERSION: Final = "4.1.5"
NODES: Final = 3
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "codewell" / "patroni"
_USER: Final = "codewell"
_START_LIMIT_S: Final = 120.0
_POLL_S: Final = 0.2
_HTTP_S: Final = 3.0
# Patroni's rule is loop_wait + 2 * retry_timeout <= ttl, and 20 s is its least ttl.
_CLUSTER: Final[dict[str, Any]] = {
    "ttl": 20,
    "loop_wait": 4,
    "retry_timeout": 8,
    "synchronous_mode": True,
    "synchronous_mode_strict": True,
    "synchronous_node_count": 1,
    # Patroni drops slots that it does not know, also that of the stream of codes.
    "ignore_slots": [{"type": "logical", "plugin": "pgoutput"}],
    "postgresql": {
        "use_pg_rewind": True,
        "remove_data_directory_on_diverged_timelines": True,
        "parameters": {
            "wal_level": "logical",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "max_wal_size": "512MB",
            "wal_keep_size": "256MB",
            "synchronous_commit": "on",
            "log_parameter_max_length": 0,
            "log_parameter_max_length_on_error": 0,
            "unix_socket_directories": "",
        },
    },
}


def missing() -> str | None:
    """Why Patroni cannot run here; None when it can. Installs it in a cache of its own."""
    if unpacked("etcd-server") is None:
        return "apt brings no etcd"
    if not _program().exists():
        home = _CACHE / VERSION
        try:
            subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True)
            subprocess.run(
                [home / "bin" / "pip", "install", "-q", f"patroni[etcd3,psycopg3]=={VERSION}"],
                check=True, capture_output=True,
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError):
            return "pip brings no Patroni"
    return None


def _program() -> Path:
    return _CACHE / VERSION / "bin" / "patroni"


class Node:
    """A machine: Patroni, and the Postgres that it runs."""

    def __init__(
        self, name: str, folder: Path, words: Sequence[str | Path], rest_port: int, run_as: RunAs | None
    ) -> None:
        self.name = name
        self._folder = folder
        self._words = words
        self._rest = f"http://{LOOPBACK}:{rest_port}"
        self._run_as = run_as
        self._child: Child | None = None

    @property
    def is_up(self) -> bool:
        """Whether its Patroni runs."""
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        """Start Patroni, which starts its Postgres."""
        self._child = await Child.start(
            self.name, self._words, log_path=self._folder / "log", cwd=Path("/"), run_as=self._run_as,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self._folder)},
        )  # fmt: skip

    def send(self, number: signal.Signals, *, patroni: bool = True) -> None:
        """Send a signal to its Postgres, with all its sessions, and to Patroni too."""
        if patroni and self._child is not None and self.is_up:
            os.kill(self._child.pid, number)
        for pid in self._postgres():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def kill(self) -> None:
        """The machine dies: nothing of it says goodbye."""
        self.send(signal.SIGKILL)
        if self._child is not None:
            await self._child.wait()

    def _postgres(self) -> list[int]:
        """The server and its children, the server first."""
        try:
            first = int((self._folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
            if str(self._folder) not in Path(f"/proc/{first}/cmdline").read_text():
                return []
            return [first, *children_of(first)]
        except (OSError, ValueError):
            return []

    async def state(self) -> dict[str, Any]:
        """What its Patroni says of itself; empty while it does not answer."""
        found = await asyncio.to_thread(_get, f"{self._rest}/patroni")
        return found if isinstance(found, dict) else {}

    async def cluster(self) -> list[dict[str, Any]]:
        """What its Patroni says of all members; empty while it does not answer."""
        found = await asyncio.to_thread(_get, f"{self._rest}/cluster")
        return list(found.get("members", ())) if isinstance(found, dict) else []

    async def switch(self, leader: str, candidate: str) -> bool:
        """Hand over in order, as before a maintenance. False if Patroni does not take the candidate as ready.

        Raises OSError where it refuses for another reason.
        """
        try:
            await asyncio.to_thread(_post, f"{self._rest}/switchover", {"leader": leader, "candidate": candidate})
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.PRECONDITION_FAILED:
                raise
            return False
        return True


class Patroni:
    """The cluster. Which node leads is Patroni's to say."""

    def __init__(self, nodes: Sequence[Node], etcd: Child, url: str) -> None:
        self.nodes = nodes
        self.etcd = etcd
        self.url = url
        """The URL of all hosts, which leads to the one that takes writes."""

    async def members(self) -> dict[str, dict[str, Any]]:
        """The members by name, as the first node says that answers."""
        for node in self.nodes:
            if found := await node.cluster():
                return {one["name"]: one for one in found}
        return {}

    async def leader(self) -> Node:
        """Wait for a node that leads. Raises TimeoutError."""
        async with asyncio.timeout(_START_LIMIT_S):
            while True:
                for node in self.nodes:
                    state = await node.state()
                    if state.get("role") in {"primary", "master"} and state.get("state") == "running":
                        return node
                await asyncio.sleep(_POLL_S)

    async def wait_until_whole(self) -> None:
        """Wait until all nodes run, and one of them is a synchronous standby. Raises TimeoutError."""
        async with asyncio.timeout(_START_LIMIT_S):
            while True:
                members = await self.members()
                roles = sorted(one["role"] for one in members.values())
                states = {one["state"] for one in members.values()}
                if roles == ["leader", "replica", "sync_standby"] and states <= {"running", "streaming"}:
                    return
                await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def patroni(folder: Path) -> AsyncIterator[Patroni]:
    """A whole cluster during the block, with an empty database."""
    etcd_root = unpacked("etcd-server")
    assert etcd_root is not None
    client, peer, *ports = free_ports(2 + 2 * NODES)
    (folder / "etcd").mkdir()
    etcd = await Child.start(
        "etcd",
        [etcd_root / "usr" / "bin" / "etcd", "--data-dir", folder / "etcd" / "data",
         "--listen-client-urls", f"http://{LOOPBACK}:{client}", "--advertise-client-urls", f"http://{LOOPBACK}:{client}",
         "--listen-peer-urls", f"http://{LOOPBACK}:{peer}", "--initial-advertise-peer-urls", f"http://{LOOPBACK}:{peer}",
         "--initial-cluster", f"default=http://{LOOPBACK}:{peer}", "--log-level", "error"],
        log_path=folder / "etcd" / "log", env={"PATH": os.defpath}, cwd=folder,
    )  # fmt: skip
    password = secrets.token_urlsafe(16)
    nodes = [
        _node(folder, f"node-{number}", ports[number], ports[NODES + number], client, password)
        for number in range(NODES)
    ]
    hosts = ",".join(f"{LOOPBACK}:{port}" for port in ports[:NODES])
    running = Patroni(nodes, etcd, f"postgresql://{_USER}:{password}@{hosts}/postgres?target_session_attrs=read-write")
    try:
        # The first has to be the leader, as the others copy it.
        await nodes[0].start()
        await running.leader()
        await asyncio.gather(*(node.start() for node in nodes[1:]))
        await running.wait_until_whole()
        yield running
    finally:
        for node in nodes:
            node.send(signal.SIGCONT)
        await asyncio.gather(*(node.kill() for node in nodes))
        await etcd.stop(signal.SIGKILL)


def _node(folder: Path, name: str, port: int, rest_port: int, etcd_port: int, password: str) -> Node:
    home = folder / name
    home.mkdir(mode=0o700)
    program = _program()
    run_as = server_user(home, program, program.parents[1], binaries())
    configuration = home / "patroni.yml"
    # JSON is YAML.
    configuration.write_text(json.dumps(_configuration(home, name, port, rest_port, etcd_port, password)))
    configuration.chmod(0o600)
    give_to(run_as, home, configuration)
    return Node(name, home, [program.with_name("python"), program, configuration], rest_port, run_as)


def _configuration(home: Path, name: str, port: int, rest_port: int, etcd_port: int, password: str) -> dict[str, Any]:
    rest, login = f"{LOOPBACK}:{rest_port}", {"username": _USER, "password": password}
    return {
        "scope": "codewell",
        "name": name,
        "restapi": {"listen": rest, "connect_address": rest},
        "etcd3": {"host": f"{LOOPBACK}:{etcd_port}"},
        "bootstrap": {
            "dcs": _CLUSTER,
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "scram-sha-256"}, {"set": "scram_iterations=1"}],
        },
        "postgresql": {
            "listen": f"{LOOPBACK}:{port}",
            "connect_address": f"{LOOPBACK}:{port}",
            "data_dir": str(home / "data"),
            "bin_dir": str(binaries()),
            "pgpass": str(home / "pgpass"),
            "authentication": {"superuser": login, "replication": login, "rewind": login},
            "pg_hba": [
                f"host all all {LOOPBACK}/32 scram-sha-256", f"host replication all {LOOPBACK}/32 scram-sha-256",
            ],
        },
    }  # fmt: skip


def _get(url: str) -> object:
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with suppress(ValueError):
            return json.load(error)
    except (OSError, ValueError):
        pass
    return {}


def _post(url: str, body: dict[str, str]) -> None:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60):
        pass
