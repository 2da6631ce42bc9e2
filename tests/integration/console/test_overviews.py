"""The list of programs as they are now: states, stock, filters, page by page, in the caller's access groups."""

import httpx

from tests.support.consoles import Consoles, is_problem, settings


async def names(client: httpx.AsyncClient, **query: str | int) -> list[str]:
    answer = await client.get("/overview", params=query)
    assert answer.status_code == 200, answer.text
    return [item["program"]["name"] for item in answer.json()["items"]]


async def make(client: httpx.AsyncClient, name: str, **changed: object) -> None:
    made = await client.post("/programs", json=settings(name, **changed))
    assert made.status_code == 201, made.text


async def test_a_program_is_listed_with_its_stock(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await make(client, "SPRING", title="Spring sale")
    await client.post("/programs/SPRING/codes:generate", json={"count": 5})
    await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p-1"})

    [item] = (await client.get("/overview")).json()["items"]

    assert item.pop("program")["name"] == "SPRING"
    assert item == {
        "state": "active",
        "pooled": 4,
        "reserved": 0,
        "made": 5,
        "imported": 0,
        "on_order": 0,
        "circuit": None,
        "alerts": 0,
    }


async def test_a_remote_service_is_listed_with_its_circuit(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await make(client, "PARTNER", source={"kind": "remote", "url": "https://codes.example.com/orders"})

    [item] = (await client.get("/overview")).json()["items"]

    assert item["circuit"] == "closed"


async def test_filters_find_by_text_state_and_group(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await make(client, "SPRING", title="Frühling 100%", groups=["shop"])
    await make(client, "AUTUMN", title="Herbst", active=False)
    await make(client, "PAST", valid_until="2020-01-01T00:00:00Z", groups=["shop", "mail"])
    await make(client, "LATER", valid_from="2099-01-01T00:00:00Z")

    assert await names(client, search="ring") == ["SPRING"]
    assert await names(client, search="FRÜH") == ["SPRING"]
    assert await names(client, search="0%") == ["SPRING"]
    assert await names(client, search="_") == []
    assert await names(client, state="active") == ["SPRING"]
    assert await names(client, state="off") == ["AUTUMN"]
    assert await names(client, state="ended") == ["PAST"]
    assert await names(client, state="not started") == ["LATER"]
    assert await names(client, group="shop") == ["PAST", "SPRING"]
    assert await names(client, group="shop", state="ended") == ["PAST"]
    refused = await client.get("/overview", params={"state": "great"})
    assert refused.status_code == 422


async def test_pages_follow_each_other_under_a_filter(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    for name in ("A1", "A2", "A3", "B1"):
        await make(client, name)

    first = (await client.get("/overview", params={"limit": 2, "search": "a"})).json()
    rest = (await client.get("/overview", params={"limit": 2, "search": "a", "cursor": first["next_cursor"]})).json()

    assert [item["program"]["name"] for item in first["items"] + rest["items"]] == ["A1", "A2", "A3"]
    assert rest["next_cursor"] is None
    is_problem(await client.get("/overview", params={"cursor": "!"}), 422, reason="cursor_invalid")


async def test_other_groups_and_removed_programs_are_not_listed(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    await make(admin, "OURS", groups=["ours"])
    await make(admin, "THEIRS", groups=["theirs"])
    await make(admin, "GONE", groups=["ours"])
    await admin.delete("/programs/GONE")
    client = await consoles.client("read", groups=["ours"])

    assert await names(client) == ["OURS"]
    assert await names(client, group="theirs") == []


async def test_one_program_is_shown_with_its_codes_by_state(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await make(client, "SPRING")
    codes = (await client.post("/programs/SPRING/codes:generate", json={"count": 5})).json()["codes"]
    await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p-1"})
    await client.delete(f"/programs/SPRING/codes/{codes[-1]['code']}")

    shown = (await client.get("/overview/SPRING")).json()

    assert shown.pop("program")["name"] == "SPRING"
    assert shown == {
        "state": "active", "pooled": 3, "reserved": 0, "made": 5, "imported": 0, "on_order": 0,
        "circuit": None, "alerts": 0, "attached": 1, "expired": 0, "deleted": 1,
    }  # fmt: skip


async def test_a_removed_program_is_shown_and_one_of_another_group_is_not(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    await make(admin, "GONE", groups=["ours"])
    await admin.delete("/programs/GONE")
    client = await consoles.client("read", groups=["theirs"])

    assert (await admin.get("/overview/GONE")).json()["state"] == "removed"
    is_problem(await client.get("/overview/GONE"), 404, reason="program_unknown")
