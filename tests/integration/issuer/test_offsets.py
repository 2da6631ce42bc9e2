"""I3 and I7: a fault between any two steps of a batch repeats the batch; no offset runs ahead of its answer."""

import asyncio
import math
from collections.abc import Mapping, Sequence

import asyncpg
import pytest
from structlog.testing import capture_logs

from codewell.client.exchange import OutgoingRequest
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres import watch
from codewell.infra.process import lifecycle
from services.issuer import offsets
from services.issuer.main import run_issuer
from services.issuer.settings import IssuerSettings
from tests.support.client_faults import Outage, stuck_claim, until_committed, until_stuck
from tests.support.database_proxy import door
from tests.support.running import STOP_LIMIT_S, soon, until
from tests.support.sender_records import answered, codes, copies, message, messages
from tests.support.site import Site

REPLY = "message-render.reply"


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


def started(site: Site, **given: object) -> tuple[asyncio.Task[None], asyncio.Event]:
    stop = asyncio.Event()
    return asyncio.ensure_future(run_issuer(IssuerSettings(**site.settings("issuer") | given), stop)), stop


async def ended(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(STOP_LIMIT_S):
        await asyncio.wait((task,))


async def stored_codes(site: Site, requests: list[OutgoingRequest]) -> list[str]:
    rows = await site.database.fetch(
        "SELECT code FROM unnest($1::uuid[]) WITH ORDINALITY AS r (id, n) JOIN answer ON request_id = r.id ORDER BY n",
        [request.request_id for request in requests],
    )
    return [row["code"] for row in rows]


async def test_i3_an_issuer_that_dies_before_its_answers_are_out_leaves_them_to_the_next(
    site: Site, outage: Outage
) -> None:
    await site.program("A", 100)
    requests = messages(20, "A")
    outage.begin(sends=1, hangs=True)
    await site.publish(requests, 0)
    await site.put("message-render", b"no json")
    task, _ = started(site)
    await outage.reached.wait()
    decided = await stored_codes(site, requests)
    task.cancel()
    await ended(task)
    assert len(set(decided)) == 20
    assert await site.uncommitted() == 21
    assert await site.all_of(REPLY) == []

    async with site.issuer():
        replies = await site.came(REPLY, 20)
        await site.came("message-render.dlq", 1)
    assert codes(answered(requests, replies)) == decided
    assert (await site.stock("A")).attached == 20
    assert await site.uncommitted() == 0


async def test_i7_an_issuer_outlives_sends_that_fail(site: Site, outage: Outage) -> None:
    await site.program("A", 100)
    requests = messages(10, "A")
    outage.begin(sends=3)
    async with site.issuer():
        await site.publish(requests, 1)
        await site.put("message-render", b"no json")
        replies = await site.came(REPLY, 10)
        await site.came("message-render.dlq", 1)
        await until_committed(site)
        more = message("p-more", "A")
        await site.publish([more])
        await site.came(REPLY, 11)
    sent = copies(replies)
    assert all(len(different) == 1 for different in sent.values())
    assert sent.keys() == {str(one.request_id) for one in (*requests, more)}
    assert (await site.stock("A")).attached == 11


async def test_i3_no_batch_passes_the_one_before_it(site: Site, outage: Outage) -> None:
    """The next batch is decided while the one before is being sent, and that one fails."""
    await site.program("A", 100)
    requests = messages(40, "A")
    await site.publish(requests, 1)
    outage.begin(sends=1)
    async with site.issuer(batch_size_max=4):
        replies = await site.came(REPLY, 40)
        await until_committed(site)
    assert copies(replies).keys() == {str(one.request_id) for one in requests}
    assert (await site.stock("A")).attached == 40


async def test_i7_a_claim_whose_connection_is_cut_is_made_again(site: Site, connection: asyncpg.Connection) -> None:
    await site.program("A", 100)
    requests = messages(10, "A")
    async with site.issuer():
        async with stuck_claim(connection):
            await site.publish(requests, 0)

            async def cut() -> bool:
                # A connection that was cut may still be seen to wait for a moment.
                return await site.waits_for_lock() and await site.terminate_connections("codewell-issuer") >= 1

            await until(cut, "claim to cut")
            await until(cut, "claim to cut again")
            assert await site.uncommitted() == 10
        replies = await site.came(REPLY, 10)
        await until_committed(site)
    assert len(set(codes(answered(requests, await site.all_of(REPLY))))) == 10
    assert len(replies) == (await site.stock("A")).attached == 10


async def test_i7_an_issuer_bears_a_database_that_goes_away_and_comes_back(site: Site) -> None:
    await site.program("A", 100)
    first, second = messages(10, "A"), messages(10, "A")
    async with door(site.postgres_url) as way, site.issuer(postgres_url=way.url):
        await site.publish(first, 0)
        await site.came(REPLY, 10)
        await until_committed(site)
        await way.shut()
        await site.publish(second, 0)
        with capture_logs() as logs:
            await until(lambda: waits_for_postgres(logs), "issuer that waits for Postgres")
        assert await site.uncommitted() == 10
        await way.open()
        replies = await site.came(REPLY, 20)
        await until_committed(site)
    assert len(set(codes(answered([*first, *second], replies)))) == 20


async def waits_for_postgres(logs: Sequence[Mapping[str, object]]) -> bool:
    return any(str(entry.get("waiting_for")).startswith("postgres") for entry in logs)


async def test_a_stop_finishes_the_batch_in_hand_and_commits_it(
    site: Site, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offsets, "COMMIT_INTERVAL_S", math.inf)
    await site.program("A", 100)
    requests = messages(10, "A")
    task, stop = started(site)
    async with stuck_claim(connection):
        await site.publish(requests, 0)
        await until_stuck(site)
        stop.set()
    await ended(task)
    task.result()
    assert await site.uncommitted() == 0
    answered(requests, await site.all_of(REPLY))


async def test_a_stop_abandons_a_batch_that_takes_too_long(site: Site, connection: asyncpg.Connection) -> None:
    await site.program("A", 100)
    requests = messages(10, "A")
    task, stop = started(site, stop_timeout_s=0.2)
    async with stuck_claim(connection):
        await site.publish(requests, 0)
        await until_stuck(site)
        stop.set()
        await ended(task)
        task.result()
        assert await site.uncommitted() == 10
    async with site.issuer():
        replies = await site.came(REPLY, 10)
    assert len(set(codes(answered(requests, replies)))) == 10
    assert (await site.stock("A")).attached == 10


async def test_a_stop_does_not_wait_for_the_probe_of_a_silent_postgres(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PROBE_INTERVAL_S", 0.05)
    monkeypatch.setattr(lifecycle, "CANCEL_TIMEOUT_S", 0.2)
    monkeypatch.setattr(postgres, "CLOSE_TIMEOUT_S", 0.2)
    async with door(site.postgres_url) as way:
        task, stop = started(site, postgres_url=way.url)
        await site.program("A", 100)
        await site.publish(messages(10, "A"), 0)
        await site.came(REPLY, 10)
        way.hold()
        await soon(way.knocked)
        stop.set()
        await ended(task)
        task.result()


async def test_a_stop_ends_though_postgres_has_stopped_answering(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "CANCEL_TIMEOUT_S", 0.2)
    monkeypatch.setattr(postgres, "CLOSE_TIMEOUT_S", 0.2)
    await site.program("A", 100)
    first, second = messages(10, "A"), messages(10, "A")
    async with door(site.postgres_url) as way:
        task, stop = started(site, stop_timeout_s=0.2, postgres_url=way.url)
        await site.publish(first, 0)
        await site.came(REPLY, 10)
        await until_committed(site)
        way.hold()
        await site.publish(second, 0)
        await soon(way.knocked)
        stop.set()
        await ended(task)
        task.result()
        assert await site.uncommitted() == 10
    async with site.issuer():
        replies = await site.came(REPLY, 20)
    assert len(set(codes(answered([*first, *second], replies)))) == 20
