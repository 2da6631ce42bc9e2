"""I3 and I7: partitions go from issuer to issuer while requests flow, and each request still has its one answer."""

import asyncio
import math

import asyncpg
import pytest

from codewell.client.exchange import OutgoingRequest
from codewell.infra.kafka import clients
from services.issuer import offsets
from services.issuer.batch_publisher import BatchPublisher
from tests.support.client_faults import stuck_claim, until_committed, until_stuck
from tests.support.group_members import Gate, Leader, Watch
from tests.support.running import soon
from tests.support.sender_records import answered, codes, copies, message, messages
from tests.support.site import Site

REPLY = "message-render.reply"


@pytest.fixture(autouse=True)
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member learns of a rebalance with its next heartbeat."""
    monkeypatch.setattr(clients, "HEARTBEAT_INTERVAL_MS", 100)


@pytest.fixture(autouse=True)
def no_commits_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished is committed before it must be, and not because it is time to."""
    monkeypatch.setattr(offsets, "COMMIT_INTERVAL_S", math.inf)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


async def test_issuers_come_and_go_while_requests_flow(site: Site, watch: Watch) -> None:
    await site.program("A", 5_000)
    requests: list[OutgoingRequest] = []
    stop = asyncio.Event()

    async def flow() -> None:
        while not stop.is_set():
            await site.came(REPLY, len(requests))
            requests.extend(message(f"p-{len(requests)}-{number}", "A") for number in range(25))
            await site.publish(requests[-25:])

    async with site.issuer(batch_size_max=10):
        flowing = asyncio.create_task(flow())
        await watch.assigned(1)
        for joined in (3, 6):
            async with site.issuer(batch_size_max=10):
                await watch.assigned(joined)
            await watch.assigned(joined + 1)
        stop.set()
        await flowing
        await until_committed(site)
    sent = copies(await site.all_of(REPLY))
    assert sent.keys() == {str(request.request_id) for request in requests}
    assert all(len(different) == 1 for different in sent.values())
    assert (await site.stock("A")).attached == len(requests)
    assert await site.uncommitted() == 0


async def test_i7_a_batch_in_hand_is_committed_before_its_partitions_go(
    site: Site, connection: asyncpg.Connection, watch: Watch
) -> None:
    await site.program("A", 100)
    requests = messages(20, "A")
    async with site.issuer(), stuck_claim(connection) as claim:
        await site.publish(requests, 0)
        await until_stuck(site)
        async with site.issuer():
            await soon(watch.asked)
            assert not watch.given_up.is_set()
            assert await site.uncommitted() == 20
            await claim.rollback()
            await soon(watch.given_up)
            assert await site.uncommitted() == 0
            await site.came(REPLY, 20)
    assert len(set(codes(answered(requests, await site.all_of(REPLY))))) == 20


async def test_i7_an_issuer_that_lost_its_partitions_in_mid_batch_goes_on(
    site: Site, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.issuer.rebalance.REVOKE_TIMEOUT_S", 0.2)
    await site.program("A", 100)
    requests = messages(10, "A")
    leader = Leader(site)
    async with leader.consumer:
        await leader.begin()
        async with site.issuer():
            async with stuck_claim(connection):
                leader.share_out(has_all=False)
                await site.publish(requests, 0)
                await until_stuck(site)
                leader.share_out(has_all=True)
                await soon(leader.assigned)
            await site.came(REPLY, 10)
            assert await site.uncommitted() == 10
            leader.share_out(has_all=False)
            more = message("p-more", "A")
            await site.publish([more], 1)
            await until_committed(site)
    sent = copies(await site.all_of(REPLY))
    assert sent.keys() == {str(one.request_id) for one in (*requests, more)}
    assert all(len(different) == 1 for different in sent.values())
    assert (await site.stock("A")).attached == 11


async def test_i7_no_offset_is_committed_past_a_record_that_was_dropped_in_a_rebalance(
    site: Site, monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    await site.program("A", 10)
    gate = Gate(monkeypatch)
    seen: list[int] = []
    send = BatchPublisher.flush

    async def look_and_send(publisher: BatchPublisher) -> None:
        seen.append(await site.uncommitted("message-render.retry", "codewell-issuer-retry"))
        await send(publisher)

    monkeypatch.setattr(BatchPublisher, "flush", look_and_send)
    first, second = messages(2, "A")
    leader = Leader(site, retries=True)
    async with leader.consumer:
        await leader.begin()
        async with site.issuer(batch_size_max=1):
            leader.share_out(has_all=False)
            # One record is in hand, and the other has been read ahead, when both go elsewhere for a moment.
            await site.put("message-render.retry", first.value, first.headers)
            await soon(gate.reached)
            await site.put("message-render.retry", second.value, second.headers)
            await soon(gate.read_ahead)
            watch.left_empty.clear()
            leader.share_out(has_all=True)
            await soon(watch.left_empty)
            gate.opened.set()
            await soon(gate.passed)
            leader.share_out(has_all=False)
            await until_committed(site, "message-render.retry", "codewell-issuer-retry")
    answered([first, second], await site.all_of(REPLY))
    # Neither answer went out with both records committed already, nor the first with one of them.
    assert seen[0] == 2
    assert 0 not in seen[:2]
