"""Webhooks by HTTP: made, shown without secrets, changed, tested, sent again; each group sees its own alone."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from standardwebhooks import Webhook as Verifier

from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.webhooks import WebhookEvent, enqueue, leases
from tests.support.consoles import Consoles, create_console, is_problem
from tests.support.remote_server import Asked, RemoteServer, Reply, remote_server, reply


async def fine(_: Asked, __: RemoteServer) -> Reply:
    return reply(b"ok")


@pytest.fixture
async def server() -> AsyncIterator[RemoteServer]:
    async with remote_server(fine) as listening:
        yield listening


@pytest.fixture
def api(consoles: Consoles) -> FastAPI:
    return create_console(consoles.pool, remote_allow=("127.0.0.0/8",), webhook_timeout_s=2.0)


@pytest.fixture
async def admin(consoles: Consoles, api: FastAPI) -> httpx.AsyncClient:
    return await consoles.client("admin", "read", api=api)


async def make(client: httpx.AsyncClient, target: str = "https://shop.invalid/hooks", **given: Any) -> dict[str, Any]:
    made = await client.post("/webhooks", json={"target": target, **given})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


async def publish(connection: Connection, number: int = 1, program_id: int | None = None) -> None:
    kind = "dev.codewell.alert-raised.v1"
    now = datetime.now(UTC)
    async with connection.transaction():
        await enqueue(connection, [WebhookEvent(uuid7(), kind, now, program_id, "{}") for _ in range(number)])


async def test_a_secret_is_answered_once_and_signs_the_test(
    admin: httpx.AsyncClient, server: RemoteServer, connection: Connection
) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await admin.post("/webhooks", json={"target": server.url}, headers=key)
    again = await admin.post("/webhooks", json={"target": server.url}, headers=key)
    made = first.json()
    assert again.json() == {**made, "secret": None}
    shown = (await admin.get(f"/webhooks/{made['id']}")).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (await admin.get("/webhooks")).json()["items"] == [shown]
    tested = (await admin.post(f"/webhooks/{made['id']}:test")).json()
    assert (tested["accepted"], tested["status"], tested["answer"]) == (True, 200, "ok")
    [asked] = server.asked
    assert Verifier(made["secret"]).verify(asked.body, asked.headers)["type"] == "dev.codewell.webhook-test.v1"
    rotated = (await admin.post(f"/webhooks/{made['id']}/secrets:rotate", headers={"Idempotency-Key": "k-2"})).json()
    assert rotated["previous_end_at"] is not None
    await admin.post(f"/webhooks/{made['id']}:test")
    for secret in (made["secret"], rotated["secret"]):
        assert Verifier(secret).verify(server.asked[1].body, server.asked[1].headers)
    repeated = await admin.post(f"/webhooks/{made['id']}/secrets:rotate", headers={"Idempotency-Key": "k-2"})
    assert repeated.json()["secret"] is None
    entries = await connection.fetch("SELECT verb, details::text AS d FROM audit_entry ORDER BY id")
    assert [row["verb"] for row in entries] == [
        "webhook.create", "webhook.test", "webhook.rotate_secret", "webhook.test",
    ]  # fmt: skip
    assert json.loads(entries[1]["d"]) == {"webhook": made["id"], "kind": "webhook", "host": "127.0.0.1"}


async def test_each_group_sees_and_makes_its_own_alone(consoles: Consoles, admin: httpx.AsyncClient) -> None:
    mine = await make(admin, groups=["marketing"])
    both = await make(admin, groups=["marketing", "support"])
    of_all = await make(admin)
    member = await consoles.client("admin", "read", groups=["marketing"])
    assert [one["id"] for one in (await member.get("/webhooks")).json()["items"]] == [mine["id"]]
    for other in (both["id"], of_all["id"]):
        is_problem(await member.get(f"/webhooks/{other}"), 404, "There is no webhook")
        is_problem(await member.patch(f"/webhooks/{other}", json={"active": False}), 404)
        is_problem(await member.get(f"/webhooks/{other}/deliveries"), 404)
        is_problem(await member.delete(f"/webhooks/{other}"), 404)
        for step in ("/secrets:rotate", ":test"):
            is_problem(await member.post(f"/webhooks/{other}{step}"), 404)
    for groups in ([], ["support"]):
        is_problem(await member.post("/webhooks", json={"target": "https://a.invalid", "groups": groups}), 403)
        is_problem(await member.patch(f"/webhooks/{mine['id']}", json={"groups": groups}), 403)
    assert (await member.patch(f"/webhooks/{mine['id']}", json={"active": False})).json()["active"] is False


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": "ops@example.com"}, "must be"),
        ({"target": "https://user:secret@example.com/"}, "no password"),
        ({"target": "ftp://example.com/"}, "must be a URL"),
        ({"kind": "email", "target": "https://example.com/"}, "one e-mail address"),
        ({"kind": "email", "target": "a@example.com> NOTIFY=NEVER <b@example.com"}, "one e-mail address"),
        ({"kind": "email", "target": "=?utf-8?b?Ym9zcw==?=@example.com"}, "without encoded words"),
        ({"kind": "slack", "target": "https://hooks.slack.invalid/x", "types": ["code-attached"]}, "takes only"),
        ({"target": "https://example.com/", "types": []}, "types"),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused(admin: httpx.AsyncClient, given: dict[str, Any], words: str) -> None:
    is_problem(await admin.post("/webhooks", json=given), 422, words)


async def test_an_email_needs_a_mail_server(consoles: Consoles, admin: httpx.AsyncClient) -> None:
    given = {"kind": "email", "target": "ops@example.com"}
    is_problem(await admin.post("/webhooks", json=given), 409, "CODEWELL_SMTP_HOST")
    api = create_console(consoles.pool, smtp_host="mail.example.com", smtp_from="codewell@example.com")
    with_mail = await consoles.client("admin", api=api)
    made = await make(with_mail, **given)
    assert made["secret"] is None
    is_problem(await with_mail.post(f"/webhooks/{made['id']}/secrets:rotate"), 409, "not signed")
    is_problem(await with_mail.patch(f"/webhooks/{made['id']}", json={"target": "nobody"}), 422, "one e-mail address")


async def test_deliveries_are_listed_shown_resent_and_replayed(
    admin: httpx.AsyncClient, connection: Connection
) -> None:
    made = await make(admin)
    path = f"/webhooks/{made['id']}"
    await publish(connection, 3)
    page = (await admin.get(f"{path}/deliveries", params={"limit": 2})).json()
    rest = (await admin.get(f"{path}/deliveries", params={"cursor": page["next_cursor"]})).json()
    ids = [one["id"] for one in page["items"] + rest["items"]]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest["next_cursor"]) == (3, None)
    [leased, *_] = await leases.lease(connection, 60, {}, 10)
    await leases.record(connection, leased, leases.Outcome(200, None, "ok"), 0.1)
    shown = (await admin.get(f"{path}/deliveries/{leased.id}")).json()
    assert (shown["state"], shown["status"], shown["tried"][0]["answer"]) == ("delivered", 200, "ok")
    assert shown["body"]["type"] == "dev.codewell.alert-raised.v1"
    assert [one["id"] for one in (await admin.get(f"{path}/deliveries?state=delivered")).json()["items"]] == [leased.id]
    again = (await admin.post(f"{path}/deliveries/{leased.id}:resend")).json()
    assert (again["state"], again["event_id"]) == ("waiting", shown["event_id"])
    is_problem(await admin.post(f"{path}/deliveries/{2**40}:resend"), 404, "no delivery")
    assert (await admin.get(path)).json()["waiting"] == 3
    # What was published while it was off comes with the replay.
    await admin.patch(path, json={"active": False})
    await publish(connection)
    await admin.patch(path, json={"active": True})
    replayed = await admin.post(f"{path}:replay", json={"since": made["created_at"]})
    assert replayed.json() == {"deliveries": 4}
    assert (await admin.delete(path)).status_code == 200
    is_problem(await admin.get(path), 404)
    assert await leases.lease(connection, 60, {}, 10) == []
    assert await connection.fetchval("SELECT count(*) FROM webhook_secret") == 0


@pytest.mark.parametrize(
    ("since", "status"),
    [("0001-01-01T00:00:00+14:00", 422), ("9999-12-31T23:59:59-14:00", 422), (5, 422), ("2026-11-30", 200)],
)
async def test_a_replay_begins_at_a_moment_as_all_others_are_read(
    admin: httpx.AsyncClient, since: object, status: int
) -> None:
    made = await make(admin)
    assert (await admin.post(f"/webhooks/{made['id']}:replay", json={"since": since})).status_code == status
