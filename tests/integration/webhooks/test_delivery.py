"""Events delivered to real receivers on this machine, of every bad kind."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.keys.master_keys import MasterKeys
from codewell.pool.minter_cache import Minters
from codewell.webhooks import deliveries, endpoints, leases, secrets
from schemas.webhooks import WebhookChange
from services.generator import webhook_sender
from tests.integration.webhooks.conftest import DATA, KEYS, Sending, event, publish, states, subscribe
from tests.support.factories import program
from tests.support.remote_server import Answering, Asked, RemoteServer, Reply, remote_server, reply
from tests.support.running import until
from tests.support.stock import until_waiting


def answering(status: int = 200, **headers: str) -> Answering:
    async def say(_: Asked, __: RemoteServer) -> Reply:
        return reply(b"fine", status, **headers)

    return say


async def ended(connection: Connection, webhook_id: int, count: int = 1) -> None:
    async def all_ended() -> bool:
        found = await states(connection, webhook_id)
        return len(found) >= count and "waiting" not in found

    await until(all_ended, "end of the deliveries")


async def test_an_attempt_that_was_never_made_is_not_counted(
    connection: Connection, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = secrets.active, []

    async def failing(*given: Any) -> Any:
        calls.append(given)
        if len(calls) <= leases.ATTEMPTS_MAX:
            raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")
        return await real(*given)

    monkeypatch.setattr(secrets, "active", failing)
    async with remote_server(answering()) as server:
        mine, _ = await subscribe(connection, server.url)
        await publish(connection, event())
        async with sending(timeout_s=0.1):
            await ended(connection, mine.id)
    [row] = await deliveries.page(connection, mine.id, None, 10)
    assert (row.state, row.attempts, len(server.asked)) == ("delivered", 1, 1)


async def test_each_subscriber_gets_what_the_reference_library_verifies(
    connection: Connection, sending: Sending
) -> None:
    spring = await program(connection, Minters(None), "SPRING", groups=["marketing"])
    async with remote_server(answering()) as server, remote_server(answering()) as other:
        mine, secret = await subscribe(connection, server.url, groups=["marketing"])
        await subscribe(connection, other.url, groups=["support"])
        await subscribe(connection, other.url, types=["alert-cleared"])
        [sent_id] = await publish(connection, event(spring.id))
        async with sending():
            await ended(connection, mine.id)
        [asked] = server.asked
        assert other.asked == []
    assert secret is not None
    body = Verifier(secret).verify(asked.body, asked.headers)
    assert body["type"] == "dev.codewell.alert-raised.v1"
    assert body["data"] == json.loads(DATA)
    assert asked.headers["webhook-id"] == str(sent_id)
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(asked.body.replace(b"critical", b"harmless"), asked.headers)
    assert (await endpoints.get(connection, mine.id)).delivered_at is not None


async def test_old_and_new_secret_both_verify_while_they_rotate(connection: Connection, sending: Sending) -> None:
    async with remote_server(answering()) as server:
        webhook, old = await subscribe(connection, server.url)
        async with connection.transaction():
            new = await secrets.rotate(connection, KEYS, webhook.id)
        assert new.previous_end_at is not None
        await publish(connection, event())
        async with sending():
            await ended(connection, webhook.id)
        [asked] = server.asked
        for secret in (str(old), new.text):
            assert Verifier(secret).verify(asked.body, asked.headers)
        await connection.execute("UPDATE webhook_secret SET ends_at = now() WHERE ends_at IS NOT NULL")
        await publish(connection, event())
        async with sending():
            await ended(connection, webhook.id, 2)
    with pytest.raises(WebhookVerificationError):
        Verifier(str(old)).verify(server.asked[1].body, server.asked[1].headers)


async def test_a_secret_that_cannot_be_unwrapped_fails_its_endpoint_alone(
    connection: Connection, sending: Sending
) -> None:
    async with remote_server(answering()) as server:
        good, _ = await subscribe(connection, server.url)
        bad, _ = await subscribe(connection, server.url)
        foreign = MasterKeys(bytes(32)).wrap(bytes(32))
        await connection.execute(
            "UPDATE webhook_secret SET secret = $2, wrapped = true, key_id = $3 WHERE endpoint_id = $1",
            bad.id, foreign.stored, foreign.key_id,
        )  # fmt: skip
        await publish(connection, event())
        async with sending():
            await ended(connection, good.id)
            await ended(connection, bad.id)
        assert len(server.asked) == 1
    assert await states(connection, good.id) == ["delivered"]
    [row] = await deliveries.page(connection, bad.id, "failed", 10)
    assert row.attempts == leases.ATTEMPTS_MAX
    assert "CODEWELL_MASTER_KEY" in str(row.error)


async def test_slow_and_dead_receivers_delay_no_other(connection: Connection, sending: Sending) -> None:
    gate = asyncio.Event()

    async def slow(_: Asked, __: RemoteServer) -> Reply:
        await gate.wait()
        return reply(b"")

    async with remote_server(slow) as bad, remote_server(answering()) as good:
        hanging = [(await subscribe(connection, bad.url))[0].id for _ in range(10)]
        dead = [(await subscribe(connection, "http://127.0.0.1:1/hook"))[0].id for _ in range(10)]
        quick, _ = await subscribe(connection, good.url)
        # More than all slots, of the bad ones alone.
        await publish(connection, *(event() for _ in range(30)))
        async with sending(timeout_s=10):
            began = time.monotonic()
            await ended(connection, quick.id, 30)
            assert time.monotonic() - began < 5
            # None has more than its share, however many wait.
            assert bad.out_max <= leases.PER_ENDPOINT_MAX * len(hanging)
            gate.set()
        assert "delivered" not in await states(connection, dead[0])


async def test_failures_are_retried_under_one_id_and_given_up(connection: Connection, sending: Sending) -> None:
    async with remote_server(answering(500)) as server:
        webhook, _ = await subscribe(connection, server.url)
        [sent_id] = await publish(connection, event())
        async with sending():
            await ended(connection, webhook.id)
        assert await states(connection, webhook.id) == ["failed"]
        assert [asked.headers["webhook-id"] for asked in server.asked] == [str(sent_id)] * leases.ATTEMPTS_MAX
        assert len({asked.body for asked in server.asked}) == 1
        [row] = await deliveries.page(connection, webhook.id, "failed", 10)
        shown = await deliveries.get(connection, webhook.id, row.id)
        assert [one.number for one in shown.tried] == list(range(1, 11))
        assert {one.status for one in shown.tried} == {500}
        # A person sends it again, and a receiver that is well takes it.
        server.answering = answering()
        async with connection.transaction():
            await deliveries.resend(connection, webhook.id, row.id)
        async with sending():
            await ended(connection, webhook.id)
        assert await states(connection, webhook.id) == ["delivered"]
        assert server.asked[-1].headers["webhook-id"] == str(sent_id)


def test_the_delays_last_three_days_and_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert timedelta(days=3) < timedelta(seconds=sum(leases.RETRY_DELAYS_S)) < timedelta(days=4)
    found = {leases._delay_s(2, 0) for _ in range(20)}
    assert len(found) > 1
    assert all(240 <= one <= 360 for one in found)
    assert leases._delay_s(1, 7_200) == 7_200


async def test_410_ends_it_until_somebody_activates_and_replays(connection: Connection, sending: Sending) -> None:
    async with remote_server(answering(410)) as server:
        webhook, _ = await subscribe(connection, server.url)
        began = datetime.now(UTC) - timedelta(seconds=1)
        first = await publish(connection, event())
        async with sending():
            await ended(connection, webhook.id)
        now = await endpoints.get(connection, webhook.id)
        assert (now.active, now.inactive_reason) == (False, "gone")
        missed = await publish(connection, event(), event())
        assert len(await states(connection, webhook.id)) == 1
        server.answering = answering()
        async with connection.transaction():
            await endpoints.change(connection, KEYS, webhook.id, WebhookChange(active=True))
            assert await deliveries.replay(connection, webhook.id, began) == 3
        async with sending():
            await ended(connection, webhook.id, 3)
        assert {asked.headers["webhook-id"] for asked in server.asked[1:]} == {str(one) for one in first + missed}
        async with connection.transaction():
            assert await deliveries.replay(connection, webhook.id, began) == 0
            assert await deliveries.replay(connection, webhook.id, began, delivered=True) == 3


async def test_retry_after_is_obeyed_for_all_deliveries_of_the_endpoint(
    connection: Connection, sending: Sending
) -> None:
    async with remote_server(answering(429, retry_after="3600")) as server:
        webhook, _ = await subscribe(connection, server.url)
        await publish(connection, event())
        async with sending():

            async def asked() -> bool:
                return (await endpoints.get(connection, webhook.id)).failures == 1

            await until(asked, "an attempt")
        await publish(connection, event())
        async with connection.transaction():
            assert await leases.lease(connection, 60.0, {}, 10) == []
        assert len(server.asked) == 1
        now = await endpoints.get(connection, webhook.id)
    assert now.rest_until is not None
    assert timedelta(minutes=59) < now.rest_until - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answering(302, location="http://127.0.0.1:1/"), "a redirect"),
        (answering(404), "answered 404"),
    ],
    ids=["redirect", "missing"],
)
async def test_what_is_not_2xx_is_no_delivery(
    connection: Connection, sending: Sending, monkeypatch: pytest.MonkeyPatch, said: Answering, why: str
) -> None:
    monkeypatch.setattr(leases, "ATTEMPTS_MAX", 1)
    async with remote_server(said) as server:
        webhook, _ = await subscribe(connection, server.url)
        await publish(connection, event())
        async with sending():
            await ended(connection, webhook.id)
        assert len(server.asked) == 1
    [row] = await deliveries.page(connection, webhook.id, None, 10)
    assert why in str(row.error)


async def test_a_private_address_gets_no_request(
    connection: Connection, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "ATTEMPTS_MAX", 1)
    async with remote_server(answering()) as server:
        webhook, _ = await subscribe(connection, server.url.replace("127.0.0.1", "localhost"))
        await publish(connection, event())
        async with sending(allowed=()):
            await ended(connection, webhook.id)
        assert server.connections == 0
    [row] = await deliveries.page(connection, webhook.id, None, 10)
    assert "not a public address" in str(row.error)


async def test_of_a_large_answer_only_the_beginning_is_read_and_event_texts_are_masked(
    connection: Connection, sending: Sending
) -> None:
    size = 100_000_000
    taken = 0

    async def huge(_: Asked, __: RemoteServer) -> Reply:
        nonlocal taken
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\nGot SECRET-CODE-1 and more. ".encode()

        class Pieces(tuple[bytes, ...]):
            __slots__ = ()

            def __iter__(self):  # type: ignore[no-untyped-def]
                nonlocal taken
                yield head
                while taken < size:
                    taken += 65_536
                    yield b"x" * 65_536

        return Reply(Pieces((head,)))

    async with remote_server(huge) as server:
        webhook, _ = await subscribe(connection, server.url, types=["code-attached"])
        data = '{"code": "SECRET-CODE-1"}'
        await publish(connection, event(type_="dev.codewell.code-attached.v1", data=data))
        async with sending():
            await ended(connection, webhook.id)
    [row] = await deliveries.page(connection, webhook.id, "delivered", 10)
    [attempt] = (await deliveries.get(connection, webhook.id, row.id)).tried
    assert attempt.answer is not None
    assert attempt.answer.startswith("Got *** and more.")
    assert len(attempt.answer) <= 300
    # The connection is closed; what was taken is what fits into buffers.
    assert taken < size / 2


async def test_two_generators_send_nothing_twice_in_health(
    connection: Connection, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sender, "LEASE_MARGIN_S", 30)
    async with remote_server(answering()) as server:
        webhook, _ = await subscribe(connection, server.url)
        async with sending(), sending():
            ids = [id_ for _ in range(20) for id_ in await publish(connection, *(event() for _ in range(10)))]
            await ended(connection, webhook.id, len(ids))
        assert sorted(asked.headers["webhook-id"] for asked in server.asked) == sorted(map(str, ids))


async def test_a_lease_that_ended_is_taken_over_and_its_holder_fails_nothing(connection: Connection) -> None:
    webhook, _ = await subscribe(connection, "https://example.com/hook")
    await publish(connection, event())
    [first] = await leases.lease(connection, 60, {}, 10)
    assert await leases.lease(connection, 60, {}, 10) == []
    await connection.execute("UPDATE webhook_delivery SET next_attempt_at = now()")
    [second] = await leases.lease(connection, 60, {}, 10)
    assert second.attempt == first.attempt + 1
    await leases.record(connection, first, leases.Outcome(500, "late", hopeless=True), 1)
    assert await states(connection, webhook.id) == ["waiting"]
    assert await leases.lease(connection, 60, {}, 10) == []
    await leases.record(connection, second, leases.Outcome(200, None), 1)
    assert await states(connection, webhook.id) == ["delivered"]


async def test_what_is_sent_again_during_its_last_attempt_begins_anew_at_once(connection: Connection) -> None:
    webhook, _ = await subscribe(connection, "https://example.com/hook")
    await publish(connection, event())
    for _ in range(leases.ATTEMPTS_MAX):
        await connection.execute("UPDATE webhook_delivery SET next_attempt_at = now()")
        await connection.execute("UPDATE webhook_endpoint SET rest_until = NULL")
        [last] = await leases.lease(connection, 60, {}, 10)
        if last.attempt < leases.ATTEMPTS_MAX:
            await leases.record(connection, last, leases.Outcome(500, "no"), 1)
    async with connection.transaction():
        await deliveries.resend(connection, webhook.id, last.id)
    assert await leases.record(connection, last, leases.Outcome(500, "no"), 1) == "waiting"
    assert await states(connection, webhook.id) == ["waiting"]
    await connection.execute("UPDATE webhook_endpoint SET rest_until = NULL")
    [again] = await leases.lease(connection, 60, {}, 10)
    assert again.attempt == leases.ATTEMPTS_MAX + 1


async def test_an_attempt_is_recorded_after_what_was_sent_again_meanwhile(
    connections: Pool, connection: Connection, bystander: Connection
) -> None:
    webhook, _ = await subscribe(connection, "https://example.com/hook")
    await publish(connection, event())
    [leased] = await leases.lease(connection, 60, {}, 10)
    async with connections.acquire() as other:
        async with bystander.transaction():
            await endpoints.lock(bystander, webhook.id)
            recording = asyncio.ensure_future(leases.record(other, leased, leases.Outcome(500, "no"), 1))
            await until_waiting(connection)
            # Neither waits for the other.
            await deliveries.resend(bystander, webhook.id, leased.id)
        assert await recording == "waiting"


async def test_events_of_a_program_that_left_the_groups_are_neither_sent_nor_shown(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PER_ENDPOINT_MAX", 2)
    spring = await program(connection, Minters(None), "SPRING", groups=["a"])
    other = await program(connection, Minters(None), "OTHER", groups=["a", "b"])
    webhook, _ = await subscribe(connection, "https://example.com/hook", groups=["a"])
    await publish(connection, *(event(spring.id) for _ in range(3)))
    [stays] = await publish(connection, event(other.id))
    shown = await deliveries.page(connection, webhook.id, None, 10)
    assert len(shown) == 4
    await connection.execute("UPDATE program SET groups = '{b}' WHERE id = $1", spring.id)
    # Those before it are more than are leased at once.
    [leased] = await leases.lease(connection, 60, {}, 10)
    assert leased.event_id == stays
    assert sorted(await states(connection, webhook.id)) == ["failed"] * 3 + ["waiting"]
    assert [one.id for one in await deliveries.page(connection, webhook.id, None, 10)] == [leased.id]
    gone = next(one.id for one in shown if one.id != leased.id)
    with pytest.raises(ProgramRefused):
        await deliveries.get(connection, webhook.id, gone)
    with pytest.raises(ProgramRefused):
        await deliveries.resend(connection, webhook.id, gone)
    assert sorted(await states(connection, webhook.id)) == ["failed"] * 3 + ["waiting"]


async def test_a_repeated_event_is_delivered_once_and_what_is_withdrawn_not_at_all(connection: Connection) -> None:
    webhook, _ = await subscribe(connection, "https://example.com/hook", types=["alert-raised", "alert-cleared"])
    one, other = event(), event(type_="dev.codewell.alert-cleared.v1")
    await publish(connection, one)
    await publish(connection, one, other)
    assert await states(connection, webhook.id) == ["waiting", "waiting"]
    async with connection.transaction():
        await endpoints.change(connection, KEYS, webhook.id, WebhookChange(types=("alert-cleared",)))
    assert await states(connection, webhook.id) == ["failed", "waiting"]
    [leased] = await leases.lease(connection, 60, {}, 10)
    await leases.record(connection, leased, leases.Outcome(200, None), 1)
    await publish(connection, other)
    assert await states(connection, webhook.id) == ["failed", "delivered"]


async def test_slack_gets_text_at_a_url_that_nobody_is_shown(connection: Connection, sending: Sending) -> None:
    async with remote_server(answering()) as server:
        webhook, secret = await subscribe(connection, server.url + "/T0/B0/hidden", kind="slack")
        assert secret is None
        assert "hidden" not in webhook.target
        data = '{"title": "<!channel> & more", "action": "Add codes.", "figures": {"pooled": 0}}'
        await publish(connection, event(data=data))
        async with sending():
            await ended(connection, webhook.id)
        [asked] = server.asked
    assert asked.data == {"text": "*Alert: &lt;!channel&gt; &amp; more*\nAdd codes.\npooled: 0"}
    stored = await connection.fetchval("SELECT secret FROM webhook_secret WHERE endpoint_id = $1", webhook.id)
    assert b"hidden" not in stored


async def test_the_shortest_url_of_slack_is_stored_too(connection: Connection) -> None:
    webhook, _ = await subscribe(connection, "http://a", kind="slack")
    [stored] = (await secrets.active(connection, [webhook.id]))[webhook.id]
    assert secrets.url_of(KEYS.unwrap(stored)) == "http://a"
