"""The services of a stack, as supervised processes: they import while the servers start, and get their settings
once these are ready."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

import httpx
import structlog

from codewell.errors import StackUnavailable
from codewell.infra.process.lifecycle import backoff_delays
from services.standalone.child import Child
from services.standalone.home import Home
from services.standalone.ports import LOOPBACK, free_ports

log = structlog.get_logger()

READY_TIMEOUT_S: Final = 60.0
READY_POLL_S: Final = 0.05
# A worker that ran this long is restarted without backoff.
STABLE_AFTER_S: Final = 60.0
# With that of the servers below the 10 s within which Ctrl-C ends the stack.
STOP_TIMEOUT_S: Final = 3.0
_ALL_ADDRESSES: Final = ("", "0.0.0.0", "::")  # noqa: S104  compared with, and not listened on
_EXTERNAL_SERVER_SETTINGS: Final = ("CODEWELL_POSTGRES_", "CODEWELL_KAFKA_")


@dataclass(frozen=True)
class WorkerProcess:
    """One process of a service."""

    name: str
    service: str


@dataclass(frozen=True)
class StackWorkerSettings:
    """What a worker is told: variables of its settings, and the URL of its health endpoint."""

    variables: Mapping[str, str]
    health_url: str


def settings_of(
    workers: Sequence[WorkerProcess], urls: Mapping[str, str], bootstrap: str, api_port: int
) -> dict[str, StackWorkerSettings]:
    """The settings of each worker by its name; `urls` are the database URLs of the services."""
    # One more, as a free port may be the one that the API had before.
    ports = [port for port in free_ports(len(workers) + 1) if port != api_port]
    api_host = _reached_at(os.environ.get("CODEWELL_API_HOST", ""))
    found = {}
    for worker, free in zip(workers, ports, strict=False):
        host, port = (api_host, api_port) if worker.service == "console" else (LOOPBACK, free)
        variables = {
            "CODEWELL_POSTGRES_URL": urls[worker.service],
            "CODEWELL_KAFKA_BOOTSTRAP": bootstrap,
            "CODEWELL_API_PORT": str(port),
            "CODEWELL_HEALTH_HOST": LOOPBACK,
            "CODEWELL_HEALTH_PORT": str(port),
            "CODEWELL_STOP_TIMEOUT_S": str(STOP_TIMEOUT_S - 1),
        }
        found[worker.name] = StackWorkerSettings(variables, f"http://{host}:{port}")
    return found


def _reached_at(bound: str) -> str:
    """The host by which a program on this machine reaches a server that listens on this address, for a URL."""
    if bound in _ALL_ADDRESSES:
        return LOOPBACK
    return f"[{bound}]" if ":" in bound else bound


class StackWorkers:
    """The workers of one stack. Those that end are restarted from `run` on."""

    def __init__(self, home: Home, workers: Sequence[WorkerProcess]) -> None:
        self._home = home
        self._workers = workers
        self._settings: Mapping[str, StackWorkerSettings] = {}
        self._running: dict[str, Child] = {}
        self._closing = asyncio.Event()
        self._watchers: list[asyncio.Task[None]] = []
        self._is_started = False
        self._refusal: str | None = None

    @classmethod
    @asynccontextmanager
    async def spawned(cls, home: Home, workers: Sequence[WorkerProcess]) -> AsyncIterator[Self]:
        """Processes that import their services and wait for their settings, stopped at the end of the block."""
        opened = cls(home, workers)
        try:
            for worker in workers:
                opened._running[worker.name] = await opened._spawn(worker)
            yield opened
        finally:
            opened._closing.set()
            await opened._stop()
            await asyncio.gather(*opened._watchers)
            # A watcher may have restarted one meanwhile.
            await opened._stop()

    async def run(self, settings: Mapping[str, StackWorkerSettings], stop: asyncio.Event) -> bool:
        """Tell all workers their settings, and wait until they are ready. False when `stop` is set meanwhile.

        Raises StackUnavailable after READY_TIMEOUT_S, and at once, in the worker's own words, when a worker refuses to
        start.
        """
        self._settings = settings
        for worker in self._workers:
            await self._running[worker.name].send(settings[worker.name].variables)
        self._watchers = [asyncio.create_task(self._restart_on_exit(worker)) for worker in self._workers]
        self._is_started = await self._wait_until_ready(stop)
        return self._is_started

    async def _spawn(self, worker: WorkerProcess) -> Child:
        return await Child.start(
            worker.name,
            [sys.executable, "-m", "services.standalone.worker", worker.service],
            log_path=self._home.logs / f"{worker.name}.log",
            env={**_worker_environment(os.environ), "PYTHONUNBUFFERED": "1"},
            has_input=True,
        )

    async def _stop(self) -> None:
        await asyncio.gather(*(child.stop(timeout_s=STOP_TIMEOUT_S) for child in self._running.values()))

    async def _restart_on_exit(self, worker: WorkerProcess) -> None:
        while True:
            # Restarts back off from 0 s until a worker runs for STABLE_AFTER_S.
            async for _ in backoff_delays(self._closing):
                began = time.monotonic()
                status = await self._running[worker.name].wait()
                if self._closing.is_set():
                    return
                why = self._running[worker.name].last_words().removeprefix("Error: ")
                if status > 0 and not self._is_started:
                    # It ended by itself, as when a setting is invalid: another attempt would end so too.
                    self._refusal = f"{worker.name} does not start: {why}"
                    return
                log.warning("worker_died", worker=worker.name, status=status, why=why)
                try:
                    self._running[worker.name] = await self._spawn(worker)
                    await self._running[worker.name].send(self._settings[worker.name].variables)
                except (StackUnavailable, OSError) as error:
                    log.warning("worker_not_started", worker=worker.name, why=str(error))
                if time.monotonic() - began > STABLE_AFTER_S:
                    break
            if self._closing.is_set():
                return

    async def _wait_until_ready(self, stop: asyncio.Event) -> bool:
        deadline = time.monotonic() + READY_TIMEOUT_S
        async with httpx.AsyncClient(trust_env=False) as client:
            for worker in self._workers:
                while not await _is_ready(client, self._settings[worker.name].health_url):
                    if self._refusal is not None:
                        raise StackUnavailable(self._refusal)
                    if time.monotonic() > deadline:
                        raise StackUnavailable(
                            f"{worker.name} is not ready after {READY_TIMEOUT_S:.0f} s: "
                            f"check {self._home.logs / f'{worker.name}.log'}."
                        )
                    try:
                        await asyncio.wait_for(stop.wait(), READY_POLL_S)
                    except TimeoutError:
                        continue
                    return False
        return True


def _worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of external servers: the local ones use plain connections on loopback."""
    return {name: value for name, value in environment.items() if not name.startswith(_EXTERNAL_SERVER_SETTINGS)}


async def _is_ready(client: httpx.AsyncClient, health_url: str) -> bool:
    try:
        return (await client.get(f"{health_url}/readyz")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
