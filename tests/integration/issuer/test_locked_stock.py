"""A program whose stock somebody has locked does not hold up the others; its requests wait in the retry topic."""

import asyncpg
import pytest

from codewell.issuing import claim
from tests.support.client_faults import until_committed
from tests.support.sender_records import answered, codes, message, messages, step, structured
from tests.support.site import Site

REPLY = "message-render.reply"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim gives up on locked stock sooner; how soon is not what these tests are about."""
    monkeypatch.setattr(claim, "BUSY_TIMEOUT_MS", 200)


async def test_i3_requests_for_locked_stock_wait_and_are_answered_when_it_is_free(
    site: Site, connection: asyncpg.Connection
) -> None:
    await site.program("LOCKED", 100)
    await site.program("FREE", 100)
    blocked = [*messages(5, "LOCKED"), structured(message("p-5", "LOCKED", "FREE"))]
    free = messages(5, "FREE")
    blocked_step = step("p", "LOCKED")
    async with site.issuer():
        async with connection.transaction():
            await connection.execute(
                "SELECT FROM block WHERE program_id = (SELECT id FROM program WHERE name = 'LOCKED') FOR UPDATE"
            )
            await site.publish([*blocked, *free, message("p", "FREE", deadline="2020-01-01T00:00:00Z")], 1)
            await site.publish([blocked_step], 0)
            await site.came(REPLY, 6)
            waiting = await site.came("message-render.retry", 2 * len(blocked))
            await site.came("scenario-step.retry", 1)
            await until_committed(site)
            assert len(await site.all_of(REPLY)) == 6
            # A request that comes now is not behind those that wait.
            late = message("p-late", "FREE")
            await site.publish([late], 1)
            await site.came(REPLY, 7)
        await site.came(REPLY, 13)
        await site.came("scenario-step.reply", 1)
        await until_committed(site, "message-render.retry", "codewell-issuer-retry")
        await until_committed(site, "scenario-step.retry", "codewell-issuer-retry")
    replies = [one for one in await site.all_of(REPLY) if dict(one.headers).get("ce_type", b"").find(b"refused") < 0]
    assert len(set(codes(answered([*blocked, *free, late], replies)))) == 13
    answered([blocked_step], await site.all_of("scenario-step.reply"))

    by_id = {request.value: request for request in blocked}
    came_first: dict[bytes, bytes] = {}
    for number, record in enumerate(waiting[: 2 * len(blocked)]):
        request = by_id[record.value]
        attempt = str(1 + number // len(blocked)).encode()
        assert (record.key, record.partition) == (request.key, 1)
        *kept, (first, came_at), counted = record.headers
        assert (kept, counted) == (request.headers, ("codewell_attempt", attempt))
        # When it came first, however often it has waited since.
        assert (first, came_at) == ("codewell_first_at", came_first.setdefault(record.value, came_at))


async def test_requests_wait_for_a_program_whose_row_is_locked(site: Site, connection: asyncpg.Connection) -> None:
    program = await site.program("NEW", campaign_can_create=True, pool_max=5)
    requests = messages(3, "NEW")
    async with site.issuer():
        async with connection.transaction():
            await connection.execute("SELECT FROM program WHERE id = $1 FOR UPDATE", program.id)
            await site.publish(requests, 0)
            await site.came("message-render.retry", 3)
            await until_committed(site)
        replies = await site.came(REPLY, 3)
    assert len(set(codes(answered(requests, replies)))) == 3
    assert (await site.stock("NEW")).attached == 3


async def test_the_largest_request_that_its_topic_takes_can_wait(site: Site, connection: asyncpg.Connection) -> None:
    program = await site.program("LOCKED", 10)
    await site.program("FREE", 10)
    free, large = message("p-free", "FREE"), message("p-large", "LOCKED")
    limit = await site.record_bytes_max("message-render")
    almost = large._replace(key=b"k" * (limit - 10_000))
    large = large._replace(key=b"k" * (limit - 10_000 + limit - site.bytes_of(almost)))
    assert site.bytes_of(large) == limit
    async with site.issuer():
        async with connection.transaction():
            await connection.execute("SELECT FROM block WHERE program_id = $1 FOR UPDATE", program.id)
            await site.publish([large], 0)
            await site.came("message-render.retry", 1)
            await site.publish([free], 0)
            await site.came(REPLY, 1)
        replies = await site.came(REPLY, 2)
    answered([free, large], replies)
