"""Workers are killed, stopped or frozen, or their clocks are wrong."""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg

from codewell.infra.process.failpoints import Failpoint
from tests.support.debian import unpacked
from tests.support.processes import frozen
from torture.moment import Moment
from torture.site import GENERATORS, ISSUERS, LIFECYCLES, Site

_ISSUER_POINTS: Final = (
    Failpoint.FETCHED,
    Failpoint.CLAIMED,
    Failpoint.COMMITTED,
    Failpoint.PRODUCED,
    Failpoint.ACKNOWLEDGED,
    Failpoint.OFFSETS_COMMITTED,
    Failpoint.REVOKING,
    Failpoint.CLOSING,
)
_GENERATOR_POINTS: Final = (
    Failpoint.FILLED, Failpoint.ORDERED, Failpoint.ANSWERED, Failpoint.STORED, Failpoint.NOTIFIED,
)  # fmt: skip
_LIFECYCLE_POINTS: Final = (
    Failpoint.STREAM_SNAPSHOT,
    Failpoint.STREAM_READ,
    Failpoint.STREAM_PUBLISHED,
    Failpoint.STREAM_NOTED,
)
_DEATH_LIMIT_S: Final = 20.0
_POLL_S: Final = 0.05


async def issuer_killed(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        await asyncio.sleep(moment.chance.uniform(0.2, 1.2))
        await site.kill(moment.chance.choice(ISSUERS), moment.chance)


async def issuer_killed_at_a_point(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        name, other = moment.chance.sample(ISSUERS, 2)
        point = moment.chance.choice(_ISSUER_POINTS)
        is_rare = point in {Failpoint.REVOKING, Failpoint.CLOSING}
        failpoint = f"{point}=kill@{1 if is_rare else moment.chance.randrange(1, 40)}"
        pid = await _replaced(site, name, moment, failpoint)
        if is_rare:
            await site.issuers_work()
        if point is Failpoint.REVOKING:
            await site.kill(other, moment.chance)
        elif point is Failpoint.CLOSING:
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


async def lifecycle_killed(site: Site, moment: Moment) -> None:
    """Kills the one that works or the one that waits, or both; their successors often die at a step of their work."""
    for _ in range(moment.times):
        await asyncio.sleep(moment.chance.uniform(0.2, 1.2))
        for name in moment.chance.sample(LIFECYCLES, moment.chance.choice((1, 1, 2))):
            point = f"{moment.chance.choice(_LIFECYCLE_POINTS)}=kill@{moment.chance.randrange(1, 4)}"
            await site.kill(name, moment.chance, point if moment.chance.random() < 0.7 else None)


async def lifecycle_frozen(site: Site, moment: Moment) -> None:
    """Freezes both, so that the one that works may find that it has lost its place."""
    with frozen([site.workers.pid(name) for name in LIFECYCLES]):
        await asyncio.sleep(moment.lasts_s)


async def slot_dropped(site: Site, moment: Moment) -> None:
    """Drops the slot of the stream, as an operator does whose disk is full. A slot in use is refused."""
    for _ in range(moment.times):
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            await site.run_sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        await asyncio.sleep(moment.chance.uniform(0.1, 0.5))


async def workers_stopped(site: Site, moment: Moment) -> None:
    """Stops workers one by one, as a rolling restart does."""
    names = moment.chance.sample((*ISSUERS, *GENERATORS, *LIFECYCLES), min(moment.times, 5))
    for name in names:
        status = await site.workers.terminate(name)
        # A worker that is still starting has nothing to finish, and the signal ends it.
        if status not in {0, -signal.SIGKILL, -signal.SIGTERM}:
            raise AssertionError(f"{name} ended with {status} when it was told to stop")


async def issuer_frozen(site: Site, moment: Moment) -> None:
    """Freezes an issuer at a random moment, or with a claim that is written and not committed."""
    name = moment.chance.choice(ISSUERS)
    if moment.chance.random() < 0.5:
        os.kill(site.workers.pid(name), signal.SIGSTOP)
    else:
        await _stopped(site, name, moment, f"{Failpoint.CLAIMED}=stop@{moment.chance.randrange(1, 40)}")
    await _woken_later(site.workers.pid(name), moment.lasts_s)


async def generator_frozen(site: Site, moment: Moment) -> None:
    """Freezes a generator with codes that are generated and not committed, while the other generator continues."""
    name = moment.chance.choice(GENERATORS)
    await _stopped(site, name, moment, f"{Failpoint.FILLED}=stop@{moment.chance.randrange(1, 4)}")
    await _woken_later(site.workers.pid(name), moment.lasts_s)


async def node_killed(site: Site, moment: Moment) -> None:
    """A node dies that has an issuer and all generators; they start elsewhere after a while. The others go on."""
    names = (ISSUERS[0], *GENERATORS, LIFECYCLES[0])
    for name in names:
        site.workers.away_s[name] = moment.lasts_s
    for name in names:
        site.workers.kill(name)
    site.kills += len(names)


async def clock_off(site: Site, moment: Moment) -> None:
    """A node's clock is ten minutes or two hours fast, then jumps to ten minutes slow."""
    library = next(iter(_faketime() or ()), None)
    assert library is not None
    with tempfile.TemporaryDirectory() as directory:
        offset = Path(directory) / "offset"
        # Kafka refuses records that are more than an hour ahead of its own clock.
        offset.write_text(moment.chance.choice(("+600", "+7200")))
        names = (moment.chance.choice(ISSUERS), moment.chance.choice(GENERATORS))
        for name in names:
            site.workers.at_next_start[name] = {
                "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
            await site.kill(name, moment.chance)
        await asyncio.sleep(moment.lasts_s)
        offset.write_text("-600")
        await asyncio.sleep(moment.lasts_s)
        # The successors have the machine's clock again.
        for name in names:
            await site.kill(name, moment.chance)


def _faketime() -> list[Path] | None:
    root = unpacked("libfaketime")
    return None if root is None else list(root.glob("usr/lib/*/faketime/libfaketimeMT.so.1"))


def needs_faketime(_: Site) -> str | None:
    return None if _faketime() else "apt brings no libfaketime"


async def _replaced(site: Site, name: str, moment: Moment, failpoint: str) -> int:
    """Kill a worker, and return the pid of its successor, which dies at the failpoint."""
    pid = site.workers.pid(name)
    await site.kill(name, moment.chance, failpoint)
    while site.workers.pid(name) == pid:
        await asyncio.sleep(_POLL_S)
    return site.workers.pid(name)


async def _stopped(site: Site, name: str, moment: Moment, failpoint: str) -> None:
    """Kill a worker, and wait until its successor has stopped at the failpoint, if it gets there."""
    pid = await _replaced(site, name, moment, failpoint)
    with suppress(TimeoutError, FileNotFoundError):
        async with asyncio.timeout(_DEATH_LIMIT_S):
            # The state follows the name, which is in parentheses (proc(5)).
            while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                await asyncio.sleep(_POLL_S)


async def _woken_later(pid: int, after_s: float) -> None:
    try:
        await asyncio.sleep(after_s)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _died(site: Site, name: str, pid: int) -> None:
    """Wait until a worker has died at its failpoint; one that never reaches it stays alive."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DEATH_LIMIT_S):
            while site.workers.pid(name) == pid:
                await asyncio.sleep(_POLL_S)
            site.deaths_at_points += 1
