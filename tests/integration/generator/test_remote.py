"""Codes come from a remote service: ordered up to the mark, stored once, and never past the maximum."""

from typing import Any

from schemas.program import Program
from tests.integration.generator.pools import check, until_full
from tests.integration.issuer.site import Site
from tests.integration.remote.server import Asked, Reply, answer, remote_server, reply

HERE = {"remote_allow": ("127.0.0.0/8",), "sweep_interval_s": 0.2}


async def remote_program(site: Site, name: str, url: str, request_max: int = 10, **given: Any) -> Program:
    source = {"kind": "remote", "url": url, "request_max": request_max}
    return await site.program(name, source=source, **{"campaign_can_create": True, "pool_max": 100, **given})


async def test_a_pool_is_ordered_up_to_its_mark(site: Site) -> None:
    async def good(asked: Asked) -> Reply:
        return reply(answer(asked, server.new_codes(asked)))

    async with remote_server(good) as server:
        program = await remote_program(site, "A", server.url, 30)
        async with site.generator(**HERE):
            await until_full(site, program)
        assert sorted(asked.data["count"] for asked in server.asked) == [10, 30, 30, 30]
        stock = await site.stock("A")
        assert (stock.made, stock.pooled, stock.on_order) == (100, 100, 0)
        for asked in server.asked:
            assert asked.data == {
                "version": 1, "request_id": asked.key, "program": "A", "count": asked.data["count"], "fields": {},
            }  # fmt: skip
    await check(site)
