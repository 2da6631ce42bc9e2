"""Codes whose program the caller does not name: found and activated over the programs that the token may see."""

from typing import Any

import httpx

from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, create_console, is_problem, settings

OFF: dict[str, Any] = {"campaign_can_create": False, "scenario_can_create": False}


async def program(client: httpx.AsyncClient, name: str, template: str, **changed: Any) -> str:
    """Make a program with ten codes, and return one that is attached."""
    given = settings(name, source={"kind": "template", "template": template}, codes_max=1_000, **OFF, **changed)
    made = await client.post("/programs", json=given)
    assert made.status_code == 201, made.text
    await client.post(f"/programs/{name}/codes:generate", json={"count": 10})
    attached = await client.post(f"/programs/{name}/codes:attach", json={"profile_id": "p-1"})
    code: str = attached.json()["code"]
    return code


async def attach(client: httpx.AsyncClient, name: str, code: str) -> None:
    answer = await client.post(f"/programs/{name}/codes:attach", json={"profile_id": "p-2", "code": code})
    assert answer.status_code == 200, answer.text


async def test_a_code_is_found_and_activated_without_its_program(consoles: Consoles, connection: Connection) -> None:
    admin = await consoles.client("admin")
    plain = await program(admin, "PLAIN", "P-{safe 10}")
    folded = await program(admin, "FOLDED", "F-{safe 10}", match="fold", groups=["shop"])
    await program(admin, "SAME", "P-{safe 10}")
    await attach(admin, "PLAIN", "OWN 1")
    for name in ("FOLDED", "SAME"):
        await attach(admin, name, "BOTH-1")
    shop = await consoles.client("redeem", groups=["shop"])

    for client, typed, name, code in (
        (admin, plain, "PLAIN", plain),
        (admin, f" {plain} ", "PLAIN", plain),
        (admin, "OWN%201", "PLAIN", "OWN 1"),
        (admin, folded.lower().replace("-", ""), "FOLDED", folded),
        # Of the programs that this token sees, one has it.
        (shop, "both1", "FOLDED", "BOTH-1"),
    ):
        shown = await client.get(f"/codes/{typed}")
        assert shown.status_code == 200, shown.text
        assert (shown.json()["program"], shown.json()["code"], shown.json()["state"]) == (name, code, "attached")
    for client, typed in (
        (admin, plain.lower()),
        (admin, "---"),
        (admin, "%E2%80%AE"),
        (shop, plain),
        (admin, "P-2222222222"),
    ):
        is_problem(await client.get(f"/codes/{typed}"), 404, "There is no code", reason="code_unknown")
    is_problem(await admin.get("/codes/BOTH-1"), 409, "FOLDED, SAME", reason="ambiguous")
    is_problem(await admin.post("/codes:activate", json={"code": "BOTH-1"}), 409, "FOLDED, SAME", reason="ambiguous")

    key = {"Idempotency-Key": "order-7:activate"}
    used = await admin.post("/codes:activate", json={"code": folded.lower()}, headers=key)
    assert (used.status_code, used.json()["state"], used.json()["code"]) == (200, "activated", folded)
    again = await admin.post("/codes:activate", json={"code": folded.lower()}, headers=key)
    assert again.json() == used.json()
    is_problem(await admin.post("/codes:activate", json={"code": folded}), 409, "is activated", reason="code_used")
    is_problem(await shop.post("/codes:activate", json={"code": plain}), 404, "There is no code", reason="code_unknown")
    is_problem(await admin.post("/codes:activate", json={"code": "x" * 10_240}), 422, "code", reason="field_invalid")
    # A removed program is not asked.
    await admin.delete("/programs/SAME")
    assert (await admin.get("/codes/BOTH-1")).json()["program"] == "FOLDED"


async def test_a_repeated_key_gets_its_answer_whatever_became_of_the_code(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    code = await program(admin, "PLAIN", "P-{safe 10}")
    await program(admin, "SAME", "S-{safe 10}")

    async def activate(key: str, code: str) -> httpx.Response:
        return await admin.post("/codes:activate", json={"code": code}, headers={"Idempotency-Key": key})

    used, unknown = await activate("used", code), await activate("unknown", "BOTH-1")
    assert (used.status_code, unknown.status_code) == (200, 404)
    for name, text in (("SAME", code), ("PLAIN", "BOTH-1"), ("SAME", "BOTH-1")):
        await attach(admin, name, text)
    ambiguous = await activate("ambiguous", "BOTH-1")
    is_problem(ambiguous, 409, "PLAIN, SAME", reason="ambiguous")
    for removed in ("SAME", "PLAIN"):
        for key, text, first in (
            ("used", code, used),
            ("unknown", "BOTH-1", unknown),
            ("ambiguous", "BOTH-1", ambiguous),
        ):
            again = await activate(key, text)
            assert (again.status_code, again.content) == (first.status_code, first.content)
        await admin.delete(f"/programs/{removed}")
    is_problem(await activate("used", "OTHER"), 422, reason="idempotency_key_reused")


async def test_look_ups_of_unknown_codes_use_up_the_budget(consoles: Consoles) -> None:
    client = await consoles.client("redeem", api=create_console(consoles.pool, misses_per_minute=3))
    for _ in range(3):
        is_problem(await client.get("/codes/NONE"), 404, "There is no code")
    is_problem(await client.get("/codes/NONE"), 429, "Too many look-ups", reason="lookups_exhausted")
    is_problem(await client.post("/codes:activate", json={"code": "NONE"}), 429, reason="lookups_exhausted")
