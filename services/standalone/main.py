"""Runs a whole stack on this machine: Postgres, Kafka, and the services as supervised processes."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import structlog

from codewell.errors import SettingsInvalid, StackUnavailable
from codewell.infra.config.effective_settings import masked_url
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres import logins
from codewell.infra.postgres.connection import Connection, connection
from codewell.infra.postgres.migrations import migrate
from codewell.infra.process.lifecycle import backoff_delays
from services.issuer.settings import check_reply_topics
from services.standalone.admin_token import admin_token_of
from services.standalone.child import Child
from services.standalone.home import Endpoints, Home
from services.standalone.kafka_config import KafkaSettings
from services.standalone.ports import free_ports, is_free, taken
from services.standalone.postgres import PostgresSettings
from services.standalone.servers import Servers, running_servers
from services.standalone.sign_in_link import sign_in_url

log = structlog.get_logger()

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
    lifecycle: bool = False
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
        print(  # noqa: T201  at once: with the first line, all can be read
            f"Codewell is ready after {time.monotonic() - started:.1f} s. Ctrl-C stops it; data is kept.",
            f"  API       {endpoints.api_url}",
            f"  Console   {await sign_in_url(endpoints)}",
            "            signs in once within 60 s; codewell console open makes another link",
            f"  Token     admin_token in {options.home / 'endpoints.json'}",
            f"  Kafka     {endpoints.kafka_bootstrap}",
            f"  Postgres  {masked_url(endpoints.postgres_url)}, its password in the same file",
            sep="\n",
            flush=True,
        )
        await stop.wait()


@asynccontextmanager
async def stack(options: StackOptions, stop: asyncio.Event) -> AsyncIterator[Endpoints | None]:
    """Run a stack while the block runs. Yields None when stopped before it was ready."""
    prefix = os.environ.get("CODEWELL_TOPIC_PREFIX", "")
    reply_topics = _reply_topics(prefix)
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
            services = (*SERVICES, "lifecycle") if options.lifecycle else SERVICES
            urls = await _service_urls(opened, url, servers.home, services)
            admin_token = await admin_token_of(opened, servers.home)
        await create_topics(bootstrap, prefix, reply_topics=reply_topics)
        api_port = options.api_port or servers.home.ports.choose("api")
        workers = _worker_processes(options, urls, bootstrap, api_port)
        options.progress("starting the services")
        start = _Start()
        async with _stop_when_server_dies(servers, stop), _supervise(workers, servers.home, start):
            if not await _wait_until_ready(workers, servers.home, start, stop):
                yield None
                return
            start.is_over = True
            servers.home.ports.remember("api", api_port)
            endpoints = Endpoints(
                postgres_url=url,
                kafka_bootstrap=bootstrap,
                api_url=workers[-1].health_url,
                admin_token=admin_token,
                health_urls={worker.name: worker.health_url for worker in workers},
            )
            servers.home.write_endpoints(endpoints)
            try:
                yield endpoints
            finally:
                servers.home.remove_endpoints()


async def _service_urls(opened: Connection, url: str, home: Home, services: Sequence[str]) -> dict[str, str]:
    """Database URL of each service, with a user that has only the rights of its role."""
    passwords = home.database_passwords(services)
    for service, password in passwords.items():
        await logins.create_login(opened, service, service, password)
    place = urlsplit(url)
    return {
        service: urlunsplit(place._replace(netloc=f"{service}:{password}@{place.hostname}:{place.port}"))
        for service, password in passwords.items()
    }


def _worker_processes(
    options: StackOptions, urls: Mapping[str, str], bootstrap: str, api_port: int
) -> list[WorkerProcess]:
    names = [("generator", "generator")]
    names += [(f"issuer-{number}", "issuer") for number in range(1, options.issuers + 1)]
    names += [("lifecycle", "lifecycle")] if options.lifecycle else []
    names += [("console", "console")]
    workers = []
    # One more, as a free port may be the one that the API had before.
    ports = [port for port in free_ports(len(names) + 1) if port != api_port]
    for (name, service), free in zip(names, ports, strict=False):
        port = api_port if service == "console" else free
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


@dataclass
class _Start:
    """The start of the workers: whether it is over, and why one of them refused to start."""

    is_over: bool = False
    refusal: str | None = None


@asynccontextmanager
async def _supervise(workers: list[WorkerProcess], home: Home, start: _Start) -> AsyncIterator[None]:
    """Run and restart the workers while the block runs, then stop them concurrently."""
    running: dict[str, Child] = {}
    closing = asyncio.Event()
    watchers: list[asyncio.Task[None]] = []
    try:
        for worker in workers:
            running[worker.name] = await _start(worker, home)
        watchers = [asyncio.create_task(_restart_on_exit(worker, home, running, start, closing)) for worker in workers]
        yield
    finally:
        closing.set()
        await asyncio.gather(*(child.stop(timeout_s=WORKER_STOP_TIMEOUT_S) for child in running.values()))
        await asyncio.gather(*watchers)
        # A watcher may have restarted one meanwhile.
        await asyncio.gather(*(child.stop(timeout_s=WORKER_STOP_TIMEOUT_S) for child in running.values()))


async def _restart_on_exit(
    worker: WorkerProcess, home: Home, running: dict[str, Child], start: _Start, closing: asyncio.Event
) -> None:
    while True:
        # Restarts back off from 0 s until a worker runs for STABLE_AFTER_S.
        async for _ in backoff_delays(closing):
            began = time.monotonic()
            status = await running[worker.name].wait()
            if closing.is_set():
                return
            why = running[worker.name].last_words().removeprefix("Error: ")
            if status > 0 and not start.is_over:
                # It ended by itself, as when a setting is invalid: another attempt would end so too.
                start.refusal = f"{worker.name} does not start: {why}"
                return
            log.warning("worker_died", worker=worker.name, status=status, why=why)
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


def _reply_topics(prefix: str) -> tuple[str, ...]:
    """The reply topics that the issuers will allow. Raises SettingsInvalid, before anything is started."""
    given = os.environ.get("CODEWELL_REPLY_TOPICS", "").split(",")
    names = tuple(name.strip() for name in given if name.strip())
    try:
        check_reply_topics(names, prefix)
    except ValueError as error:
        raise SettingsInvalid(f"{error}.") from error
    return names


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


async def _wait_until_ready(workers: list[WorkerProcess], home: Home, start: _Start, stop: asyncio.Event) -> bool:
    """Wait until all workers are ready. False when stopped meanwhile.

    Raises StackUnavailable after READY_TIMEOUT_S, and at once, in the worker's own words, when a worker refuses to
    start.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    async with httpx.AsyncClient(trust_env=False) as client:
        for worker in workers:
            while not await _ready(client, worker):
                if start.refusal is not None:
                    raise StackUnavailable(start.refusal)
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
