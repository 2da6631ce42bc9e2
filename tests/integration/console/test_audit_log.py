"""Whatever is changed over HTTP is in the audit log with the name of the token, and nothing else is."""

from typing import Any
from uuid import UUID

import httpx

from codewell.audit import audit_log
from codewell.audit.audit_log import AuditEntry
from codewell.infra.postgres.connection import Connection
from tests.integration.console.test_access import operations
from tests.support.consoles import Consoles, settings

PROGRAM = "/programs/SPRING"
PROFILE = "p-nobody-may-read"
RECEIPT = {"profile_id": PROFILE, "receipt": "permanent"}
REMOTE = {"kind": "remote", "url": "https://codes.example.com/", "request_max": 10}


async def code_of(client: httpx.AsyncClient) -> str:
    answer = await client.post(f"{PROGRAM}/codes:attach", json={"profile_id": PROFILE})
    code: str = answer.json()["code"]
    return code


async def each_change(client: httpx.AsyncClient) -> list[tuple[str, str, httpx.Response]]:
    """Every operation that changes something, once: its path and method in the document, and the answer."""
    done: list[tuple[str, str, httpx.Response]] = []

    async def ask(path: str, method: str, body: Any = None, **values: str) -> httpx.Response:
        url = path.format(**{"name": "SPRING", **values})
        given = {"files": {"file": ("codes.csv", b"ALPHA-0001")}} if path.endswith("/imports") else {"json": body}
        answer = await client.request(method, url, **given)
        done.append((f"/api/v1{path}", method, answer))
        return answer

    await ask("/programs", "post", settings())
    await ask("/programs/{name}", "patch", {"title": "Theirs", "codes_max": 900, "pool_max": 10})
    await ask("/programs/{name}/clone", "post", {"name": "AUTUMN"})
    await ask("/programs/{name}/deactivate", "post")
    await ask("/programs/{name}/activate", "post")
    await ask("/programs/{name}/codes:generate", "post", {"count": 20})
    await ask("/programs/{name}/codes:generate", "post", {"profiles": [PROFILE]})
    await ask("/programs/{name}/codes:attach", "post", {"profile_id": PROFILE, "code": "BY-HAND"})
    await ask("/programs/{name}/codes:detach", "post", {"code": await code_of(client)})
    used = await code_of(client)
    await ask("/programs/{name}/codes:activate", "post", {"code": used})
    await ask("/programs/{name}/codes:deactivate", "post", {"code": used})
    await ask("/codes:activate", "post", {"code": used, "order_id": "o-1"})
    await client.post(f"{PROGRAM}/codes:deactivate", json={"code": used, "order_id": "o-1"})
    await ask("/programs/{name}/codes:hold", "post", {"code": used, "order_id": "o-2"})
    await ask("/programs/{name}/codes:release", "post", {"code": used, "order_id": "o-2"})
    await ask("/programs/{name}/codes:reissue", "post", {"code": await code_of(client), "reason": "lost"})
    await ask("/programs/{name}/codes/{code}", "patch", {"expires_at": None}, code=used)
    await ask("/programs/{name}/codes/{code}", "delete", code=used)
    reservation = {"campaign_id": "spring", "count": 2, "until": "2098-12-01T00:00:00Z"}
    reserved = (await ask("/programs/{name}/reservations", "post", reservation)).json()["id"]
    await ask("/programs/{name}/reservations/{reservation_id}", "patch", {"count": 3}, reservation_id=reserved)
    await ask("/programs/{name}/reservations/{reservation_id}:release", "post", reservation_id=reserved)
    await ask("/programs/{name}/alerts:clear", "post", {})
    await ask("/receipts", "post", {"receipts": [{**RECEIPT, "request_id": str(UUID(int=1))}]})
    change = {"filter": {"state": "pooled"}, "expires_at": "2098-12-01"}
    changed = (await ask("/programs/{name}/codes:change", "post", change)).json()["id"]
    await ask("/changes/{change_id}:stop", "post", change_id=changed)
    await ask("/changes/{change_id}:undo", "post", change_id=changed)
    begun = await ask("/programs/{name}/imports", "post")
    await ask("/imports/{import_id}:undo", "post", import_id=begun.json()["id"])
    await ask("/profiles/{id}", "put", {"fields": {"email": "a@example.com"}}, id=PROFILE)
    await ask("/profiles/{id}", "delete", id=PROFILE)
    await client.post("/programs", json=settings("DISTANT", source=REMOTE))
    await ask("/programs/{name}/remote/secrets:rotate", "post", name="DISTANT")
    await ask("/programs/{name}", "delete")
    token = await ask("/tokens", "post", {"name": "shop", "scopes": ["redeem"], "expires_in": "P90D"})
    await ask("/tokens/{token_id}", "delete", token_id=str(token.json()["id"]))
    await ask("/promises:check", "post")
    made = await ask("/webhooks", "post", {"target": "https://shop.example.com/hooks"})
    webhook = str(made.json()["id"])
    await ask("/webhooks/{webhook_id}", "patch", {"description": "Operators"}, webhook_id=webhook)
    await ask("/webhooks/{webhook_id}/secrets:rotate", "post", webhook_id=webhook)
    await ask("/webhooks/{webhook_id}", "delete", webhook_id=webhook)
    return done


# Not attachments of the next code, activations and receipts: shops, campaigns and senders do these all day, and each is
# on record as an answer, a fact of its code or a receipt.
LOGGED = [
    "program.create", "program.update", "program.clone", "program.deactivate", "program.activate", "code.generate",
    "code.generate", "code.attach", "code.detach", "code.deactivate", "code.deactivate", "code.reissue", "code.update",
    "code.delete", "reservation.create", "reservation.change", "reservation.release", "change.begin", "change.stop",
    "change.undo", "import.begin", "import.undo", "profile.put", "profile.forget", "program.create", "secret.rotate",
    "program.remove", "token.create", "token.revoke", "promises.check", "webhook.create", "webhook.update",
    "webhook.rotate_secret", "webhook.remove",
]  # fmt: skip


async def test_each_change_is_logged_with_who_did_it_and_without_codes_or_profiles(
    consoles: Consoles, connection: Connection
) -> None:
    name, secret = await consoles.token("admin")
    client = await consoles.with_secret(secret)
    done = await each_change(client)
    assert [(path, answer.text) for path, _, answer in done if answer.is_error] == []
    # Those of dead letters and deliveries need some first: test_dead_letters.py and test_webhooks.py.
    changing = {
        (path, method)
        for path, method in operations()
        if method != "get" and not path.endswith(("preview", ":test", ":replay", ":resend", ":purge"))
    }
    assert {(path, method) for path, method, _ in done} == changing
    entries = (await audit_log.page(connection, 100))[::-1]
    assert [entry.verb for entry in entries] == LOGGED
    assert {(entry.via, entry.actor) for entry in entries} == {("token", name)}
    assert {entry.program for entry in entries} == {"SPRING", "AUTUMN", "DISTANT", None}
    texts = [row["code"] for row in await connection.fetch("SELECT code FROM answer WHERE code IS NOT NULL")]
    assert len(texts) >= 4
    for written in map(repr, entries):
        assert not [text for text in (*texts, PROFILE, "ALPHA-0001") if text in written]
    by_verb = {entry.verb: entry.details for entry in entries}
    assert by_verb["code.generate"] == {"count": 1, "attached": True}
    assert by_verb["token.create"] == {
        "token": "shop", "scopes": ["redeem"], "groups": [], "expires_in": "90 days, 0:00:00",
    }  # fmt: skip
    assert by_verb["token.revoke"] == {"token": "shop"}
    assert by_verb["program.update"] == {"changed": ["codes_max", "pool_max", "title"]}
    assert by_verb["profile.forget"]["answers"] >= 2
    assert (await audit_log.verify(connection)).wrong is None


async def logged(connection: Connection) -> list[AuditEntry]:
    return await audit_log.page(connection, 100)


async def test_what_is_refused_or_repeated_is_not_logged_again(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    key = {"Idempotency-Key": "k"}
    for _ in range(2):
        assert (await client.post("/programs", json=settings(), headers=key)).status_code == 201
    assert (await client.post("/programs", json=settings())).status_code == 409
    assert (await client.patch(PROGRAM, json={"codes_max": 0})).status_code == 422
    assert (await client.delete(f"{PROGRAM}/codes/NONE")).status_code == 404
    assert (await client.post(f"{PROGRAM}/codes:detach", json={"code": "NONE"})).status_code == 404
    assert [entry.verb for entry in await logged(connection)] == ["program.create"]


async def test_an_export_is_logged_before_anything_leaves(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.put(f"/profiles/{PROFILE}", json={"fields": {"email": "a@example.com"}})
    assert (await client.get(f"{PROGRAM}/codes.csv?state=pooled&fields=email")).status_code == 200
    exported = (await logged(connection))[0]
    assert (exported.verb, exported.program) == ("code.export", "SPRING")
    assert exported.details == {"state": "pooled", "fields": "email"}


async def test_what_can_not_be_logged_is_not_done(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await connection.execute("REVOKE INSERT (verb) ON audit_entry FROM codewell_console")
    assert (await client.delete(PROGRAM)).status_code == 500
    assert (await client.get(PROGRAM)).json()["active"]
