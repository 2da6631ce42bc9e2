"""A whole stack on this machine: Postgres, Kafka and the services, each its own process, restarted when it dies."""

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
from codewell.infra.process.lifecycle import pauses
from services.standalone.child import Child
from services.standalone.home import Endpoints, Home
from services.standalone.kafka_config import KafkaSettings
from services.standalone.ports import free_ports, is_free, taken
from services.standalone.postgres import PostgresSettings
from services.standalone.servers import Servers, running_servers

log = structlog.get_logger()

ADMIN: Final = "standalone"
SERVICES: Final = ("issuer", "generator", "console")
_ELSEWHERE: Final = ("CODEWELL_POSTGRES_", "CODEWELL_KAFKA_")
READY_TIMEOUT_S: Final = 60.0
READY_POLL_S: Final = 0.05
# A worker that ran so long is started again at once when it dies.
LASTING_S: Final = 60.0
# Together less than the 10 s in which Ctrl-C is to end everything.
WORKER_STOP_TIMEOUT_S: Final = 3.0
SERVER_STOP_TIMEOUT_S: Final = 6.5

Progress = Callable[[str], None]


@dataclass(frozen=True)
class StackOptions:
    """What a person may choose of a stack. Port 0 takes a free one."""

    home: Path
    api_port: int = 0
    issuers: int = 1
    progress: Progress = lambda _: None


@dataclass(frozen=True)
class WorkerProcess:
    """One service of the stack: how it is started, and where it says whether it is ready."""

    name: str
    service: str
    env: Mapping[str, str]
    health_url: str


async def standalone(options: StackOptions, stop: asyncio.Event) -> None:
    """Run a stack until told to stop. Raises StackUnavailable when it can't start, and leaves nothing running."""
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
    """A stack that is ready in the block and gone after it; None when it was told to stop before it was ready."""
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
            # A new one each time: its secret is in endpoints.json alone, and an old file is worth nothing.
            make = partial(tokens.replace, opened, ADMIN, ["admin"])
            admin_token = await audit_log.recorded(
                opened, audit_log.command_actor(), make, "token.replace", token=ADMIN
            )
        await create_topics(bootstrap, os.environ.get("CODEWELL_TOPIC_PREFIX", ""))
        workers = _workers(options, urls, bootstrap)
        options.progress("starting the services")
        async with _watched(servers, stop), _supervised(workers, servers.home):
            if not await _all_ready(workers, servers.home, stop):
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
    """Where each service finds the database, as a user that may do there what the service does and no more."""
    passwords = home.database_passwords(SERVICES)
    for service, password in passwords.items():
        await logins.give(opened, service, service, password)
    place = urlsplit(url)
    return {
        service: urlunsplit(place._replace(netloc=f"{service}:{password}@{place.hostname}:{place.port}"))
        for service, password in passwords.items()
    }


def _workers(options: StackOptions, urls: Mapping[str, str], bootstrap: str) -> list[WorkerProcess]:
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
async def _supervised(workers: list[WorkerProcess], home: Home) -> AsyncIterator[None]:
    """Keep one process of each worker running while the block runs, then stop them all side by side."""
    running: dict[str, Child] = {}
    closing = asyncio.Event()
    watchers: list[asyncio.Task[None]] = []
    try:
        for worker in workers:
            running[worker.name] = await _start(worker, home)
        watchers = [asyncio.create_task(_keep(worker, home, running, closing)) for worker in workers]
        yield
    finally:
        closing.set()
        await asyncio.gather(*(child.stop(timeout_s=WORKER_STOP_TIMEOUT_S) for child in running.values()))
        await asyncio.gather(*watchers)
        # One may have been started again in the meantime.
        await asyncio.gather(*(child.stop(timeout_s=WORKER_STOP_TIMEOUT_S) for child in running.values()))


async def _keep(worker: WorkerProcess, home: Home, running: dict[str, Child], closing: asyncio.Event) -> None:
    while True:
        # The first of these pauses is none, and each is longer than the last, until one start lasts.
        async for _ in pauses(closing):
            began = time.monotonic()
            status = await running[worker.name].wait()
            if closing.is_set():
                return
            log.warning("worker_died", worker=worker.name, status=status)
            try:
                running[worker.name] = await _start(worker, home)
            except (StackUnavailable, OSError) as error:
                log.warning("worker_not_started", worker=worker.name, why=str(error))
            if time.monotonic() - began > LASTING_S:
                break
        if closing.is_set():
            return


@asynccontextmanager
async def _watched(servers: Servers, stop: asyncio.Event) -> AsyncIterator[None]:
    """Stop the stack when Postgres or Kafka dies, and raise StackUnavailable then."""
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
        env={**_for_workers(os.environ), **worker.env},
    )


def _for_workers(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what is said of another Postgres or Kafka: those here are spoken to plainly, on loopback alone."""
    return {name: value for name, value in environment.items() if not name.startswith(_ELSEWHERE)}


async def _all_ready(workers: list[WorkerProcess], home: Home, stop: asyncio.Event) -> bool:
    """Wait until each worker says that it is ready; False when told to stop meanwhile."""
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
