"""`codes:reissue` over HTTP: once for a key, with the rights of its role, and what it refuses."""

from typing import Any

import httpx
import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, is_problem, settings

PATH = "/programs/SPRING/codes:reissue"


@pytest.fixture
async def code(consoles: Consoles) -> str:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post("/programs/SPRING/codes:generate", json={"count": 5})
    text: str = (await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p-1"})).json()["code"]
    return text


async def post(client: httpx.AsyncClient, key: str | None = None, **body: Any) -> httpx.Response:
    return await client.post(PATH, json=body, headers={} if key is None else {"Idempotency-Key": key})


async def test_a_repeated_call_has_one_effect(consoles: Consoles, connection: Connection, code: str) -> None:
    support = await consoles.client("support")
    first = await post(support, "ticket-7", code=f" {code}", reason=" mail deleted ")
    assert first.status_code == 200, first.text
    assert (await post(support, "ticket-7", code=f" {code}", reason=" mail deleted ")).json() == first.json()
    new = first.json()
    assert (new["state"], new["profile_id"], new["replaces"], new["reissues_left"]) == ("attached", "p-1", "0:1:0", 0)
    is_problem(await post(support, code=code, reason="again"), 409, reason="code_deleted")
    is_problem(await post(support, code=new["code"], reason="again"), 409, reason="reissues_exhausted")

    history = (await support.get(f"/programs/SPRING/history/{code}")).json()["events"]
    assert [(one["event"], one["other"], one["reason"]) for one in history][-2:] == [
        ("deleted", None, None), ("reissued", new["place"], "mail deleted"),
    ]  # fmt: skip
    history = (await support.get(f"/programs/SPRING/history/{new['code']}")).json()["events"]
    assert [(one["event"], one["other"]) for one in history][-2:] == [("attached", None), ("replaces", "0:1:0")]
    assert await audit(connection) == []


@pytest.mark.parametrize(
    "body",
    [
        {"code": "A"},
        {"code": "A", "reason": " "},
        {"code": "A", "reason": "x" * 10_240},
        {"reason": "lost"},
        {"code": "A", "profile_id": "p-1", "reason": "lost"},
        {"code": "A", "reason": "lost", "expires": "never"},
    ],
)
async def test_what_is_no_request(consoles: Consoles, body: dict[str, Any]) -> None:
    is_problem(await post(await consoles.client("support"), **body), 422, reason="field_invalid")


async def test_a_profile_with_several_codes_and_an_empty_pool(consoles: Consoles, code: str) -> None:
    admin = await consoles.client("admin")
    await admin.post("/programs/SPRING/codes:attach", json={"profile_id": "p-1"})
    is_problem(await post(admin, profile_id="p-1", reason="lost"), 409, "name the code", reason="profile_has_codes")
    is_problem(await post(admin, profile_id="p-2", reason="lost"), 409, reason="profile_has_no_code")
    for _ in range(3):
        await admin.post("/programs/SPRING/codes:attach", json={"profile_id": "p-2"})
    is_problem(await post(admin, code=code, reason="lost"), 409, reason="pool_empty")
    assert (await admin.get(f"/programs/SPRING/codes/{code}")).json()["state"] == "attached"
