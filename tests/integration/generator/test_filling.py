"""What wakes a generator up, and what it then makes."""

from tests.support.pools import AUTOMATIC, check, tell_changed, tell_demand, until_full
from tests.support.running import until
from tests.support.site import Site

UNREADABLE = [
    None,
    b"",
    b"\xff\xfe",
    b"no json",
    b"[" * 5_000,
    b"{}",
    b'{"program_id": "1", "name": "A", "pooled": 0}',
    b'{"program_id": 1.5, "name": "A", "pooled": 0}',
    b'{"program_id": 4711, "name": "A", "pooled": 0}',
    b'{"program_id": -1, "name": "A", "pooled": -1}',
    b'{"program_id": 9223372036854775808, "name": "A", "pooled": 0}',
]


async def test_each_kind_of_event_fills_a_pool(site: Site) -> None:
    at_start = await site.program("AT_START", **AUTOMATIC)
    async with site.generator():
        await until_full(site, at_start)
        changed = await site.program("CHANGED", **AUTOMATIC)
        await tell_changed(site, changed)
        await until_full(site, changed)
        demanded = await site.program("DEMANDED", **AUTOMATIC)
        await tell_demand(site, demanded)
        await until_full(site, demanded)
        # It is full already: an event that comes twice makes nothing.
        await tell_demand(site, demanded)
        other = await site.program("OTHER", **AUTOMATIC)
        await tell_demand(site, other)
        await until_full(site, other)
    assert (await site.stock("DEMANDED")).made == 500


async def test_events_of_a_time_without_generators_are_made_up_for(site: Site) -> None:
    program = await site.program("A", **AUTOMATIC)
    async with site.generator():
        await until_full(site, program)
    later = await site.program("B", **AUTOMATIC)
    await tell_changed(site, later, 1)
    async with site.generator():
        await until_full(site, later)


async def test_events_that_cannot_be_read_are_stepped_over(site: Site) -> None:
    async with site.generator():
        for value in UNREADABLE:
            await site.put("pool-demand", value, key=b"1", partition=0)
            await site.put("program-changed", value, key=b"1", partition=1)
        demanded = await site.program("DEMANDED", **AUTOMATIC)
        await tell_demand(site, demanded, 0)
        await until_full(site, demanded)
        changed = await site.program("CHANGED", **AUTOMATIC)
        await tell_changed(site, changed, 1)
        await until_full(site, changed)


async def test_the_sweep_alone_fills_new_pools_and_makes_up_for_expired_codes(site: Site) -> None:
    async with site.generator(sweep_interval_s=0.1):
        program = await site.program("A", ttl="P1D", **AUTOMATIC)
        await until_full(site, program)
        await site.database.execute("UPDATE block SET expires_at = now() - interval '1 second'")
        await until_full(site, program)

        async def retired() -> bool:
            query = "SELECT NOT EXISTS (SELECT FROM block WHERE open AND expires_at <= now())"
            return bool(await site.database.fetchval(query))

        await until(retired, "end of the expired blocks")
    stock = await site.stock("A")
    assert (stock.made, stock.expired, stock.pooled) == (1_000, 500, 500)
    await check(site)


async def test_nothing_is_made_that_may_not_be(site: Site) -> None:
    await site.program("MANUAL", pool_max=500)
    await site.program("ENDED", **AUTOMATIC, valid_until="2020-01-01T00:00:00Z")
    await site.program("LATER", **AUTOMATIC, valid_from="2100-01-01T00:00:00Z")
    await site.program("OFF", **AUTOMATIC, active=False)
    small = await site.program("SMALL", campaign_can_create=True, codes_max=120, pool_max=100)
    last = await site.program("Z_LAST", **AUTOMATIC)
    async with site.generator(sweep_interval_s=0.1):
        await until_full(site, small, last)
        await site.database.execute("UPDATE block SET expires_at = now() WHERE program_id = $1", small.id)

        async def made_the_rest() -> bool:
            return (await site.stock("SMALL")).made == 120

        await until(made_the_rest, "codes up to the maximum")
        another = await site.program("ZZ_LAST", **AUTOMATIC)
        await until_full(site, another)
    assert [(await site.stock(name)).made for name in ("MANUAL", "ENDED", "LATER", "OFF")] == [0, 0, 0, 0]
    assert (await site.stock("SMALL")).pooled == 20
