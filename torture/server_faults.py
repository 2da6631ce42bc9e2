"""Postgres and Kafka are killed, paused, replaced, or run out of disk space."""

import asyncio
import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg

from tests.support.debian import unpacked
from tests.support.processes import children_of, frozen
from torture.moment import Moment
from torture.site import Site

_BLOCK_BYTES: Final = 4096


async def broker_paused(site: Site, moment: Moment) -> None:
    async with site.kafka_in_hand:
        with frozen([site.brokers.pid(1)]):
            await asyncio.sleep(moment.lasts_s)


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


async def failover(site: Site, moment: Moment) -> None:
    """Fails over to a synchronous standby. Connections lead to it for a moment while it still refuses writes."""
    async with site.postgres_in_hand:
        await site.pair.protect()
        await asyncio.sleep(1)
        await site.pair.kill(signal.SIGQUIT)
        site.lead_to(site.pair.standby.url)
        await asyncio.sleep(moment.chance.uniform(0.2, 1.5))
        await site.pair.promote()
        site.failovers += 1
        site.follow()


async def disk_fails(site: Site, moment: Moment) -> None:
    """Writes to the Postgres log are slow, or fail once in each process: then Postgres restarts by itself.

    It ends where its recovery meets such a failure too, and its supervisor restarts it.
    """
    strace = _strace()
    assert strace is not None
    async with site.postgres_in_hand:
        child = site.pair.primary.child
        assert child is not None
        what = moment.chance.choice(("error=EIO:when=1", "delay_enter=300ms"))
        words = ["-f", "-qq", "-o", os.devnull, "-e", f"inject=fsync,fdatasync:{what}"]
        for pid in (child.pid, *children_of(child.pid)):
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
        await _restart_if_ended(site)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Leave a block of 4 KB on the folder's disk, which is mounted there or above, during the block."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb") as file:
            # The server may take some of the space before it is filled.
            while (free := os.statvfs(folder)).f_bavail * free.f_frsize > _BLOCK_BYTES:
                filled = os.fstat(file.fileno()).st_blocks * 512
                try:
                    os.posix_fallocate(file.fileno(), 0, filled + free.f_bavail * free.f_frsize - _BLOCK_BYTES)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        yield
    finally:
        ballast.unlink()


async def disk_full(site: Site, moment: Moment) -> None:
    """Whatever state Postgres ends in, it is restarted once there is space."""
    async with site.postgres_in_hand:
        with full_disk(site.pair.data.parent):
            await asyncio.sleep(moment.lasts_s)
        await _restart_if_ended(site)


async def _restart_if_ended(site: Site) -> None:
    child = site.pair.primary.child
    if child is not None and child.returncode is not None:
        await site.pair.primary.start()
        site.follow()


def _strace() -> Path | None:
    return unpacked("strace", "libunwind8")


def needs_strace(_: Site) -> str | None:
    return None if _strace() else "apt brings no strace"


def needs_small_disk(site: Site) -> str | None:
    return None if site.has_small_disk else "only root may mount a small disk"
