"""Nodes of a cluster die, freeze, run out of disk or are restarted: brokers of Kafka, or Postgres under Patroni.

A node that died stays away until the next fault, so that recovery is measured without it.
"""

import asyncio
import signal
from contextlib import suppress
from typing import Final

from codewell.errors import StackUnavailable
from tests.support.processes import frozen
from torture.moment import Moment
from torture.patroni import Node
from torture.server_faults import full_disk
from torture.site import PREFIX, Site

_HANDOVER_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.2


async def leading_broker_killed(site: Site, moment: Moment) -> None:
    """Kills the broker that leads the most partitions."""
    await _whole_kafka(site)
    await site.brokers.end(await _leading(site), signal.SIGKILL)


async def brokers_restarted(site: Site, moment: Moment) -> None:
    """Restarts each in order, as an upgrade does: the next one once all replicas are in sync."""
    await _whole_kafka(site)
    for number in site.brokers.ids:
        await site.brokers.end(number, signal.SIGTERM)
        await site.brokers.begin(number)
        await site.brokers.wait_until_in_sync(PREFIX)


async def broker_frozen(site: Site, moment: Moment) -> None:
    """Freezes the leading broker for longer than its session, so that it wakes up as one that lost its place."""
    await _whole_kafka(site)
    with frozen([site.brokers.pid(await _leading(site))]):
        await asyncio.sleep(moment.lasts_s)


async def two_brokers_killed(site: Site, moment: Moment) -> None:
    """Kills two of three: nothing is acknowledged until one is back."""
    await _whole_kafka(site)
    numbers = moment.chance.sample(site.brokers.ids, 2)
    for number in numbers:
        await site.brokers.end(number, signal.SIGKILL)
    await asyncio.sleep(moment.lasts_s)
    await asyncio.gather(*(site.brokers.begin(number) for number in numbers))


async def broker_disk_full(site: Site, moment: Moment) -> None:
    """Fills the disk of the last broker, which ends by itself; it is started again once there is space."""
    await _whole_kafka(site)
    number = site.brokers.ids[-1]
    with full_disk(site.brokers.data[number - 1].parent):
        await asyncio.sleep(moment.lasts_s)
    # It may have got through, as a segment has room that was taken before.
    await site.brokers.end(number, signal.SIGKILL)


async def leader_killed(site: Site, moment: Moment) -> None:
    """The leader's machine dies with Patroni and Postgres."""
    await (await _whole_postgres(site)).kill()
    site.failovers += 1


async def leading_postgres_killed(site: Site, moment: Moment) -> None:
    """Only Postgres dies: Patroni starts it again, or hands over."""
    (await _whole_postgres(site)).send(signal.SIGKILL, patroni=False)


async def standby_killed(site: Site, moment: Moment) -> None:
    """Commits wait until Patroni has named the other standby as the synchronous one."""
    await _whole_postgres(site)
    name = await _standby(site)
    [node] = [node for node in site.patroni.nodes if node.name == name]
    await node.kill()


async def leader_handed_over(site: Site, moment: Moment) -> None:
    """A standby that has just come back may be listed as ready before Patroni takes it as that."""
    async with asyncio.timeout(_HANDOVER_LIMIT_S):
        while True:
            leader = await _whole_postgres(site)
            if await leader.switch(leader.name, await _standby(site)):
                break
            await asyncio.sleep(_POLL_S)
    site.failovers += 1


async def leader_frozen(site: Site, moment: Moment) -> None:
    """The leader's machine freezes until another leads, and wakes up in the belief that it still does."""
    leader = await _whole_postgres(site)
    leader.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(moment.lasts_s)
    finally:
        leader.send(signal.SIGCONT)
    site.failovers += 1


async def etcd_frozen(site: Site, moment: Moment) -> None:
    await _whole_postgres(site)
    with frozen([site.patroni.etcd.pid]):
        await asyncio.sleep(moment.lasts_s)


async def _whole_kafka(site: Site) -> None:
    """Bring back what the last fault took."""
    await site.brokers.begin_all()
    await site.brokers.wait_until_in_sync(PREFIX)


async def _whole_postgres(site: Site) -> Node:
    """Bring back what the last fault took; returns the leader."""
    for node in site.patroni.nodes:
        if not node.is_up:
            await node.start()
    await site.patroni.wait_until_whole()
    return await site.patroni.leader()


async def _standby(site: Site) -> str:
    """The name of the synchronous standby of a cluster that is whole."""
    members = await site.patroni.members()
    [name] = [name for name, one in members.items() if one["role"] == "sync_standby"]
    return name


async def _leading(site: Site) -> int:
    for _ in range(50):
        with suppress(StackUnavailable):
            [(number, _)] = (await site.brokers.led(PREFIX)).most_common(1)
            return number
        await asyncio.sleep(0.1)
    raise AssertionError("no broker says who leads")
