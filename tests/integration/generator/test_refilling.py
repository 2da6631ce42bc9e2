"""The issuer and the generator together: a pool that runs low under load is filled again by an event."""

import json
from uuid import UUID

from codewell.issuing.claim import LOW_SHARE
from schemas.events import POOL_DEMAND
from tests.support.pools import AUTOMATIC, check, until_full
from tests.support.running import until
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

            # A pool between half of its mark and the mark waits for the next sweep.
            async def refilled() -> bool:
                return (await site.stock("A")).pooled >= program.pool_max * LOW_SHARE

            await until(refilled, "refilled pool")
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
    await site.program("FULL_ENOUGH", 90, campaign_can_create=True, pool_max=100)
    async with site.issuer(demand_interval_s=60, batch_size_max=5):
        for number in range(10):
            names = ("A", "B", "MANUAL", "FULL_ENOUGH")
            await site.publish(
                [message(f"p-{number}", name) for name in names for _ in range(3 if name in "AB" else 1)]
            )
            await site.came(REPLY, 8 * (number + 1))
    demands = await site.all_of("pool-demand")
    assert sorted(demand.key for demand in demands) == sorted(str(program.id).encode() for program in low)
    for demand in demands:
        data = json.loads(demand.value)
        assert data["program_id"] == int(demand.key)
        assert 60 <= data["pooled"] < 80
        headers = dict(demand.headers)
        assert (headers["ce_type"], headers["ce_specversion"]) == (POOL_DEMAND.encode(), b"1.0")
        assert UUID(headers["ce_id"].decode())
