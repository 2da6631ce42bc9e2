"""Runs a whole stack on this machine: Postgres, Kafka, and the services as supervised processes."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from codewell.errors import SettingsInvalid, StackUnavailable
from codewell.infra.config.effective_settings import masked_url
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres import logins
from codewell.infra.postgres.connection import Connection, connection
from codewell.infra.postgres.migrations import migrate
from codewell.infra.process.lifecycle import unless_stopped
from schemas.topics import PARTITIONS_ON_ONE_MACHINE
from services.issuer.settings import check_reply_topics
from services.standalone.admin_token import admin_token_of
from services.standalone.child import Child
from services.standalone.home import Endpoints, Home
from services.standalone.kafka_config import KafkaSettings
from services.standalone.ports import is_free, taken
from services.standalone.postgres import PostgresSettings
from services.standalone.servers import Servers, both, servers_of
from services.standalone.sign_in_link import sign_in_url
from services.standalone.workers import StackWorkers, WorkerProcess, settings_of

CONSOLE: Final = "console"
SERVICES: Final = ("issuer", "generator", CONSOLE)
# With that of the workers below the 10 s within which Ctrl-C ends the stack.
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
    workers = _workers(options)
    async with (
        servers_of(
            options.home,
            PostgresSettings(stop_timeout_s=SERVER_STOP_TIMEOUT_S),
            KafkaSettings(stop_timeout_s=SERVER_STOP_TIMEOUT_S),
            lambda done, total: options.progress(f"fetching Kafka, {done} of {total} files"),
        ) as servers,
        StackWorkers.spawned(servers.home, workers) as running,
    ):
        made = await unless_stopped(stop, _start_servers(servers, options, prefix, reply_topics))
        if made is None:
            yield None
            return
        urls, admin_token = made
        url, bootstrap = servers.postgres.url, servers.kafka.bootstrap
        api_port = options.api_port or servers.home.ports.choose("api")
        settings = settings_of(workers, urls, bootstrap, api_port)
        options.progress("starting the services")
        async with _stop_when_server_dies(servers, stop):
            if not await running.run(settings, stop):
                yield None
                return
            servers.home.ports.remember("api", api_port)
            endpoints = Endpoints(
                postgres_url=url,
                kafka_bootstrap=bootstrap,
                api_url=settings[CONSOLE].health_url,
                admin_token=admin_token,
                health_urls={name: one.health_url for name, one in settings.items()},
            )
            servers.home.write_endpoints(endpoints)
            try:
                yield endpoints
            finally:
                servers.home.remove_endpoints()


def _workers(options: StackOptions) -> list[WorkerProcess]:
    """The console comes last, as its start takes longest."""
    return [
        WorkerProcess("generator", "generator"),
        *(WorkerProcess(f"issuer-{number}", "issuer") for number in range(1, options.issuers + 1)),
        *([WorkerProcess("lifecycle", "lifecycle")] if options.lifecycle else []),
        WorkerProcess(CONSOLE, CONSOLE),
    ]


async def _start_servers(
    servers: Servers, options: StackOptions, prefix: str, reply_topics: Sequence[str]
) -> tuple[dict[str, str], str]:
    """Start both servers with their tables and topics; the database URL of each service, and the admin token."""
    services = (*SERVICES, "lifecycle") if options.lifecycle else SERVICES

    async def database() -> tuple[dict[str, str], str]:
        url = await servers.postgres.start()
        async with connection(url, "codewell-standalone") as opened:
            await migrate(opened)
            urls = await _service_urls(opened, url, servers.home, services)
            return urls, await admin_token_of(opened, servers.home)

    async def broker() -> None:
        bootstrap = await servers.kafka.start()
        options.progress("making tables and topics")
        partitions_max = max(PARTITIONS_ON_ONE_MACHINE, options.issuers)
        await create_topics(bootstrap, prefix, reply_topics=reply_topics, partitions_max=partitions_max)

    made, _ = await both(database(), broker())
    return made


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
