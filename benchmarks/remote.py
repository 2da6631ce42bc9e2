"""Rate at which a generator fetches codes from a slow remote service, beside the service's limit.

Two programs share the service, since one may use at most half of a generator's requests.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from benchmarks import contestants, slow_service
from benchmarks.fresh import fresh_servers
from benchmarks.generators import generators
from benchmarks.http_load import Plan, Seen, load
from benchmarks.machine import facts
from benchmarks.proof import check_audit
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from benchmarks.serving import answering
from benchmarks.usage import cpu_seconds
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from codewell.infra.kafka.topics import create_topics
from codewell.infra.postgres.connection import Connection, connection
from codewell.infra.uuid7 import uuid7
from codewell.pool.demand import LowPool
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.remote import signing_secrets
from codewell.remote.signing import signature_headers
from codewell.remote.signing_secrets import SigningSecret
from schemas import topics
from schemas.program import ProgramSettings, RemoteSource
from schemas.remote import RemoteRequest
from services.issuer.demand_publisher import DemandPublisher
from services.standalone.child import Child
from services.standalone.ports import LOOPBACK, free_port
from services.standalone.servers import Servers

SHARE_GOAL: Final = 0.85
CONCURRENCY: Final = 8
ANSWER_MS: Final = 50
PROGRAMS: Final = ("ONE", "OTHER")
# Sequential requests are so slow that a part of the codes is enough.
_PEER_SHARE: Final = 20
_POLL_S: Final = 0.01
_TIMEOUT_S: Final = 120.0
_STOP_TIMEOUT_S: Final = 5.0

_RAISE: Final = "UPDATE program SET pool_max = pool_max + $1 RETURNING id, pool_max"
_MADE: Final = "SELECT sum(made) FROM program"
_FAILED: Final = "SELECT error FROM remote_service WHERE error IS NOT NULL LIMIT 1"


async def bench_remote(codes: int, request_max: int, repetitions: int, progress: Progress) -> Report:
    """Fetch `codes` codes in requests of `request_max`, and request as many without Codewell. Raises CodewellError."""
    report = Report("remote", facts())
    each = -(-codes // len(PROGRAMS))
    product, peer, bare = [], [], []
    cpu_ms: dict[str, list[float]] = {"generator": [], "postgres": []}
    async with fresh_servers(progress) as servers:
        await create_topics(servers.kafka.bootstrap, "")
        port = free_port()
        async with (
            connection(servers.postgres.url, "codewell-bench") as opened,
            _service(servers, port, await _make(opened, port, request_max, each * repetitions)) as keys,
            generators(servers, 1, {"CODEWELL_REMOTE_ALLOW": "127.0.0.0/8",
                                    "CODEWELL_REMOTE_CONCURRENCY": str(CONCURRENCY)}) as children,
            clients.started_producer(servers.kafka.bootstrap) as producer,
        ):  # fmt: skip
            # The first request of each is a warm-up.
            await _until_made(opened, len(PROGRAMS) * request_max, children)
            demands = DemandPublisher(producer, topics.POOL_DEMAND, 0)
            database = servers.postgres.child
            pids = {"generator": children[0].pid, "postgres": database.pid if database else 0}
            for repetition in range(1, repetitions + 1):
                before = {kind: cpu_seconds([pid]) for kind, pid in pids.items()}
                product.append(len(PROGRAMS) * each / await _fill(opened, demands, each, children))
                for kind, pid in pids.items():
                    cpu_ms[kind].append(1_000 * (cpu_seconds([pid]) - before[kind]) / (codes / request_max))
                peer.append(await _asked(port, keys[0], max(1, codes // request_max // _PEER_SHARE), request_max, 1))
                bare.append(await _asked(port, keys[0], max(1, codes // request_max), request_max, CONCURRENCY))
                progress(f"{repetition} of {repetitions}: {product[-1]:,.0f} codes/s; without Codewell one request at "
                         f"a time {peer[-1]:,.0f}, {CONCURRENCY} side by side {bare[-1]:,.0f}")  # fmt: skip
            await check_audit(opened)
    for kind, spent in cpu_ms.items():
        report.add(f"CPU of {kind}", "ms/request", spent)
    _fill_in(report, CONCURRENCY * request_max * 1_000 / ANSWER_MS, product, peer, bare)
    return report


def _fill_in(report: Report, limit: float, product: list[float], peer: list[float], bare: list[float]) -> None:
    report.add("codewell", "codes/s", product)
    report.add("one request at a time", "codes/s", peer)
    report.add(f"{CONCURRENCY} side by side, nothing stored", "codes/s", bare)
    report.add(f"the limit of {CONCURRENCY} side by side", "codes/s", [limit])
    report.add("codewell / one at a time", "times", [one / other for one, other in zip(product, peer, strict=True)])
    report.add("codewell / nothing stored", "times", [one / other for one, other in zip(product, bare, strict=True)])
    share = report.add("codewell / the limit", OF_CEILING, [one / limit for one in product])
    report.goals.append(Goal("share of the limit", share.rate, SHARE_GOAL))


async def _make(opened: Connection, port: int, request_max: int, codes: int) -> list[SigningSecret]:
    """Create the programs, whose pools one request fills; returns the secrets that the service has for them."""
    minters = Minters(None)
    secrets = []
    for name in PROGRAMS:
        source = RemoteSource(kind="remote", url=f"http://{LOOPBACK}:{port}/", request_max=request_max)
        settings = ProgramSettings(
            name=name, source=source, campaign_can_create=True, codes_max=codes + request_max, pool_max=request_max
        )
        program = await programs.create(opened, minters, settings, guesses_per_s=10)
        secrets += await signing_secrets.active_secrets(opened, minters, program.id)
    return secrets


@asynccontextmanager
async def _service(servers: Servers, port: int, secrets: Sequence[SigningSecret]) -> AsyncIterator[list[bytes]]:
    """Run the service; yields the keys that it verifies signatures with."""
    env = {
        **os.environ,
        slow_service.PORT_VARIABLE: str(port),
        slow_service.SECRETS_VARIABLE: ",".join(secret.text for secret in secrets),
        slow_service.ANSWER_MS_VARIABLE: str(ANSWER_MS),
    }
    words = [sys.executable, "-m", "benchmarks.slow_service"]
    child = await Child.start("slow service", words, log_path=servers.home.logs / "slow_service.log", env=env)
    try:
        await answering(child, port)
        yield [secret.key for secret in secrets]
    finally:
        await child.stop(timeout_s=_STOP_TIMEOUT_S)


async def _fill(opened: Connection, demands: DemandPublisher, each: int, children: Sequence[Child]) -> float:
    """Time from the published demand of each program until all its codes are stored (s)."""
    raised = await opened.fetch(_RAISE, each)
    began = time.perf_counter()
    await demands.publish({row["id"]: LowPool(row["pool_max"] - each, is_urgent=True) for row in raised})
    await _until_made(opened, sum(row["pool_max"] for row in raised), children)
    return time.perf_counter() - began


async def _until_made(opened: Connection, wanted: int, children: Sequence[Child]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while (made := await opened.fetchval(_MADE)) < wanted:
        contestants.check_alive(children)
        if error := await opened.fetchval(_FAILED):
            raise CodewellError(f"The generator could not get codes from the service: {error}")
        if time.monotonic() > deadline:
            raise CodewellError(f"The generator has brought {made:,} codes of {wanted:,} in {_TIMEOUT_S:.0f} s.")
        await asyncio.sleep(_POLL_S)


async def _asked(port: int, key: bytes, requests: int, count: int, connections: int) -> float:
    """Codes a second of a client with persistent connections that discards the answers."""
    seen: Seen = await load(Plan(LOOPBACK, port, connections, [_request(key, count) for _ in range(requests)], None))
    if set(seen.statuses) != {200}:
        raise CodewellError(f"Not every answer of the service was 200: {seen.statuses}.")
    return requests * count / seen.seconds


def _request(key: bytes, count: int) -> str:
    """A signed request as bytes for the wire."""
    asked = RemoteRequest(version=1, request_id=uuid7(), program=PROGRAMS[0], count=count, fields={})
    body = asked.model_dump_json()
    headers = signature_headers(str(asked.request_id), int(time.time()), body.encode(), [key])
    lines = ["POST / HTTP/1.1", "host: service", "content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", body])
