"""Profiles over HTTP: written, shown in exports, forgotten; and who may not touch them."""

from urllib.parse import quote

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, is_problem, settings


@pytest.mark.parametrize("name", ["p-1001", "a/b", "ü @?#%", "50%"])
async def test_a_profile_is_written_shown_and_forgotten(consoles: Consoles, connection: Connection, name: str) -> None:
    client = await consoles.client("admin")
    path = f"/profiles/{quote(name, safe='')}"
    is_problem(await client.get(path), 404, "No fields are stored")
    put = await client.put(path, json={"fields": {"email": "ann@example.com", "age": "7"}})
    assert put.status_code == 200
    assert put.json()["profile_id"] == name
    assert (await client.get(path)).json() == put.json()
    again = await client.put(path, json={"fields": {"email": "=1"}})
    assert again.json()["fields"] == {"email": "=1"}

    await client.post("/programs", json=settings())
    await client.post("/programs/SPRING/codes:generate", json={"count": 2})
    headers = {"Idempotency-Key": "k"}
    await client.post("/programs/SPRING/codes:attach", json={"profile_id": name}, headers=headers)
    [code, _] = (await client.get("/programs/SPRING/codes")).json()["items"]
    used = await client.post("/programs/SPRING/codes:activate", json={"code": code["code"]}, headers=headers | {
        "Idempotency-Key": "used"})  # fmt: skip
    exported = (await client.get("/programs/SPRING/codes.csv", params={"fields": "email"})).text
    assert exported.splitlines()[1].endswith(",'=1")

    assert (await client.delete(path)).json() == {"answers": 1}
    is_problem(await client.get(path), 404)
    assert (await client.delete(path)).json() == {"answers": 0}
    [code, _] = (await client.get("/programs/SPRING/codes")).json()["items"]
    assert code["state"] == "activated"
    assert code["profile_id"].startswith("forgotten-")
    assert name not in (await client.get("/programs/SPRING/codes.csv")).text
    repeated = await client.post("/programs/SPRING/codes:activate", json={"code": code["code"]}, headers={
        "Idempotency-Key": "used"})  # fmt: skip
    assert repeated.json() == {**used.json(), "profile_id": code["profile_id"]}
    attached_again = await client.post("/programs/SPRING/codes:attach", json={"profile_id": name}, headers=headers)
    is_problem(attached_again, 422, "another request")
    assert await audit(connection) == []


async def test_what_can_be_no_profile(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    bodies = [
        {}, {"fields": {"two words": "a"}}, {"fields": {"a": "x" * 2_001}}, {"fields": {"a": 1}},
        {"fields": {"a": "\0"}}, {"fields": {f"f{n}": "" for n in range(65)}}, {"fields": {}, "more": 1},
    ]  # fmt: skip
    for body in bodies:
        is_problem(await client.put("/profiles/p-1", json=body), 422, "body")
    for wrong in ("%00", "x" * 257):
        is_problem(await client.put(f"/profiles/{wrong}", json={"fields": {}}), 422, "path.id")
    is_problem(await client.get("/profiles/p-1"), 404)


async def test_a_token_with_groups_may_not_touch_profiles(consoles: Consoles) -> None:
    await (await consoles.client("admin")).put("/profiles/p-1", json={"fields": {}})
    client = await consoles.client("admin", groups=["ours"])
    is_problem(await client.get("/profiles/p-1"), 403, "no access group", "scope profiles")
    is_problem(await client.put("/profiles/p-1", json={"fields": {"a": "b"}}), 403, "no access group")
    is_problem(await client.delete("/profiles/p-1"), 403, "no access group")
    shown = await (await consoles.client("read")).get("/profiles/p-1")
    assert shown.json()["fields"] == {}


SECRET = "ann@example.com"


async def test_a_token_with_groups_sees_no_field_of_a_profile_that_it_gives_a_code(consoles: Consoles) -> None:
    """Whoever has a program may give any profile a code; that must not show who the profile is."""
    await (await consoles.client("admin")).put("/profiles/victim-1", json={"fields": {"email": SECRET}})
    client = await consoles.client("admin", groups=["ours"])
    custom = [{"name": "email"}]
    assert (await client.post("/programs", json=settings(groups=["ours"], fields=custom))).status_code == 201
    await client.post("/programs/SPRING/codes:generate", json={"profiles": ["victim-1"]})
    attached = await client.post("/programs/SPRING/codes:attach", json={"profile_id": "victim-1", "code": "MINE"})
    assert attached.status_code == 200

    is_problem(await client.get("/programs/SPRING/codes.csv", params={"fields": "email"}), 403, "scope profiles")
    document = (await client.get("http://console/openapi.json")).json()
    told = [attached.text, (await client.get("/programs/SPRING/codes.csv")).text]
    for path, methods in document["paths"].items():
        if "get" in methods and path.startswith("/api/"):
            filled = path.replace("{name}", "SPRING").replace("{code}", "MINE").replace("{id}", "victim-1")
            told.append((await client.get(f"http://console{filled}", params={"profile_id": "victim-1"})).text)
    assert len(told) > 8
    assert "victim-1" in "".join(told)
    assert SECRET not in "".join(told)


async def test_the_scope_profiles_opens_them_to_a_token_with_groups(consoles: Consoles) -> None:
    await (await consoles.client("admin")).put("/profiles/p-1", json={"fields": {"email": SECRET}})
    client = await consoles.client("read", "write", "profiles", groups=["ours"])
    await client.post("/programs", json=settings(groups=["ours"]))
    await client.post("/programs/SPRING/codes:generate", json={"profiles": ["p-1"]})
    exported = await client.get("/programs/SPRING/codes.csv", params={"fields": "email"})
    assert exported.text.splitlines()[1].endswith(f",{SECRET}")
    assert (await client.get("/profiles/p-1")).json()["fields"] == {"email": SECRET}
    # The scope alone reads nothing.
    alone = await consoles.client("profiles", groups=["ours"])
    is_problem(await alone.get("/profiles/p-1"), 403, "scope read")
    is_problem(await alone.get("/programs/SPRING/codes.csv", params={"fields": "email"}), 403, "scope read")
