"""The remote service of a program over HTTP: what it owes, its circuit, its secrets, and codes ordered by hand."""

from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.errors import RemoteFailed
from codewell.remote import order_leases
from tests.support.consoles import Consoles, is_problem, settings

SERVICE = {"kind": "remote", "url": "https://codes.example/orders", "request_max": 10}
KEY = {"Idempotency-Key": "k-1"}


def remote(**changed: Any) -> dict[str, Any]:
    return settings(source=SERVICE, campaign_can_create=True, fields=[{"name": "discount"}], **changed)


async def test_codes_are_ordered_and_what_stands_against_them_is_shown(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    assert (await client.post("/programs", json=remote())).status_code == 201
    wanted = {"count": 25, "fields": {"discount": "10"}}
    for _ in range(2):
        ordered = await client.post("/programs/SPRING/codes:generate", json=wanted, headers=KEY)
        assert ordered.status_code == 201
        assert (ordered.json()["made"], ordered.json()["on_order"]) == (0, 25)
    is_problem(await client.post("/programs/SPRING/codes:generate", json={"count": 976}), 409, "room for 975")
    is_problem(await client.post("/programs/SPRING/codes:generate", json={"count": 1, "fields": {"a": "1"}}), 409)
    is_problem(await client.patch("/programs/SPRING", json={"codes_max": 24, "pool_max": 1}), 409, "25", "on order")
    async with consoles.owners.acquire() as connection:
        rows = await connection.fetch("SELECT count, fields FROM remote_request ORDER BY count DESC")
        assert [(row["count"], row["fields"]) for row in rows] == [
            (count, '{"discount": "10"}') for count in (10, 10, 5)
        ]
        [order] = await order_leases.lease_orders(connection, 60, {}, 1, 1)
        await order_leases.record_failure(
            connection, order, RemoteFailed("The service answered 500 instead of 200."), 60
        )
        assert await audit(connection) == []
    shown = (await client.get("/programs/SPRING/remote")).json()
    assert shown.pop("error_at") is not None
    assert shown == {
        "program": "SPRING", "url": SERVICE["url"], "on_order": 25, "requests_open": 3, "circuit": "closed",
        "rest_until": shown["rest_until"], "failures": 1, "error": "The service answered 500 instead of 200.",
    }  # fmt: skip


async def test_secrets_are_shown_and_replaced(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    made = await client.post("/programs", json=remote())
    assert "whsec_" not in made.text
    assert "whsec_" not in (await client.get("/programs/SPRING/remote")).text
    shown = await client.get("/programs/SPRING/remote/secrets")
    assert shown.headers["cache-control"] == "no-store"
    async with consoles.owners.acquire() as connection:
        verbs = "SELECT count(*) FROM audit_entry WHERE verb = 'secret.show' AND program = 'SPRING'"
        assert await connection.fetchval(verbs) == 1
    [first] = shown.json()["secrets"]
    assert first["secret"].startswith("whsec_")
    assert first["ends_at"] is None
    second, old = (await client.post("/programs/SPRING/remote/secrets:rotate")).json()["secrets"]
    assert (old["secret"], second["ends_at"]) == (first["secret"], None)
    assert old["ends_at"] is not None
    assert (await client.get("/programs/SPRING/remote/secrets")).json()["secrets"] == [second, old]
    # A clone is another program to its service.
    await client.post("/programs/SPRING/clone", json={"name": "AUTUMN"})
    [other] = (await client.get("/programs/AUTUMN/remote/secrets")).json()["secrets"]
    assert other["secret"] not in {first["secret"], second["secret"]}


async def test_a_program_of_a_template_has_no_service(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    for path in ("remote", "remote/secrets"):
        is_problem(await client.get(f"/programs/SPRING/{path}"), 409, "has no remote service")
    is_problem(await client.post("/programs/SPRING/remote/secrets:rotate"), 409, "has no remote service")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://me:secret@codes.example/", "no user and no password"),
        ("https://me@codes.example/", "no user and no password"),
        ("https://codes.example/#part", "fragment"),
        ("https:///orders", "name a host"),
        ("https://:443/orders", "name a host"),
        ("https://codes.example:99999/", "must be like"),
        ("https://[::1/", "must be like"),
    ],
)
async def test_a_url_that_cannot_be_one(consoles: Consoles, url: str, says: str) -> None:
    client = await consoles.client("write")
    is_problem(await client.post("/programs", json=remote() | {"source": {**SERVICE, "url": url}}), 422, says)


async def test_a_service_may_move_and_a_program_keeps_to_its_kind(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=remote())
    moved = {**SERVICE, "url": "https://elsewhere.example/", "request_max": 5}
    assert (await client.patch("/programs/SPRING", json={"source": moved})).json()["source"] == moved
    assert (await client.get("/programs/SPRING/remote")).json()["url"] == moved["url"]
    is_problem(await client.patch("/programs/SPRING", json={"source": {"kind": "import"}}), 409, "cannot change")
