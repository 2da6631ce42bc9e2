"""Orders over HTTP: their codes in the programs that a token may see."""

import httpx

from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from codewell.redemption import orders
from codewell.redemption.orders import OrderEvent
from tests.integration.console.test_codes_anywhere import program
from tests.support.consoles import Consoles, create_console, is_problem


async def hold(client: httpx.AsyncClient, name: str, code: str, order_id: str) -> None:
    held = await client.post(f"/programs/{name}/codes:hold", json={"code": code, "order_id": order_id})
    assert held.status_code == 200, held.text


async def test_an_order_shows_the_codes_that_its_token_may_see(consoles: Consoles, connection: Connection) -> None:
    admin = await consoles.client("admin")
    ours = await program(admin, "OURS", "A-{safe 10}", groups=["ours"])
    theirs = await program(admin, "THEIRS", "B-{safe 10}", groups=["theirs"])
    for name, code in (("OURS", ours), ("THEIRS", theirs)):
        await hold(admin, name, code, "7/a b")
    await connection.execute("UPDATE code_use SET held_until = taken_at")
    await connection.execute("UPDATE code_state SET held_until = now()")
    await hold(admin, "THEIRS", theirs, "8")
    await orders.settle(connection, Minters(None), [OrderEvent("7/a b", "paid", None)])

    whole = (await admin.get("/orders/7%2Fa%20b")).json()
    assert {(one["program"], one["code"], one["state"]) for one in whole["codes"]} == {
        ("OURS", ours, "used"), ("THEIRS", theirs, "lapsed"),
    }  # fmt: skip
    assert [(one["program"], one["reason"]) for one in whole["refusals"]] == [("THEIRS", "code_held")]
    shop = await consoles.client("redeem", groups=["ours"])
    part = (await shop.get("/orders/7%2Fa%20b")).json()
    assert ([one["code"] for one in part["codes"]], part["refusals"], part["state"]) == ([ours], [], "paid")
    # The order of another group's programs is as one that there is not.
    hidden, unknown = await shop.get("/orders/8"), await shop.get("/orders/9")
    for answer in (hidden, unknown):
        is_problem(answer, 404, reason="order_unknown")
    assert hidden.json()["detail"].replace("8", "9") == unknown.json()["detail"]
    is_problem(await (await consoles.client("read")).get("/orders/8"), 403, reason="scope_missing")
    is_problem(await admin.get("/orders/" + "o" * 201), 422, reason="field_invalid")


async def test_guesses_of_orders_use_up_the_budget_of_look_ups(consoles: Consoles) -> None:
    api = create_console(consoles.pool, 3)
    shop = await consoles.client("redeem", api=api)
    for number in range(3):
        is_problem(await shop.get(f"/orders/{number}"), 404)
    is_problem(await shop.get("/orders/3"), 429, reason="lookups_exhausted")
