"""The processes of one contender: start, join the group, and pause while a backlog is published."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from benchmarks.backlog import PARTITIONS
from benchmarks.contenders import Contender
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from services.standalone.child import Child
from services.standalone.servers import Servers

JOIN_TIMEOUT_S: Final = 60.0
JOIN_POLL_S: Final = 0.1
STOP_TIMEOUT_S: Final = 15.0


async def make_topics(servers: Servers, contender: Contender, prefix: str) -> None:
    """Its topics, which go when the servers go: deleting them would be work for the broker in the next run."""
    async with clients.admin(servers.kafka.bootstrap) as admin:
        await admin.create_topics([NewTopic(prefix + name, PARTITIONS, 1) for name in contender.topics])


@asynccontextmanager
async def processes(
    servers: Servers, contender: Contender, prefix: str, count: int, more: Mapping[str, str] | None = None
) -> AsyncIterator[list[Child]]:
    """So many of its processes, ready to answer: each is a member of their group. Raises CodewellError.

    `more` are variables that come behind those that say where Postgres and Kafka are.
    """
    env = {
        **os.environ,
        "CODEWELL_POSTGRES_URL": servers.postgres.url,
        "CODEWELL_KAFKA_BOOTSTRAP": servers.kafka.bootstrap,
        "CODEWELL_TOPIC_PREFIX": prefix,
        "CODEWELL_HEALTH_PORT": "0",
        **(more or {}),
    }
    children: list[Child] = []
    try:
        for number in range(1, count + 1):
            name = f"{prefix}{number}"
            words = [sys.executable, "-m", *contender.module]
            children.append(await Child.start(name, words, log_path=servers.home.logs / f"{name}.log", env=env))
        await _joined(servers, prefix + contender.group, children)
        yield children
    finally:
        await asyncio.gather(*(child.stop(timeout_s=STOP_TIMEOUT_S) for child in children))


async def _joined(servers: Servers, group: str, children: Sequence[Child]) -> None:
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    async with clients.admin(servers.kafka.bootstrap) as admin:
        while await _members(admin, group) < len(children):
            if time.monotonic() > deadline:
                raise CodewellError(f"{children[0].name} did not join its group in {JOIN_TIMEOUT_S:.0f} s.")
            check_alive(children)
            await asyncio.sleep(JOIN_POLL_S)


async def _members(admin: AIOKafkaAdminClient, group: str) -> int:
    """How many members have their partitions, 0 while these are dealt out."""
    try:
        [described] = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:
        # A new broker's first group has to wait for the topic of offsets.
        return 0
    [(_, _, state, _, _, members, *_)] = described.groups
    return len(members) if state == "Stable" else 0


def check_alive(children: Sequence[Child]) -> None:
    """Raise CodewellError, with its last words, when one has ended."""
    for child in children:
        if child.returncode is not None:
            raise CodewellError(f"{child.name} has ended with status {child.returncode}: {child.last_words()}")


@contextmanager
def held(children: Sequence[Child]) -> Iterator[Callable[[], None]]:
    """Stop them where they stand. What is given lets them go on, and the end of the block does so in any case."""
    for child in children:
        os.kill(child.pid, signal.SIGSTOP)

    def go() -> None:
        for child in children:
            if child.returncode is None:
                os.kill(child.pid, signal.SIGCONT)

    try:
        yield go
    finally:
        go()
