"""How much memory each worker has while a server is away and requests keep coming: `python -m` this, some minutes.

It prints the resident memory of each worker, in MiB: before, at most during, and after the outage.
"""

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import httpx

from codewell.access import tokens
from codewell.client.exchange import build_request
from codewell.infra.kafka.clients import started_producer
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres.migrations import migrate
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ProgramSettings
from services.standalone.child import Child
from services.standalone.ports import LOOPBACK, free_port
from services.standalone.servers import Servers, running_servers
from tests.support.processes import children_of, frozen

OUTAGE_S = float(os.environ.get("OUTAGE_S", "90"))
REQUESTS_PER_S = 500
HTTP_CLIENTS = 64
_PREFIX = "m."


async def main() -> None:
    with TemporaryDirectory(prefix="codewell-memory-") as directory:
        async with running_servers(Path(directory)) as servers:
            for name in sys.argv[1:] or ("postgres", "kafka"):
                await measure(servers, name, Path(directory))


async def measure(servers: Servers, name: str, directory: Path) -> None:
    """Stop a server in the middle of its work, and let it go on."""
    secret = await prepared(servers, name)
    async with AsyncExitStack() as stack:
        workers, port = await started(servers, directory, stack)
        load = [asyncio.create_task(publish(servers, f"{name}_")), *called(port, secret, f"{name}_")]
        try:
            before = await most(workers, 20)
            child = getattr(servers, name).child
            with frozen([child.pid, *children_of(child.pid)]):
                during = await most(workers, OUTAGE_S)
            after = await most(workers, 40)
        finally:
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)
        for worker in workers:
            said = f"{worker} {before[worker]:.0f} {during[worker]:.0f} {after[worker]:.0f}"
            sys.stdout.write(f"{name} frozen for {OUTAGE_S:g} s: {said}\n")


async def prepared(servers: Servers, name: str) -> str:
    database = await asyncpg.connect(servers.postgres.url)
    await migrate(database)
    await create_topics(servers.kafka.bootstrap, _PREFIX)
    given = {"name": f"{name}_", "source": {"kind": "template", "template": "{string 12}"}, "codes_max": 10_000_000,
             "pool_max": 1_000_000, "campaign_can_create": True}  # fmt: skip
    program = await programs.create(database, Minters(None), ProgramSettings.model_validate(given), 10)
    await fill.generate(database, Minters(None), program.id, 1_000_000, None)
    _, secret = await tokens.create(database, f"t{time.time_ns()}", ["admin"])
    await database.close()
    return secret


async def started(servers: Servers, directory: Path, stack: AsyncExitStack) -> tuple[dict[str, int], int]:
    """The pid of each worker, and the console's port."""
    port = free_port()
    environment = {
        "PATH": os.defpath,
        "CODEWELL_POSTGRES_URL": servers.postgres.url,
        "CODEWELL_KAFKA_BOOTSTRAP": servers.kafka.bootstrap,
        "CODEWELL_TOPIC_PREFIX": _PREFIX,
        "CODEWELL_API_PORT": str(port),
    }
    workers = {}
    for name in ("issuer", "generator", "console"):
        words = [sys.executable, "-m", "services", name]
        child = await Child.start(name, words, log_path=directory / f"{name}.log", env=environment, cwd=Path.cwd())
        stack.push_async_callback(child.stop)
        workers[name] = child.pid
    return workers, port


async def publish(servers: Servers, program: str) -> None:
    """So many requests a second, as long as Kafka takes them."""
    async with started_producer(servers.kafka.bootstrap) as producer:
        number = 0
        while True:
            for _ in range(REQUESTS_PER_S // 10):
                number += 1
                data = {"profile_id": f"p-{number}", "campaign_id": "c", "programs": [program]}
                one = build_request("message-render", data)
                await producer.send(_PREFIX + one.topic, one.value, key=one.key, headers=one.headers)
            await asyncio.sleep(0.1)


def called(port: int, secret: str, program: str) -> list[asyncio.Task[None]]:
    """Clients that attach codes over HTTP one after the other, and don't wait for answers that take long."""

    async def call(client: httpx.AsyncClient) -> None:
        while True:
            try:
                url = f"http://{LOOPBACK}:{port}/api/v1/programs/{program}/codes:attach"
                await client.post(url, json={"profile_id": "p"})
            except httpx.HTTPError:
                await asyncio.sleep(0.1)

    headers = {"Authorization": f"Bearer {secret}"}
    client = httpx.AsyncClient(headers=headers, trust_env=False, timeout=1.0, limits=httpx.Limits(max_connections=None))
    return [asyncio.create_task(call(client)) for _ in range(HTTP_CLIENTS)]


async def most(workers: dict[str, int], seconds: float) -> dict[str, float]:
    """The most resident memory of each in this time (MiB)."""
    found = dict.fromkeys(workers, 0.0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, pid in workers.items():
            [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
            found[name] = max(found[name], int(line.split()[1]) / 1024)
        await asyncio.sleep(0.5)
    return found


if __name__ == "__main__":
    asyncio.run(main())
