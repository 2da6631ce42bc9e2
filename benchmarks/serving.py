"""Runs an API server and a load client, each in its own process."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import httpx

from benchmarks import usual_console
from benchmarks.http_load import Plan, Seen
from benchmarks.loader import loaded
from benchmarks.usage import cpu_seconds
from codewell.errors import CodewellError
from services.standalone.child import Child
from services.standalone.home import Home
from services.standalone.ports import LOOPBACK, free_port
from services.standalone.postgres import PostgresServer

# Each waits for its answer: how many wait at once bounds what a server can take together.
CONNECTIONS: Final = 128
FEW_CONNECTIONS: Final = 32
_START_TIMEOUT_S: Final = 20.0
_START_POLL_S: Final = 0.05
_STOP_TIMEOUT_S: Final = 5.0


class Site:
    """A measured server: its port, its process and its database."""

    def __init__(self, port: int, child: Child, database: PostgresServer) -> None:
        self._port = port
        self._child = child
        self._database = database
        self.url = f"http://{LOOPBACK}:{port}"
        self.cpu_ms: dict[str, float] = {}
        """CPU time per request of the last load, by kind of process (ms)."""

    async def load(self, requests: Sequence[str], rate: float | None = None, connections: int = CONNECTIONS) -> Seen:
        """Send these requests from another process. Raises CodewellError when one of them fails."""
        kinds = {"server": self._child.pid, "postgres": self._database.child.pid if self._database.child else 0}
        before = {kind: cpu_seconds([pid]) for kind, pid in kinds.items()}
        plan = Plan(LOOPBACK, self._port, connections, list(requests), rate)
        seen = Seen(*await loaded("benchmarks.http_load", plan))
        self.cpu_ms = {kind: 1_000 * (cpu_seconds([pid]) - before[kind]) / len(requests) for kind, pid in kinds.items()}
        return seen


@asynccontextmanager
async def serving(
    home: Home, postgres: PostgresServer, module: Sequence[str], port_variable: str, env: Mapping[str, str]
) -> AsyncIterator[Site]:
    """Run one process of a server. Raises CodewellError."""
    port = free_port()
    words = [sys.executable, "-m", *module]
    child = await Child.start(
        module[-1], words, log_path=home.logs / f"{module[-1]}.log", env={**os.environ, **env, port_variable: str(port)}
    )
    try:
        await answering(child, port)
        yield Site(port, child, postgres)
    finally:
        await child.stop(timeout_s=_STOP_TIMEOUT_S)


@asynccontextmanager
async def console(home: Home, postgres: PostgresServer) -> AsyncIterator[Site]:
    """Run a console whose limit on failed look-ups is too high to apply."""
    env = {
        "CODEWELL_POSTGRES_URL": postgres.url,
        # No change is announced here, so Kafka is not needed.
        "CODEWELL_KAFKA_BOOTSTRAP": f"{LOOPBACK}:1",
        "CODEWELL_MISSES_PER_MINUTE": "1000000",
    }
    async with serving(home, postgres, ("services", "console"), "CODEWELL_API_PORT", env) as site:
        yield site


@asynccontextmanager
async def usual(home: Home, postgres: PostgresServer) -> AsyncIterator[Site]:
    """Run the usual build's console; it has the ceiling's path too."""
    env = {usual_console.URL_VARIABLE: postgres.url}
    async with serving(home, postgres, ("benchmarks.usual_console",), usual_console.PORT_VARIABLE, env) as site:
        yield site


async def answering(child: Child, port: int) -> None:
    """Wait until a server answers requests, as a console does once it has its database.

    Raises CodewellError, with the server's last log lines.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}") as client:
        while True:
            try:
                if (await client.get("/")).status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                    return
            except httpx.TransportError:
                pass
            if child.returncode is not None or time.monotonic() > deadline:
                raise CodewellError(f"{child.name} does not answer: {child.last_words()}")
            await asyncio.sleep(_START_POLL_S)
