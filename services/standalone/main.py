"""Runs a whole stack on this machine: Postgres, Kafka, and the services as supervised processes."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import structlog

from codewell.access import tokens
from codewell.audit import audit_log
from codewell.errors import StackUnavailable
from codewell.infra.config.effective_settings import masked_url
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres import logins
from codewell.infra.postgres.connection import Connection, connection
from codewell.infra.postgres.migrations import migrate
from codewell.infra.process.lifecycle import backoff_delays
from services.standalone.child import Child
from services.standalone.home import Endpoints, Home
from services.standalone.kafka_config import KafkaSettings
from services.standalone.ports import free_ports, is_free, taken
from services.standalone.postgres import PostgresSettings
from services.standalone.servers import Servers, running_servers

log = structlog.get_logger()

ADMIN: Final = "standalone"
SERVICES: Final = ("issuer", "generator", "console")
_EXTERNAL_SERVER_SETTINGS: Final = ("CODEWELL_POSTGRES_", "CODEWELL_KAFKA_")
READY_TIMEOUT_S: Final = 60.0
READY_POLL_S: Final = 0.05
# A worker that ran this long is restarted without backoff.
STABLE_AFTER_S: Final = 60.0
# Together below the 10 s within which Ctrl-C ends the stack.
WORKER_STOP_TIMEOUT_S: Final = 3.0
SERVER_STOP_TIMEOUT_S: Final = 6.5

Progress = Callable[[str], None]


@dataclass(frozen=True)
class StackOptions:
    """Options of a stack. Port 0 takes a free one."""

    home: Path
    api_port: int = 0
    issuers: int = 1
    progress: Progress = lambda _: None


@dataclass(frozen=True)
class WorkerProcess:
    """One service process: its environment and the URL of its health endpoint."""

    name: str
    service: str
    env: Mapping[str, str]
    health_url: str


async def standalone(options: StackOptions, stop: asyncio.Event) -> None:
    """Run a stack until `stop` is set. Raises StackUnavailable when it can't start; then no process is left."""
    started = time.monotonic()
    async with stack(options, stop) as endpoints:
        if endpoints is None:
            return
        print(f"Codewell is ready after {time.monotonic() - started:.1f} s. Ctrl-C stops it; data is kept.")  # noqa: T201
        print(f"  API       {endpoints.api_url}")  # noqa: T201
        print(f"  Token     admin_token in {options.home / 'endpoints.json'}")  # noqa: T201
        print(f"  Kafka     {endpoints.kafka_bootstrap}")  # noqa: T201
        postgres = f"{masked_url(endpoints.postgres_url)}, its password in the same file"
        print(f"  Postgres  {postgres}", flush=True)  # noqa: T201
        await stop.wait()


@asynccontextmanager
async def stack(options: StackOptions, stop: asyncio.Event) -> AsyncIterator[Endpoints | None]:
    """Run a stack while the block runs. Yields None when stopped before it was ready."""
    if options.api_port and not is_free(options.api_port):
        raise taken("the API", options.api_port)
    async with running_servers(
        options.home,
        PostgresSettings(stop_timeout_s=SERVER_STOP_TIMEOUT_S),
        KafkaSettings(stop_timeout_s=SERVER_STOP_TIMEOUT_S),
        lambda done, total: options.progress(f"fetching Kafka, {done} of {total} files"),
    ) as servers:
        url, bootstrap = servers.postgres.url, servers.kafka.bootstrap
        options.progress("making tables and topics")
        async with connection(url, "codewell-standalone") as opened:
            await migrate(opened)
            urls = await _service_urls(opened, url, servers.home)
            # A new token on each start: its secret is only in endpoints.json, and old copies of the file are useless.
            make = partial(tokens.replace, opened, ADMIN, ["admin"])
            admin_token = await audit_log.recorded(
                opened, audit_log.command_actor(), make, "token.replace", token=ADMIN
            )
        await create_topics(bootstrap, os.environ.get("CODEWELL_TOPIC_PREFIX", ""))
        workers = _worker_processes(options, urls, bootstrap)
        options.progress("starting the services")
        async with _stop_when_server_dies(servers, stop), _supervise(workers, servers.home):
            if not await _wait_until_ready(workers, servers.home, stop):
                yield None
                return
            endpoints = Endpoints(
                postgres_url=url,
                kafka_bootstrap=bootstrap,
                api_url=workers[-1].health_url,
                admin_token=admin_token,
            )
            servers.home.write_endpoints(endpoints)
            try:
                yield endpoints
            finally:
                servers.home.remove_endpoints()


async def _service_urls(opened: Connection, url: str, home: Home) -> dict[str, str]:
    """Database URL of each service, with a user that has only the rights of its role."""
    passwords = home.database_passwords(SERVICES)
    for service, password in passwords.items():
        await logins.create_login(opened, service, service, password)
    place = urlsplit(url)
    return {
        service: urlunsplit(place._replace(netloc=f"{service}:{password}@{place.hostname}:{place.port}"))
        for service, password in passwords.items()
    }


def _worker_processes(options: StackOptions, urls: Mapping[str, str], bootstrap: str) -> list[WorkerProcess]:
    names = [("generator", "generator")]
    names += [(f"issuer-{number}", "issuer") for number in range(1, options.issuers + 1)]
    names += [("console", "console")]
    workers = []
    for (name, service), free in zip(names, free_ports(len(names)), strict=True):
        port = options.api_port if service == "console" and options.api_port else free
        env = {
            "CODEWELL_POSTGRES_URL": urls[service],
            "CODEWELL_KAFKA_BOOTSTRAP": bootstrap,
            "CODEWELL_API_PORT": str(port),
            "CODEWELL_HEALTH_PORT": str(port),
            "CODEWELL_STOP_TIMEOUT_S": str(WORKER_STOP_TIMEOUT_S - 1),
            "PYTHONUNBUFFERED": "1",
        }
        workers.append(WorkerProcess(name, service, env, f"http://127.0.0.1:{port}"))
    return workers


@asynccontextmanager
async def _supervise(workers: list[WorkerProcess], home: Home) -> AsyncIterator[None]:
    """Run and restart the workers while the block runs, then stop them concurrently."""
    running: dict[str, Child] = {}
    closing = asyncio.Event()
    watchers: list[asyncio.Task[None]] = []
    try:
        for worker in workers:
            running[worker.name] = await _start(worker, home)
        watchers = [asyncio.create_task(_restart_on_exit(worker, home, running, closing)) for worker in workers]
        yield
    finally:
        closing.set()
        await asyncio.gather(*(child.stop(timeout_s=WORKER_STOP_TIMEOUT_S) for child in running.values()))
        await asyncio.gather(*watchers)
        # A watcher may have restarted one meanwhile.
        await asyncio.gather(*(child.stop(timeout_s=WORKER_STOP_TIMEOUT_S) for child in running.values()))


async def _restart_on_exit(
    worker: WorkerProcess, home: Home, running: dict[str, Child], closing: asyncio.Event
) -> None:
    while True:
        # Restarts back off from 0 s until a worker runs for STABLE_AFTER_S.
        async for _ in backoff_delays(closing):
            began = time.monotonic()
            status = await running[worker.name].wait()
            if closing.is_set():
                return
            log.warning("worker_died", worker=worker.name, status=status)
            try:
                running[worker.name] = await _start(worker, home)
            except (StackUnavailable, OSError) as error:
                log.warning("worker_not_started", worker=worker.name, why=str(error))
            if time.monotonic() - began > STABLE_AFTER_S:
                break
        if closing.is_set():
            return


@asynccontextmanager
async def _stop_when_server_dies(servers: Servers, stop: asyncio.Event) -> AsyncIterator[None]:
    """Stop the stack when Postgres or Kafka dies, and raise StackUnavailable."""
    died: list[Child] = []

    async def watch(child: Child | None) -> None:
        if child is not None:
            await child.wait()
            died.append(child)
            stop.set()

    watchers = [asyncio.create_task(watch(server.child)) for server in (servers.postgres, servers.kafka)]
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
    for child in died:
        raise StackUnavailable(f"{child.name} exited, so the stack stopped: check {child.log_path}, and start again.")


async def _start(worker: WorkerProcess, home: Home) -> Child:
    return await Child.start(
        worker.name,
        [sys.executable, "-m", "services", worker.service],
        log_path=home.logs / f"{worker.name}.log",
        env={**_worker_environment(os.environ), **worker.env},
    )


def _worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of external servers: the local ones use plain connections on loopback."""
    return {name: value for name, value in environment.items() if not name.startswith(_EXTERNAL_SERVER_SETTINGS)}


async def _wait_until_ready(workers: list[WorkerProcess], home: Home, stop: asyncio.Event) -> bool:
    """Wait until all workers are ready. False when stopped meanwhile; raises StackUnavailable after READY_TIMEOUT_S."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    async with httpx.AsyncClient(trust_env=False) as client:
        for worker in workers:
            while not await _ready(client, worker):
                if time.monotonic() > deadline:
                    raise StackUnavailable(
                        f"{worker.name} is not ready after {READY_TIMEOUT_S:.0f} s: "
                        f"check {home.logs / f'{worker.name}.log'}."
                    )
                try:
                    await asyncio.wait_for(stop.wait(), READY_POLL_S)
                except TimeoutError:
                    continue
                return False
    return True


async def _ready(client: httpx.AsyncClient, worker: WorkerProcess) -> bool:
    try:
        return (await client.get(f"{worker.health_url}/readyz")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
