"""Every kind of fault: how it is made, and unmade."""

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from services.runtime.failpoints import Point
from tests.debian import unpacked
from tests.faults.ledger import REQUESTS
from tests.faults.proxy import Proxy
from tests.faults.site import GENERATORS, ISSUERS, PREFIX, Site

_ISSUER_POINTS: Final = (
    Point.FETCHED, Point.CLAIMED, Point.COMMITTED, Point.PRODUCED, Point.ACKNOWLEDGED, Point.OFFSETS_COMMITTED,
    Point.REVOKING, Point.CLOSING,
)  # fmt: skip
_GENERATOR_POINTS: Final = (Point.FILLED, Point.ORDERED, Point.ANSWERED, Point.STORED)
_DEATH_LIMIT_S: Final = 20.0
_POLL_S: Final = 0.05
_COMMIT: Final = b"COMMIT"


@dataclass(frozen=True)
class Moment:
    """What one fault is made with: its own source of chance, and how much of it there is."""

    chance: random.Random
    times: int
    """How often, where it is of the kind that happens at a point in time."""
    lasts_s: float
    """How long, where it is of the kind that lasts (s)."""


Act = Callable[[Site, Moment], Awaitable[None]]


async def issuer_killed(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        await asyncio.sleep(moment.chance.uniform(0.2, 1.2))
        await site.kill(moment.chance.choice(ISSUERS), moment.chance)


async def issuer_killed_at_a_point(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        name, other = moment.chance.sample(ISSUERS, 2)
        point = moment.chance.choice(_ISSUER_POINTS)
        is_rare = point in {Point.REVOKING, Point.CLOSING}
        failpoint = f"{point}=kill@{1 if is_rare else moment.chance.randrange(1, 40)}"
        pid = await _replaced(site, name, moment, failpoint)
        if is_rare:
            await site.issuers_work()
        if point is Point.REVOKING:
            await site.kill(other, moment.chance)
        elif point is Point.CLOSING:
            site.workers.send(name, signal.SIGTERM)
        await _died(site, name, pid)


async def generator_killed(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        await asyncio.sleep(moment.chance.uniform(0.2, 1.2))
        await site.kill(moment.chance.choice(GENERATORS), moment.chance)


async def generator_killed_at_a_point(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        name = moment.chance.choice(GENERATORS)
        point = moment.chance.choice(_GENERATOR_POINTS)
        pid = await _replaced(site, name, moment, f"{point}=kill@{moment.chance.randrange(1, 4)}")
        await _died(site, name, pid)


async def workers_stopped(site: Site, moment: Moment) -> None:
    """One after the other, as a rolling restart does."""
    names = moment.chance.sample((*ISSUERS, *GENERATORS), min(moment.times, 5))
    for name in names:
        status = await site.workers.terminate(name)
        if status not in {0, -signal.SIGKILL}:
            raise AssertionError(f"{name} ended with {status} when it was told to stop")


async def issuer_frozen(site: Site, moment: Moment) -> None:
    """At any moment, or with a claim that is written and not committed."""
    name = moment.chance.choice(ISSUERS)
    if moment.chance.random() < 0.5:
        os.kill(site.workers.pid(name), signal.SIGSTOP)
    else:
        await _stopped(site, name, moment, f"{Point.CLAIMED}=stop@{moment.chance.randrange(1, 40)}")
    await _woken_later(site.workers.pid(name), moment.lasts_s)


async def generator_frozen(site: Site, moment: Moment) -> None:
    """With codes that are made and not committed, while the other one goes on."""
    name = moment.chance.choice(GENERATORS)
    await _stopped(site, name, moment, f"{Point.FILLED}=stop@{moment.chance.randrange(1, 4)}")
    await _woken_later(site.workers.pid(name), moment.lasts_s)


async def broker_paused(site: Site, moment: Moment) -> None:
    async with site.kafka_in_hand:
        assert site.broker.child is not None
        os.kill(site.broker.child.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(moment.lasts_s)
        finally:
            os.kill(site.broker.child.pid, signal.SIGCONT)


async def broker_killed(site: Site, moment: Moment) -> None:
    async with site.kafka_in_hand:
        for _ in range(moment.times):
            await site.restart_kafka()
            await asyncio.sleep(moment.chance.uniform(0.5, 2))


async def postgres_killed(site: Site, moment: Moment) -> None:
    async with site.postgres_in_hand:
        for _ in range(moment.times):
            await site.restart_postgres(moment.chance.choice((signal.SIGKILL, signal.SIGQUIT)))
            await asyncio.sleep(moment.chance.uniform(0.5, 2))


async def sessions_killed(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        which = "" if moment.chance.random() < 0.3 else "ORDER BY random() LIMIT 1"
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            await site.run_sql(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
                f"WHERE application_name LIKE 'codewell-%' {which}) x"
            )
        await asyncio.sleep(moment.chance.uniform(0.1, 0.5))


async def commit_answers_lost(site: Site, moment: Moment) -> None:
    enough = site.postgres.answers_lost + moment.times
    _change(site.postgres, lose_answer_to=_COMMIT)
    try:
        async with asyncio.timeout(_DEATH_LIMIT_S):
            while site.postgres.answers_lost < enough:
                await asyncio.sleep(_POLL_S / 10)
    except TimeoutError:
        pass
    finally:
        _change(site.postgres, lose_answer_to=None)


async def failover(site: Site, moment: Moment) -> None:
    """To a synchronous standby. For a moment all connections lead to it while it still refuses to write."""
    async with site.postgres_in_hand:
        await site.pair.protect()
        await asyncio.sleep(1)
        await site.pair.kill(signal.SIGQUIT)
        site.lead_to(site.pair.standby.url)
        await asyncio.sleep(moment.chance.uniform(0.2, 1.5))
        await site.pair.promote()
        site.follow()


async def connections_reset(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        moment.chance.choice((site.postgres, site.kafka)).reset()
        await asyncio.sleep(moment.chance.uniform(0.1, 0.5))


async def connections_refused(site: Site, moment: Moment) -> None:
    proxy = moment.chance.choice((site.postgres, site.kafka))
    await proxy.refuse()
    await asyncio.sleep(moment.lasts_s)
    await proxy.open()


async def partition(site: Site, moment: Moment) -> None:
    """Nothing gets through any more, in one direction or both."""
    proxy = moment.chance.choice((site.postgres, site.kafka))
    to_server, to_client = moment.chance.choice(((False, False), (True, False), (False, True)))
    _change(proxy, to_server=to_server, to_client=to_client)
    try:
        await asyncio.sleep(moment.lasts_s)
    finally:
        _change(proxy, to_server=True, to_client=True)


async def slow_network(site: Site, moment: Moment) -> None:
    """100 ms more each way and back, and 3 Mbit/s."""
    for proxy in (site.postgres, site.kafka):
        _change(proxy, delay_s=0.04, jitter_s=0.02, bytes_per_s=3e6 / 8)
    await asyncio.sleep(moment.lasts_s)
    for proxy in (site.postgres, site.kafka):
        _change(proxy, delay_s=0.0, jitter_s=0.0, bytes_per_s=None)


async def disk_fails(site: Site, moment: Moment) -> None:
    """Postgres' writes to its log take long, or fail once: then it restarts by itself."""
    strace = _strace()
    assert strace is not None
    async with site.postgres_in_hand:
        child = site.pair.primary.child
        assert child is not None
        what = moment.chance.choice(("error=EIO:when=1", "delay_enter=300ms"))
        words = ["-f", "-qq", "-o", os.devnull, "-e", f"inject=fsync,fdatasync:{what}"]
        for pid in (child.pid, *_children(child.pid)):
            words += ["-p", str(pid)]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(str(one) for one in strace.glob("usr/lib/*"))}
        tracing = await asyncio.create_subprocess_exec(
            strace / "usr/bin/strace", *words, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await asyncio.sleep(moment.lasts_s)
        finally:
            with suppress(ProcessLookupError):
                tracing.send_signal(signal.SIGINT)
            await tracing.wait()


async def disk_full(site: Site, moment: Moment) -> None:
    """Whatever Postgres does then, it is started again when there is space."""
    async with site.postgres_in_hand:
        folder = site.pair.data.parent
        ballast = folder / "ballast"
        with ballast.open("wb") as file:
            free = os.statvfs(folder)
            os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - 4096))
        try:
            await asyncio.sleep(moment.lasts_s)
        finally:
            ballast.unlink()
        child = site.pair.primary.child
        if child is not None and child.returncode is not None:
            await site.pair.primary.start()
            site.follow()


async def clock_off(site: Site, moment: Moment) -> None:
    """A worker whose clock is ten minutes ahead, and then jumps back to ten minutes late."""
    library = next(iter(_faketime() or ()), None)
    assert library is not None
    with tempfile.TemporaryDirectory() as directory:
        offset = Path(directory) / "offset"
        offset.write_text("+600")
        name = moment.chance.choice((*ISSUERS, *GENERATORS))
        site.workers.at_next_start[name] = {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        await site.kill(name, moment.chance)
        await asyncio.sleep(moment.lasts_s)
        offset.write_text("-600")
        await asyncio.sleep(moment.lasts_s)
        # The next one has the machine's clock again.
        await site.kill(name, moment.chance)


async def rebalance_storm(site: Site, moment: Moment) -> None:
    """Members that take partitions, do nothing with them, and leave."""

    async def join() -> None:
        consumer = AIOKafkaConsumer(
            *(PREFIX + name for name in REQUESTS), bootstrap_servers=site.bootstrap, enable_auto_commit=False,
            group_id=f"{PREFIX}codewell-issuer", session_timeout_ms=15_000, rebalance_timeout_ms=30_000,
        )  # fmt: skip
        try:
            async with asyncio.timeout(30):
                await consumer.start()
            await asyncio.sleep(moment.chance.uniform(0.5, 2))
        except (KafkaError, OSError, TimeoutError):
            pass
        finally:
            await consumer.stop()

    async with asyncio.TaskGroup() as group:
        for _ in range(moment.times):
            group.create_task(join())
            await asyncio.sleep(moment.chance.uniform(0.3, 1))


async def poison(site: Site, moment: Moment) -> None:
    assert site.load is not None
    for _ in range(moment.times):
        with suppress(KafkaError, TimeoutError):
            await site.load.poison(10)
        await asyncio.sleep(0.1)


async def remote_misbehaves(site: Site, moment: Moment) -> None:
    site.service.misbehaves = True
    await asyncio.sleep(moment.lasts_s)
    site.service.misbehaves = False


async def refilled(site: Site, moment: Moment) -> None:
    """A program that ran empty under more demand than it has codes may have some more."""
    with suppress(OSError, asyncpg.PostgresError, TimeoutError):
        await site.run_sql("UPDATE program SET codes_max = codes_max + 60 WHERE name = 'SCARCE'")
    await asyncio.sleep(1)


@dataclass(frozen=True)
class Kind:
    """One kind of fault: in the short run once, in the long one in `steps` steps."""

    name: str
    promises: str
    act: Act
    lasts_s: tuple[float, ...] = (0,)
    """How long it may last; the short run has the first (s)."""
    short_times: int = 1
    times: int = 1
    """How often it happens in one step of the long run."""
    steps: int = 3
    why_not: Callable[[Site], str | None] = lambda _: None
    """None, or why it can't be made here."""


def _strace() -> Path | None:
    return unpacked("strace", "libunwind8")


def _faketime() -> list[Path] | None:
    root = unpacked("libfaketime")
    return None if root is None else list(root.glob("usr/lib/*/faketime/libfaketimeMT.so.1"))


def _needs_strace(_: Site) -> str | None:
    return None if _strace() else "apt brings no strace"


def _needs_small_disk(site: Site) -> str | None:
    return None if site.has_small_disk else "only root may mount a small disk"


def _needs_faketime(_: Site) -> str | None:
    return None if _faketime() else "apt brings no libfaketime"


KINDS: Final = (
    Kind("issuer killed", "I1-I5, I7", issuer_killed, short_times=4, times=20, steps=15),
    Kind("issuer killed at a point", "I1-I5, I7", issuer_killed_at_a_point, short_times=2, times=10, steps=15),
    Kind("generator killed", "I1, I4, I5", generator_killed, short_times=2, times=20, steps=5),
    Kind("generator killed at a point", "I1, I4, I5", generator_killed_at_a_point, times=10, steps=5),
    Kind("workers stopped", "I2, I3", workers_stopped, short_times=2, times=5, steps=8),
    Kind("issuer frozen", "I1-I3, I7", issuer_frozen, (2, 1, 5, 17, 30), steps=10),
    Kind("generator frozen", "I1, I4, I5", generator_frozen, (2, 1, 5, 17), steps=6),
    Kind("broker paused", "I1-I4, I7", broker_paused, (3, 1, 5, 30, 90), steps=5),
    Kind("broker killed", "I1-I4, I7", broker_killed, times=3, steps=5),
    Kind("Postgres killed", "I1-I5, I7", postgres_killed, times=5, steps=5),
    Kind("sessions killed", "I1-I5, I7", sessions_killed, short_times=5, times=20, steps=5),
    Kind("commit answers lost", "I1, I2", commit_answers_lost, short_times=5, times=25, steps=8),
    Kind("fail-over, synchronous", "I1, I4", failover, steps=10),
    Kind("connections reset", "I1-I4", connections_reset, short_times=5, times=20, steps=10),
    Kind("connections refused", "I1-I4", connections_refused, (2, 5, 10), steps=4),
    Kind("partition", "I1-I5, I7", partition, (5, 10, 20, 40), steps=10),
    Kind("slow network", "I7", slow_network, (3, 30), steps=2),
    Kind("disk fails", "I1-I5", disk_fails, (2, 5), steps=6, why_not=_needs_strace),
    Kind("disk full", "I3, I4", disk_full, (3, 5), steps=4, why_not=_needs_small_disk),
    Kind("clock off", "I1, I6", clock_off, (3, 5), steps=6, why_not=_needs_faketime),
    Kind("rebalance storm", "I1-I4, I7", rebalance_storm, short_times=4, times=16, steps=6),
    Kind("poison", "I3", poison, short_times=3, times=50, steps=10),
    Kind("remote service misbehaves", "I1, I4, I5", remote_misbehaves, (4, 20), steps=5),
    Kind("refilled", "I1-I3, I5", refilled, steps=6),
)  # fmt: skip


def _change(proxy: Proxy, **changed: Any) -> None:
    proxy.becomes(replace(proxy.weather, **changed))


async def _replaced(site: Site, name: str, moment: Moment, failpoint: str) -> int:
    """Kill a worker, and give the pid of the one after it, which dies at the failpoint."""
    pid = site.workers.pid(name)
    await site.kill(name, moment.chance, failpoint)
    while site.workers.pid(name) == pid:
        await asyncio.sleep(_POLL_S)
    return site.workers.pid(name)


async def _stopped(site: Site, name: str, moment: Moment, failpoint: str) -> None:
    """Kill a worker, and wait until the one after it has stopped at the failpoint, if it gets there."""
    pid = await _replaced(site, name, moment, failpoint)
    with suppress(TimeoutError, FileNotFoundError):
        async with asyncio.timeout(_DEATH_LIMIT_S):
            # The state stands behind the name, which is in brackets (proc(5)).
            while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                await asyncio.sleep(_POLL_S)


async def _woken_later(pid: int, after_s: float) -> None:
    try:
        await asyncio.sleep(after_s)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _died(site: Site, name: str, pid: int) -> None:
    """Wait until a worker has died where it was to; one that never gets there lives on."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DEATH_LIMIT_S):
            while site.workers.pid(name) == pid:
                await asyncio.sleep(_POLL_S)
            site.deaths_at_points += 1


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in text.split()]
