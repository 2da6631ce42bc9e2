"""Generators and a remote service: ordered up to the mark, stored once, whatever either of them does meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from codewell.pool import orders
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.remote import order_leases, signing_secrets
from schemas.program import Program
from services.generator import prefetched_orders, remote_sender
from tests.support.pools import check, tell_demand, until_full
from tests.support.remote_server import Asked, RemoteServer, Reply, answer, remote_server, reply
from tests.support.running import until
from tests.support.site import Site

HERE = {"remote_allow": ("127.0.0.0/8",)}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is tried again sooner; how soon is not what these tests are about."""
    monkeypatch.setattr(order_leases, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(order_leases, "BACKOFF_MAX_S", 0.05)
    monkeypatch.setattr(order_leases, "CIRCUIT_OPEN_S", 0.05)
    monkeypatch.setattr(remote_sender, "POLL_INTERVAL_S", 0.05)
    monkeypatch.setattr(remote_sender, "LEASE_MARGIN_S", 0.5)
    # A busy machine is no slow service.
    monkeypatch.setattr(prefetched_orders, "QUICK_S", 60.0)


async def remote_program(site: Site, name: str, url: str, request_max: int = 10, **given: Any) -> Program:
    source = {"kind": "remote", "url": url, "request_max": request_max}
    return await site.program(name, source=source, **{"campaign_can_create": True, "pool_max": 100, **given})


async def good(asked: Asked, server: RemoteServer) -> Reply:
    return reply(answer(asked, server.new_codes(asked)))


async def codes_of(site: Site) -> list[str]:
    return [row["text"] for row in await site.database.fetch("SELECT text FROM code ORDER BY text")]


async def error_of(site: Site, name: str) -> str | None:
    return (await orders.service_of(site.database, name)).error


async def test_a_pool_is_ordered_up_to_its_mark(site: Site) -> None:
    async with remote_server(good) as server:
        program = await remote_program(site, "A", server.url, 30)
        async with site.generator(**HERE):
            await until_full(site, program)
            # More is ordered when there is more to hand out.
            await programs.update(site.database, Minters(None), "A", {"pool_max": 150}, 10)
            await tell_demand(site, program)
            await until_full(site, program.model_copy(update={"pool_max": 150}))
        assert sorted(asked.data["count"] for asked in server.asked) == [10, 20, 30, 30, 30, 30]
        stock = await site.stock("A")
        assert (stock.made, stock.pooled, stock.on_order) == (150, 150, 0)
        assert sorted(await codes_of(site)) == sorted(server.given)
    await check(site)


async def test_requests_go_side_by_side_and_no_program_has_more_than_half(site: Site) -> None:
    gate = asyncio.Event()

    async def held(asked: Asked, server: RemoteServer) -> Reply:
        if asked.data["program"] == "SLOW":
            await gate.wait()
        return await good(asked, server)

    async with remote_server(held) as server:
        slow = await remote_program(site, "SLOW", server.url)
        async with site.generator(**HERE, remote_concurrency=6):

            async def all_out() -> bool:
                return server.out == 3

            await until(all_out, "three requests side by side")
            # While they hang, others are served, remote programs and others.
            quick = await remote_program(site, "QUICK", server.url)
            minted = await site.program("MINTED", campaign_can_create=True)
            await tell_demand(site, quick)
            await tell_demand(site, minted)
            await until_full(site, quick, minted)
            assert server.out == 3
            gate.set()
            await until_full(site, slow)
        assert server.out_max == 4
    await check(site)


async def test_codes_ordered_by_hand_come_though_the_switches_are_off(site: Site) -> None:
    async with remote_server(good) as server:
        program = await remote_program(site, "A", server.url, campaign_can_create=False)
        async with site.generator(**HERE):
            # An order that no event tells of, as when the console has lost Kafka.
            await generate(site.database, Minters(None), program.id, 25, None)

            async def came() -> bool:
                return (await site.stock("A")).pooled == 25

            await until(came, "25 codes")
    await check(site)


async def test_requests_are_signed_with_each_secret_in_force(site: Site) -> None:
    async with remote_server(good) as server:
        program = await remote_program(site, "A", server.url)
        minters = Minters(None)
        await signing_secrets.rotate(site.database, minters, program.id)
        async with site.generator(**HERE):
            await until_full(site, program)
        now_s = await site.database.fetchval("SELECT extract(epoch FROM clock_timestamp())::bigint")
        for asked in server.asked:
            assert now_s - 60 < int(asked.headers["webhook-timestamp"]) <= now_s
            assert len(asked.headers["webhook-signature"].split(" ")) == 2


async def test_a_service_that_nobody_may_call_is_not_called_and_the_reason_is_shown(site: Site) -> None:
    async with remote_server(good) as server:
        await remote_program(site, "A", server.url)
        async with site.generator():

            async def shown() -> bool:
                return "CODEWELL_REMOTE_ALLOW" in (await error_of(site, "A") or "")

            await until(shown, "reason")
        assert server.asked == []
    assert (await site.stock("A")).on_order == 100
    await check(site)


async def test_i7_a_circuit_closes_by_itself(site: Site) -> None:
    well = asyncio.Event()

    async def ill(asked: Asked, server: RemoteServer) -> Reply:
        return await good(asked, server) if well.is_set() else reply({}, 500)

    async with remote_server(ill) as server:
        program = await remote_program(site, "A", server.url)
        async with site.generator(**HERE), site.generator(**HERE):

            async def tried_again() -> bool:
                service = await orders.service_of(site.database, "A")
                return service.failures > 2 * orders.FAILURES_MAX and service.circuit != "closed"

            await until(tried_again, "circuit that stays open")
            well.set()
            await until_full(site, program)
        service = await orders.service_of(site.database, "A")
        assert (service.circuit, service.error) == ("closed", "The service answered 500 instead of 200.")
    assert sorted(await codes_of(site)) == sorted(server.given)
    await check(site)


async def test_i7_a_request_of_a_dead_generator_is_sent_again_under_its_key(site: Site) -> None:
    async with remote_server(good) as server:
        program = await remote_program(site, "A", server.url)
        async with site.generator(**HERE):
            await until_full(site, program)
        await generate(site.database, Minters(None), program.id, 10, None)
        [dead] = await order_leases.lease_orders(site.database, 0.3, {}, 1, 1)
        # It had its answer, and died with it.
        before = server.new_codes(Asked({"idempotency-key": str(dead.id)}, b'{"program": "A"}'), 10)
        async with site.generator(**HERE):

            async def came() -> bool:
                return (await site.stock("A")).pooled == 110

            await until(came, "the last ten codes")
        assert set(before) <= set(await codes_of(site))
    await check(site)


async def test_a_stop_waits_for_what_is_out(site: Site) -> None:
    asked_for, gate = asyncio.Event(), asyncio.Event()

    async def held(asked: Asked, server: RemoteServer) -> Reply:
        asked_for.set()
        await gate.wait()
        return await good(asked, server)

    async with remote_server(held) as server:
        await remote_program(site, "A", server.url, pool_max=10)
        async with site.generator(**HERE) as stop:
            await asyncio.wait_for(asked_for.wait(), 10)
            stop.set()
            await asyncio.sleep(0)
            gate.set()
        stock = await site.stock("A")
        assert (stock.pooled, stock.on_order) == (10, 0)
    await check(site)


async def test_a_slow_database_holds_up_the_sending_but_not_at_the_first_answer(site: Site) -> None:
    async with remote_server(good) as server:
        program = await remote_program(site, "A", server.url, pool_max=140)
        minters = Minters(None)
        await signing_secrets.rotate(site.database, minters, program.id)
        await top_up(site.database, minters, program.id)
        transaction = site.database.transaction()
        await transaction.start()
        await site.database.execute("SELECT FROM program FOR NO KEY UPDATE")
        async with site.generator(**HERE, remote_concurrency=4):

            async def twelve_answered() -> bool:
                return len(server.given) == 120 and server.out == 0

            # Three times as many as may be out at once; the last two of 14 are not sent.
            await until(twelve_answered, "twelve answers")
            assert len(server.asked) == 12
            await transaction.rollback()
            await until_full(site, program)
    await check(site)


class Gated:
    """Answers the first two requests at once, and the others once `gate` is set."""

    def __init__(self, late: Callable[[Asked, RemoteServer], Awaitable[Reply]]) -> None:
        self.gate = asyncio.Event()
        self._late = late

    async def __call__(self, asked: Asked, server: RemoteServer) -> Reply:
        if len(server.asked) <= 2:
            return await good(asked, server)
        await self.gate.wait()
        return await self._late(asked, server)


async def until_leased_ahead(site: Site, server: RemoteServer) -> None:
    """Two are out of the four that one program may have, and two are leased to be sent after them."""

    async def leased() -> bool:
        return server.out == 2 and bool(await site.database.fetchval(_LEASED) == 4)

    await until(leased, "orders that are leased ahead")


_LEASED = "SELECT count(*) FROM remote_request WHERE state = 'open' AND leased_until > now()"
_UNSENT = "SELECT count(*) FROM remote_request WHERE state = 'open' AND leased_until IS NULL AND attempts = 0"


async def test_a_stop_returns_what_was_leased_ahead(site: Site) -> None:
    service = Gated(good)
    async with remote_server(service) as server:
        await remote_program(site, "A", server.url)
        async with site.generator(**HERE, remote_concurrency=4) as stop:
            await until_leased_ahead(site, server)
            stop.set()
            await asyncio.sleep(0)
            service.gate.set()
        assert len(server.asked) == 4
        # Another generator need not wait for the end of a lease.
        assert await site.database.fetchval(_UNSENT) == 6
    await check(site)


async def test_a_service_that_asks_for_a_pause_gets_none_of_what_was_leased_ahead(site: Site) -> None:
    async def busy(_: Asked, __: RemoteServer) -> Reply:
        return reply({}, 429, retry_after="100")

    service = Gated(busy)
    async with remote_server(service) as server:
        await remote_program(site, "A", server.url)
        async with site.generator(**HERE, remote_concurrency=4):
            await until_leased_ahead(site, server)
            service.gate.set()

            async def returned() -> bool:
                return bool(await site.database.fetchval(_LEASED) == 0)

            await until(returned, "end of all leases")
        assert len(server.asked) == 4
        assert await site.database.fetchval(_UNSENT) == 6
    await check(site)
