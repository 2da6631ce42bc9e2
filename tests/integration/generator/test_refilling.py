"""The issuer and the generator together: a pool that runs low under load is filled again by an event."""

import json
from uuid import UUID

from schemas.events import POOL_DEMAND
from tests.support.pools import AUTOMATIC, check, until_full
from tests.support.sender_records import answered, codes, message, messages
from tests.support.site import Site

REPLY = "message-render.reply"


async def test_a_pool_under_its_mark_is_filled_while_requests_go_on(site: Site) -> None:
    program = await site.program("A", **AUTOMATIC)
    requests = messages(2_000, "A")
    async with site.generator():
        await until_full(site, program)
        async with site.issuer(batch_size_max=50):
            await site.publish(requests)
            replies = await site.came(REPLY, 2_000)

            await until_full(site, program)
    assert len(set(codes(answered(requests, replies)))) == 2_000
    stock = await site.stock("A")
    assert (stock.attached, stock.pooled) == (2_000, stock.made - 2_000)
    assert stock.made <= 2_000 + 2 * program.pool_max
    demands = await site.all_of("pool-demand")
    assert demands
    await check(site)


async def test_demand_is_told_once_in_an_interval_for_each_program(site: Site) -> None:
    low = [await site.program(name, 100, campaign_can_create=True, pool_max=160) for name in ("A", "B")]
    await site.program("MANUAL", 10, pool_max=100)
    half_full = await site.program("HALF_FULL", 90, campaign_can_create=True, pool_max=100)
    async with site.issuer(demand_interval_s=60, batch_size_max=5):
        for number in range(10):
            names = ("A", "B", "MANUAL", "HALF_FULL")
            await site.publish(
                [message(f"p-{number}", name) for name in names for _ in range(3 if name in "AB" else 1)]
            )
            await site.came(REPLY, 8 * (number + 1))
    demands = await site.all_of("pool-demand")
    urgent = [demand for demand in demands if demand.key != str(half_full.id).encode()]
    assert sorted(demand.key for demand in urgent) == sorted(str(program.id).encode() for program in low)
    # One that is not urgent may be due already.
    assert len(demands) - len(urgent) <= 1
    for demand in urgent:
        data = json.loads(demand.value)
        assert data["program_id"] == int(demand.key)
        assert 60 <= data["pooled"] < 80
        headers = dict(demand.headers)
        assert (headers["ce_type"], headers["ce_specversion"]) == (POOL_DEMAND.encode(), b"1.0")
        assert UUID(headers["ce_id"].decode())


async def test_a_pool_that_lacks_one_code_is_topped_up_without_a_sweep(site: Site) -> None:
    program = await site.program("A", **AUTOMATIC)
    async with site.generator(), site.issuer():
        await until_full(site, program)
        await site.publish(messages(1, "A"))
        await site.came(REPLY, 1)
        await until_full(site, program)
    assert (await site.stock("A")).made == program.pool_max + 1


async def test_many_small_fills_make_few_blocks(site: Site) -> None:
    program = await site.program("A", **AUTOMATIC)
    async with site.generator(), site.issuer():
        await until_full(site, program)
        blocks = await site.database.fetchval("SELECT count(*) FROM block")
        for number in range(3):
            await site.publish(messages(1, "A"))
            await site.came(REPLY, number + 1)
            await until_full(site, program)
    # The first one makes the block that the others let grow.
    assert await site.database.fetchval("SELECT count(*) FROM block") <= blocks + 1
    assert (await site.stock("A")).made == program.pool_max + 3
