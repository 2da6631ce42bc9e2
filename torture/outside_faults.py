"""Faults from outside: members that join and leave, invalid records, a failing remote service, changed settings."""

import asyncio
from contextlib import suppress

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from codewell.errors import CodewellError
from torture.campaign import CAMPAIGNS, release_one, reserve
from torture.ledger import REQUESTS
from torture.moment import Moment
from torture.site import ISSUERS, PREFIX, Site


async def rebalance_storm(site: Site, moment: Moment) -> None:
    """Members that take partitions, process nothing, and leave."""

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


async def codes_reserved(site: Site, moment: Moment) -> None:
    """Two campaigns reserve codes of a busy program, use them while issuers die, and give the rest back."""
    for _ in range(moment.times):
        program = moment.chance.choice(("SPRING", "TIGHT"))
        for campaign in CAMPAIGNS[1:]:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, CodewellError):
                await reserve(site.postgres_url(), program, campaign, moment.chance.randrange(20, 200))
        await site.kill(moment.chance.choice(ISSUERS), moment.chance)
        await asyncio.sleep(moment.chance.uniform(0.5, 1.5))
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, CodewellError):
            await release_one(site.postgres_url(), program, moment.chance.choice(CAMPAIGNS[1:]))


async def refilled(site: Site, moment: Moment) -> None:
    """Raises the maximum of a program that ran empty under a demand above its codes."""
    with suppress(OSError, asyncpg.PostgresError, TimeoutError):
        await site.run_sql("UPDATE program SET codes_max = codes_max + 60 WHERE name = 'SCARCE'")
    await asyncio.sleep(1)
