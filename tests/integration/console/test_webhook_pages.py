"""The screens of webhooks."""

import html
import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.webhooks import WebhookEvent, enqueue, leases
from services.console.pages.screens import webhooks
from tests.support.consoles import Consoles
from tests.support.pages import secret_on


def key(**more: object) -> dict[str, object]:
    return {"key": str(uuid4()), **more}


async def test_a_webhook_is_made_its_secret_shown_once_and_its_deliveries_are_sent_again(
    consoles: Consoles, connection: Connection
) -> None:
    browser = await consoles.browser("admin", "read")
    assert "No webhooks yet" in (await browser.get("/webhooks")).text
    assert "Signed JSON" in (await browser.get("/webhooks/new")).text
    form = key(kind="webhook", target="https://shop.invalid/hooks", types=["alert-raised"], groups="", description="x")
    made = await browser.post("/webhooks/new", data=form)
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    secret = secret_on(made)
    again = await browser.post("/webhooks/new", data=form)
    assert "shown already" in again.text
    id_ = await connection.fetchval("SELECT id FROM webhook_endpoint")
    path = f"/webhooks/{id_}"
    shown = await browser.get(path)
    assert "https://shop.invalid/hooks" in shown.text
    assert secret not in shown.text
    rotated = await browser.post(f"{path}/rotate", data=key())
    assert secret_on(rotated) != secret

    async with connection.transaction():
        await enqueue(
            connection, [WebhookEvent(uuid7(), "dev.codewell.alert-raised.v1", datetime.now(UTC), None, '{"a": "<b>"}')]
        )
    [leased] = await leases.lease(connection, 60, {}, 10)
    await leases.record(connection, leased, leases.Outcome(410, "It is gone.", "<i>", gone=True), 0.1)
    shown = await browser.get(path)
    assert "The receiver is gone" in shown.text
    assert "It is gone." in shown.text
    delivery = await browser.get(f"{path}/deliveries/{leased.id}")
    assert str(leased.event_id) in delivery.text
    assert "&lt;i&gt;" in delivery.text
    assert "<b>" not in delivery.text
    done = await browser.post(f"{path}/change", data=key(active="yes"))
    assert "is changed" in (await browser.get(done.headers["location"])).text
    done = await browser.post(f"{path}/replay", data=key(since="2026-01-01"))
    assert "1 event is to be sent" in (await browser.get(done.headers["location"])).text
    done = await browser.post(f"{path}/deliveries/{leased.id}/resend", data=key())
    assert "is sent again" in (await browser.get(done.headers["location"])).text
    refused = await browser.post(f"{path}/replay", data=key(since="yesterday"))
    assert (refused.status_code, "must be a date" in refused.text) == (422, True)
    assert 'value="yesterday"' in refused.text
    wrong = key(settings="on", description="<y>", types=["order-changed"], groups="no group!", target="")
    refused = await browser.post(f"{path}/change", data=wrong)
    assert refused.status_code == 422
    assert all(f'value="{typed}"' in refused.text for typed in ("&lt;y&gt;", "no group!"))
    # Nothing of this machine is allowed, so that the test tells why.
    tested = await browser.post(f"{path}/test", data=key())
    assert "did not arrive" in tested.text
    changed = key(settings="on", description="y", types=["alert-cleared"], groups="ours", target="")
    await browser.post(f"{path}/change", data=changed)
    row = await connection.fetchrow("SELECT * FROM webhook_endpoint")
    assert (row["types"], row["groups"], row["target"]) == (["alert-cleared"], ["ours"], "https://shop.invalid/hooks")
    refused = await browser.post(f"{path}/remove", data=key(typed="0"))
    assert (refused.status_code, "Type the number" in refused.text) == (422, True)
    done = await browser.post(f"{path}/remove", data=key(typed=str(id_)))
    assert "is removed" in (await browser.get(done.headers["location"])).text
    assert (await browser.get(path)).status_code == 404


async def test_what_is_wrong_stands_at_its_field_and_readers_change_nothing(consoles: Consoles) -> None:
    browser = await consoles.browser("admin")
    form = key(kind="slack", target="nowhere", types=["code-attached"], groups="a", description="kept")
    refused = await browser.post("/webhooks/new", data=form)
    assert refused.status_code == 422
    assert "Must be a URL" in refused.text
    assert 'id="target-error"' in refused.text
    assert 'value="kept"' in refused.text
    reader = await consoles.browser("read")
    assert "Create webhook" not in (await reader.get("/webhooks")).text
    assert (await reader.get("/webhooks/new")).status_code == 403
    assert (await reader.post("/webhooks/new", data=form)).status_code == 403


async def test_further_deliveries_are_found_from_each_page_of_a_webhook_with_their_filter(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_ROWS", 1)
    browser = await consoles.browser("admin", "read")
    form = key(kind="webhook", target="https://shop.invalid/hooks", types=["alert-raised"], groups="", description="x")
    await browser.post("/webhooks/new", data=form)
    path = f"/webhooks/{await connection.fetchval('SELECT id FROM webhook_endpoint')}"
    async with connection.transaction():
        events = [
            WebhookEvent(uuid7(), "dev.codewell.alert-raised.v1", datetime.now(UTC), None, "{}") for _ in range(2)
        ]
        await enqueue(connection, events)

    # The page that says how the test went is at another address.
    [following] = re.findall(r'href="([^"]+cursor=[^"]+)"', (await browser.post(f"{path}/test", data=key())).text)
    assert following.startswith(path)
    [following] = re.findall(r'href="([^"]+cursor=[^"]+)"', (await browser.get(f"{path}?state=waiting")).text)
    second = (await browser.get(html.unescape(following))).text
    assert f'href="{path}?state=waiting"' in second
