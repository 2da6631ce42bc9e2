"""Codes made for profiles over HTTP."""

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, is_problem, settings

GENERATE = "/programs/SPRING/codes:generate"


async def test_profiles_get_one_code_each_once_for_a_key(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(auto_link=True))
    body = {"profiles": [f"p-{number}" for number in range(100)]}
    answers = [await client.post(GENERATE, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {201}
    assert answers[0].content == answers[1].content
    stock = answers[0].json()
    assert (stock["made"], stock["attached"], stock["pooled"]) == (100, 100, 0)
    [code] = (await client.get("/programs/SPRING/codes", params={"profile_id": "p-42"})).json()["items"]
    assert (code["state"], code["profile_id"]) == ("attached", "p-42")
    used = await client.post("/programs/SPRING/codes:activate", json={"code": code["code"]})
    assert used.json()["state"] == "activated"
    assert await audit(connection) == []


async def test_profiles_and_count_are_of_one_mind(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    assert (await client.post(GENERATE, json={"count": 2, "profiles": ["p-1", "p-2"]})).status_code == 201
    two = ["p-1", "p-2"]
    wrong: list[object] = [{"count": 3, "profiles": two}, {"profiles": []}, {"profiles": ["\n"]}, {"fields": {}}]
    for body in wrong:
        is_problem(await client.post(GENERATE, json=body), 422, "body")
    is_problem(await client.post(GENERATE, json={"profiles": ["p-1", "p-1"]}), 409, "twice")
    assert (await client.get("/programs/SPRING/stock")).json()["made"] == 2
    await client.patch("/programs/SPRING", json={"auto_link": True})
    is_problem(await client.post(GENERATE, json={"count": 1}), 409, "give the profiles")


async def test_as_many_profiles_as_a_body_may_name(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    source = {"kind": "template", "template": "{upstring 8}"}
    await client.post("/programs", json=settings(codes_max=1_000_000, source=source))
    profiles = [f"{number:x}" for number in range(100_000)]
    answer = await client.post(GENERATE, json={"profiles": profiles})
    assert answer.json()["attached"] == 100_000
    is_problem(await client.post(GENERATE, json={"profiles": [*profiles, "x"]}), 422, "body.profiles")
    assert await connection.fetchval("SELECT count(DISTINCT code) FROM answer") == 100_000
    assert await audit(connection) == []
