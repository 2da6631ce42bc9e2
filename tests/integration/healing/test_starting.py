"""I7: workers that start while a server is away say so, wait for it, and may be stopped meanwhile."""

import asyncio
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from services.console.main import serve
from services.console.settings import ConsoleSettings
from services.generator.main import run_generator
from services.generator.settings import GeneratorSettings
from services.issuer.main import run_issuer
from services.issuer.settings import IssuerSettings
from services.lifecycle.main import run_lifecycle
from services.lifecycle.settings import LifecycleSettings
from services.standalone.ports import LOOPBACK, free_port
from tests.support.running import Main, running, until
from torture.proxy import proxied

NOWHERE = f"{LOOPBACK}:1"
READY_LIMIT_S = 60.0
WORKERS: dict[str, tuple[Main, type]] = {
    "issuer": (run_issuer, IssuerSettings),
    "generator": (run_generator, GeneratorSettings),
    "lifecycle": (run_lifecycle, LifecycleSettings),
    "console": (serve, ConsoleSettings),
}


async def asked(port: int, path: str) -> httpx.Response | None:
    """What a worker answers; None before it listens."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        try:
            return await client.get(f"http://{LOOPBACK}:{port}{path}")
        except httpx.ConnectError:
            return None


async def waits_for(port: int, what: str, why: str) -> None:
    """Wait until a worker says that it waits for this, and why; it is healthy."""

    async def says() -> bool:
        answer = await asked(port, "/readyz")
        found = {} if answer is None else answer.json()["waiting_for"]
        return any(name.startswith(what) and why in reason for name, reason in found.items())

    await until(says, f"wait for {what}", READY_LIMIT_S)
    healthy = await asked(port, "/healthz")
    assert healthy is not None
    assert healthy.status_code == 200


async def test_a_console_without_its_database_answers_and_then_serves_on_the_same_port(database_url: str) -> None:
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with proxied(parts.hostname, parts.port) as proxy:
        await proxy.refuse()
        user = parts.netloc.rpartition("@")[0]
        url = urlunsplit(parts._replace(netloc=f"{user}@{LOOPBACK}:{proxy.port}"))
        port = free_port()
        settings = ConsoleSettings(
            postgres_url=url, kafka_bootstrap=NOWHERE, api_port=port, pages=False, start_timeout_s=600.0
        )
        async with running(serve, settings):
            await waits_for(port, "postgres", str(proxy.port))
            refused = await asked(port, "/api/v1/programs")
            assert refused is not None
            assert (refused.status_code, refused.json()["reason"]) == (503, "database_unavailable")
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) > 0
            # Whoever was connected meanwhile stays so.
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            await proxy.open()

            async def ready() -> bool:
                answer = await asked(port, "/readyz")
                assert answer is not None, "a connection was refused while the console began to serve"
                return answer.status_code == 200

            await until(ready, "console that is ready", READY_LIMIT_S)
            served = await asked(port, "/api/v1/programs")
            assert served is not None
            assert served.status_code == 401
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: console\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()


@pytest.mark.parametrize("name", WORKERS)
async def test_a_worker_that_waits_for_postgres_stops_when_it_is_told_to(name: str) -> None:
    main, settings = WORKERS[name]
    port = free_port()
    ports = {"api_port": port} if name == "console" else {"health_port": port}
    url = f"postgresql://{LOOPBACK}:1/database"
    async with running(main, settings(postgres_url=url, kafka_bootstrap=NOWHERE, start_timeout_s=600.0, **ports)):
        await waits_for(port, "postgres", NOWHERE)


@pytest.mark.parametrize("name", ["issuer", "generator"])
async def test_a_worker_that_waits_for_kafka_stops_when_it_is_told_to(database_url: str, name: str) -> None:
    main, settings = WORKERS[name]
    port = free_port()
    given = settings(postgres_url=database_url, kafka_bootstrap=NOWHERE, health_port=port, start_timeout_s=600.0)
    async with running(main, given):
        await waits_for(port, "kafka", NOWHERE)
