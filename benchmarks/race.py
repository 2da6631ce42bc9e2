"""One run of one contender: it joins its group, is paused while the backlog is published, and answers it.

Only answering is measured. The processes have started, joined their group and answered some requests before; then the
kernel stops them (SIGSTOP), the backlog is published, and all resume at the same moment. The run ends when the reply
topic holds as many answers, by its end offsets.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks import contestants
from benchmarks.backlog import Answers, Backlog
from benchmarks.contenders import Contender
from benchmarks.usage import cpu_seconds, machine_cpu_seconds, peak_memory_mb
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from codewell.infra.postgres.connection import connection
from codewell.infra.uuid7 import uuid7
from services.standalone.child import Child
from services.standalone.servers import Servers

# A member without heartbeats for its session timeout (10 s by default) is removed from its group.
HELD_TIMEOUT_S: Final = 8.0
POLL_S: Final = 0.05
# A slower run is not worth measuring.
ANSWERS_A_SECOND_MIN: Final = 20
ANSWERS_TIMEOUT_MIN_S: Final = 60
WARM_UP_SHARE: Final = 20
# Twice as many codes as requests are available, for the peers too.
CODES_A_REQUEST: Final = 2
# Whose CPU time an answer costs.
ALL_KINDS: Final = ("issuer", "postgres", "kafka")


@dataclass(frozen=True)
class Heat:
    """The parameters of a run: contender, processes, requests, and warm-up requests."""

    contender: Contender
    issuers: int
    requests: int
    warm_up: int
    codes: int
    """The number of codes available for the requests."""
    name: str
    """Its program's short name; followed by a dot, the prefix of its topics."""
    url: str | None = None
    """The database, if it is not the servers' default one."""
    new_id: Callable[[], UUID] = uuid7
    """Generates the request ids."""

    def backlog(self, producer: AIOKafkaProducer, program: str, count: int) -> Backlog:
        """`count` of its requests, ready to be published."""
        wanted, data = self.contender.wanted, self.contender.data
        return Backlog(
            producer,
            f"{self.name}.",
            program,
            count,
            None if wanted is None else partial(wanted, program),
            self.new_id,
            None if data is None else partial(data, program),
            self.contender.topic,
        )


@dataclass(frozen=True)
class Outcome:
    """The measurements of one run."""

    requests: int
    seconds: float
    cpu_s: dict[str, float]
    """CPU time by kind of process, while the backlog was answered (s)."""
    others_cpu_s: float
    """CPU time of all other processes on the machine meanwhile, and of the host (steal, s)."""
    peak_memory_mb: float
    """Peak memory of the largest of its processes since its start."""

    @property
    def others_cores(self) -> float:
        """Cores used by all other processes: near 0 in a reliable measurement."""
        return max(0.0, self.others_cpu_s / self.seconds)

    def cpu_us(self, *kinds: str) -> float:
        """CPU time of these kinds of processes for one request (us)."""
        return 1e6 * sum(self.cpu_s[kind] for kind in kinds) / self.requests

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


async def run(heat: Heat, servers: Servers) -> Outcome:
    """Run it on topics and a program of its own. Raises CodewellError when a process ends or does not answer."""
    prefix = f"{heat.name}."
    await contestants.make_topics(servers, heat.contender, prefix)
    elsewhere = {} if heat.url is None else {"CODEWELL_POSTGRES_URL": heat.url}
    async with clients.started_producer(servers.kafka.bootstrap) as producer:
        # The backlog is built while the processes start.
        building = asyncio.create_task(asyncio.to_thread(heat.backlog, producer, heat.name, heat.requests))
        async with contestants.processes(servers, heat.contender, prefix, heat.issuers, elsewhere) as children:
            outcome = await _raced(heat, servers, prefix, children, producer, building)
    await check_given(heat, servers)
    return outcome


async def _raced(
    heat: Heat, servers: Servers, prefix: str, children: Sequence[Child], producer: AIOKafkaProducer,
    building: Awaitable[Backlog],
) -> Outcome:  # fmt: skip
    counting = AIOKafkaConsumer(bootstrap_servers=servers.kafka.bootstrap, enable_auto_commit=False)
    async with counting:
        answers = Answers(counting, prefix, heat.contender.topic)
        warm_up = f"{heat.name}_warm_up"
        await stock(heat, servers, warm_up, heat.warm_up)
        await heat.backlog(producer, warm_up, heat.warm_up).store()
        await answered(answers, heat.warm_up, children)
        await stock(heat, servers, heat.name, heat.codes)
        backlog = await building
        kinds = _kinds(servers, children)
        with contestants.held(children) as go:
            await _store(backlog)
            machine_before, cpu_before = machine_cpu_seconds(), _cpu(kinds)
            began = time.perf_counter()
            go()
            await answered(answers, heat.warm_up + heat.requests, children)
        seconds = time.perf_counter() - began
        cpu_s = {kind: now - cpu_before[kind] for kind, now in _cpu(kinds).items()}
        others_cpu_s = machine_cpu_seconds() - machine_before - sum(cpu_s.values())
        memory_mb = max(peak_memory_mb(child.pid) for child in children)
        return Outcome(heat.requests, seconds, cpu_s, others_cpu_s, memory_mb)


async def stock(heat: Heat, servers: Servers, program: str, count: int) -> None:
    """Create `count` codes of a program."""
    async with connection(heat.url or servers.postgres.url, "codewell-bench") as opened:
        await heat.contender.stock(opened, program, count)


async def _store(backlog: Backlog) -> None:
    try:
        async with asyncio.timeout(HELD_TIMEOUT_S):
            await backlog.store()
    except TimeoutError as error:
        raise CodewellError(
            f"The backlog was not stored within {HELD_TIMEOUT_S:.0f} s, for which issuers can be held: "
            "measure with fewer requests."
        ) from error


async def answered(answers: Answers, count: int, children: Sequence[Child]) -> int:
    """Wait until there are at least `count` answers, and return their number. Raises CodewellError."""
    deadline = time.monotonic() + ANSWERS_TIMEOUT_MIN_S + count / ANSWERS_A_SECOND_MIN
    while (there := await answers.count()) < count:
        if time.monotonic() > deadline:
            raise CodewellError(f"{children[0].name} has given {there:,} answers of {count:,}, too few in its time.")
        contestants.check_alive(children)
        await asyncio.sleep(POLL_S)
    return there


def _kinds(servers: Servers, children: Sequence[Child]) -> dict[str, list[int]]:
    """The processes that take part, by kind."""
    kinds = {"issuer": [child.pid for child in children]}
    for kind, server in (("postgres", servers.postgres.child), ("kafka", servers.kafka.child)):
        kinds[kind] = [server.pid] if server is not None else []
    return kinds


def _cpu(kinds: dict[str, list[int]]) -> dict[str, float]:
    used = {kind: cpu_seconds(pids) for kind, pids in kinds.items()}
    return {**used, "measuring": time.process_time()}


async def check_given(heat: Heat, servers: Servers) -> None:
    """Raise CodewellError unless each request got its code: refusals would be answers too, and cheap ones."""
    async with connection(heat.url or servers.postgres.url, "codewell-bench") as opened:
        given = await heat.contender.given(opened, heat.name)
    if given not in {None, heat.requests}:
        raise CodewellError(f"{heat.contender.name} has given {given:,} codes for {heat.requests:,} requests.")
