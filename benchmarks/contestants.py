"""The processes of one contender: start them, await their group, and pause them while a backlog is published."""

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
    """Create its topics. They end with the servers: deleting them would cost the broker time in the next run."""
    async with clients.admin(servers.kafka.bootstrap) as admin:
        await admin.create_topics([NewTopic(prefix + name, PARTITIONS, 1) for name in contender.topics])


@asynccontextmanager
async def processes(
    servers: Servers, contender: Contender, prefix: str, count: int, more: Mapping[str, str] | None = None
) -> AsyncIterator[list[Child]]:
    """Run `count` of its processes, each a member of their consumer group. Raises CodewellError.

    The variables of `more` override the common ones, such as the addresses of Postgres and Kafka.
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
    """The number of members with partitions, 0 during a rebalance."""
    try:
        [described] = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:
        # A new broker's first group has to wait for the offsets topic.
        return 0
    [(_, _, state, _, _, members, *_)] = described.groups
    return len(members) if state == "Stable" else 0


def check_alive(children: Sequence[Child]) -> None:
    """Raise CodewellError, with its last log lines, when one has ended."""
    for child in children:
        if child.returncode is not None:
            raise CodewellError(f"{child.name} has ended with status {child.returncode}: {child.last_words()}")


@contextmanager
def held(children: Sequence[Child]) -> Iterator[Callable[[], None]]:
    """Pause them with SIGSTOP. The yielded function resumes them, and so does the end of the block."""
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
