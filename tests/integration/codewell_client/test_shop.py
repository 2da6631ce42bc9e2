"""A shop's calls to a real console."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from codewell_client import Conflict, Forbidden, InvalidRequest, NotFound, RateLimited, Shop, Unauthorized
from tests.support.consoles import Consoles, create_console, settings
from tests.support.running import until


async def shop(consoles: Consoles, *scopes: str, misses_per_minute: int = 60) -> Shop:
    _, secret = await consoles.token(*scopes)  # type: ignore[arg-type]
    api = consoles.api if misses_per_minute == 60 else create_console(consoles.pool, misses_per_minute)
    return Shop("http://console", secret, http=httpx.AsyncClient(transport=httpx.ASGITransport(api)))


@pytest.fixture
async def program(consoles: Consoles) -> None:
    writer = await consoles.client("write")
    assert (await writer.post("/programs", json=settings())).status_code == 201
    assert (await writer.post("/programs/SPRING/codes:generate", json={"count": 10})).status_code == 201


@pytest.mark.usefixtures("program")
async def test_the_life_of_a_code(consoles: Consoles) -> None:
    async with await shop(consoles, "write", "redeem") as opened:
        attached = await opened.attach("SPRING", "p-1")
        assert (attached.state, attached.profile_id) == ("attached", "p-1")
        found = await opened.look_up("SPRING", attached.code)
        assert found.attached_at is not None
        held = await opened.hold("SPRING", attached.code, "o-1", ttl=timedelta(minutes=5))
        assert (held.state, held.held_until is not None) == ("held", True)
        assert (await opened.release("SPRING", attached.code, "o-1")).state == "attached"
        activated = await opened.activate("SPRING", attached.code)
        assert activated.state == "activated"
        assert activated.activated_at is not None
        with pytest.raises(Conflict):
            await opened.activate("SPRING", attached.code)
        assert (await opened.deactivate("SPRING", attached.code)).state == "attached"
        own = await opened.attach("SPRING", "p-2", code="VIP/1 ü")
        assert (await opened.look_up("SPRING", "VIP/1 ü")) == own


@pytest.mark.usefixtures("program")
async def test_a_key_makes_many_calls_one(consoles: Consoles) -> None:
    async with await shop(consoles, "write", "redeem") as opened:
        attached = await asyncio.gather(
            *(opened.attach("SPRING", "p-1", idempotency_key="order-7:attach") for _ in range(5))
        )
        assert len({one.code for one in attached}) == 1
        code = attached[0].code
        first = await opened.activate("SPRING", code, idempotency_key="order-7:activate")
        assert await opened.activate("SPRING", code, idempotency_key="order-7:activate") == first
        with pytest.raises(InvalidRequest, match="another request"):
            await opened.activate("SPRING", "OTHER", idempotency_key="order-7:activate")


@pytest.mark.usefixtures("program")
async def test_refusals_are_typed(consoles: Consoles) -> None:
    redeemer = await shop(consoles, "redeem", misses_per_minute=3)
    with pytest.raises(NotFound, match="no code") as caught:
        await redeemer.look_up("SPRING", "SPRING-AAAA!")
    assert caught.value.request_id
    with pytest.raises(NotFound, match="no code"):
        await redeemer.look_up("SPRING", "..")
    with pytest.raises(Forbidden):
        await redeemer.attach("SPRING", "p-1")
    with pytest.raises(Unauthorized):
        await Shop(
            "http://console", "wrong", http=httpx.AsyncClient(transport=httpx.ASGITransport(consoles.api))
        ).look_up("SPRING", "A")
    await until(lambda: is_limited(redeemer), "limit of failed look-ups")


async def is_limited(opened: Shop) -> bool:
    try:
        await opened.look_up("SPRING", "SPRING-AAAA!")
    except NotFound:
        return False
    except RateLimited as limited:
        return limited.retry_after_s is not None
    raise AssertionError
