"""Codes over HTTP: made, browsed, looked up, and what becomes of who asks for too many that don't exist."""

from urllib.parse import quote

import pytest

from codewell.infra.postgres.connection import Connection, Pool
from services.console.http import failed_lookup_limiter, pagination
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.running import until

CODES = "/programs/SPRING/codes"
GENERATE = f"{CODES}:generate"


async def test_codes_are_made_browsed_and_looked_up(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    fields = [{"name": "discount", "required": True}, {"name": "note", "save": False}]
    await client.post("/programs", json=settings(fields=fields, ttl="P1D"))
    made = await client.post(
        "/programs/SPRING/codes:generate", json={"count": 25, "fields": {"discount": "10", "note": "x"}}
    )
    assert made.status_code == 201
    assert (made.json()["made"], made.json()["pooled"]) == (25, 25)
    answered = {"batch", "codes", "next_cursor"}
    stock = {name: value for name, value in made.json().items() if name not in answered}
    assert (await client.get("/programs/SPRING/stock")).json() == stock

    codes, cursor = [], None
    while True:
        params = {"limit": 10} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/programs/SPRING/codes", params=params)).json()
        codes += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len({one["code"] for one in codes}) == len(codes) == 25
    assert {(one["state"], one["program"], one["profile_id"]) for one in codes} == {("pooled", "SPRING", None)}
    assert [one["fields"] for one in codes] == [{"discount": "10"}] * 25
    assert (await client.get(f"/programs/SPRING/codes/{codes[7]['code']}")).json() == codes[7]


async def test_making_codes_is_refused_with_a_reason(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(fields=[{"name": "discount", "required": True}]))
    path = "/programs/SPRING/codes:generate"
    is_problem(await client.post(path, json={"count": 1}), 409, "requires the field discount")
    is_problem(await client.post(path, json={"count": 1, "fields": {"other": "1"}}), 409, "no field other")
    fields = {"discount": "1"}
    is_problem(await client.post(path, json={"count": 1_001, "fields": fields}), 409, "room for 1,000")
    wrong: list[object] = [{}, {"count": 0}, {"count": 2**63}, {"count": 1, "fields": {"discount": "\0"}}, []]
    for body in wrong:
        is_problem(await client.post(path, json=body), 422, "body")
    is_problem(await client.post("/programs/NOBODY/codes:generate", json={"count": 1}), 404)
    assert (await client.get("/programs/SPRING/stock")).json()["made"] == 0


@pytest.mark.parametrize("text", ["A/B", "/", "a b", "50%", "ü?#", "A..B", "a//b", "+"])
async def test_a_code_may_hold_any_character(consoles: Consoles, connection: Connection, text: str) -> None:
    client = await consoles.client("redeem")
    program_id = (await (await consoles.client("write")).post("/programs", json=settings())).json()["id"]
    await connection.execute("UPDATE program SET imported = 1")
    block_id = await connection.fetchval(
        "INSERT INTO block (program_id, kind, size, origin) VALUES ($1, 'list', 1, 'generate') RETURNING id", program_id
    )
    await connection.execute("INSERT INTO code VALUES ($1, 0, $2, $3)", block_id, program_id, text)
    answer = await client.get(f"/programs/SPRING/codes/{quote(text, safe='')}")
    assert (answer.status_code, answer.json()["code"]) == (200, text)


async def test_i8_who_asks_for_codes_that_do_not_exist_is_slowed_down_everywhere(
    consoles: Consoles, connections: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_lookup_limiter, "CACHE_TTL_S", 0)

    async def told(count: int) -> None:
        async def is_told() -> bool:
            return bool(await connection.fetchval("SELECT sum(misses) = $1 FROM token_miss", count))

        await until(is_told, f"{count} misses in the database")

    maker = await consoles.client("admin")
    await maker.post("/programs", json=settings())
    await maker.post("/programs/SPRING/codes:generate", json={"count": 1})
    [code] = (await maker.get("/programs/SPRING/codes")).json()["items"]
    _, secret = await consoles.token("redeem")
    here, there = [
        await consoles.with_secret(secret, create_console(connections, misses_per_minute=5)) for _ in range(2)
    ]
    for client in (here, there, here, there, here):
        is_problem(await client.get("/programs/SPRING/codes/SPRING-nope"), 404, "no code SPRING-nope")
        assert (await client.get("/programs/NOBODY/codes/x")).status_code == 404
    await told(5)
    for client in (here, there):
        for text in ("SPRING-nope", code["code"]):
            answer = await client.get(f"/programs/SPRING/codes/{text}")
            is_problem(answer, 429, "try again in")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await maker.get(f"/programs/SPRING/codes/{code['code']}")).status_code == 200

    for table in ("token_miss", "context_miss"):
        await connection.execute(f"UPDATE {table} SET since = since - interval '1 minute'")
    assert (await here.get(f"/programs/SPRING/codes/{code['code']}")).status_code == 200
    assert (await here.get("/programs/SPRING/codes/SPRING-nope")).status_code == 404
    await told(1)


async def test_i8_what_is_not_told_yet_counts_where_it_was_asked(
    consoles: Consoles, connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_lookup_limiter, "FLUSH_INTERVAL_S", 3_600)
    await (await consoles.client("admin")).post("/programs", json=settings())
    client = await consoles.client("redeem", api=create_console(connections, misses_per_minute=2))
    step = "/programs/SPRING/codes:activate"
    is_problem(await client.get("/programs/SPRING/codes/SPRING-nope"), 404)
    is_problem(await client.post(step, json={"code": "SPRING-nope"}), 404)
    is_problem(await client.post(step, json={"code": "SPRING-nope"}), 429, "try again in 60 s")


async def test_generated_codes_are_answered_and_listed_by_their_batch(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post(GENERATE, json={"count": 5})
    made = (await client.post(GENERATE, json={"count": 150})).json()
    assert (made["made"], len(made["codes"])) == (155, 100)
    assert {one["state"] for one in made["codes"]} == {"pooled"}
    assert all(one["created_at"] is not None for one in made["codes"])
    rest = (await client.get(CODES, params={"batch": made["batch"], "cursor": made["next_cursor"]})).json()
    assert (len(rest["items"]), rest["next_cursor"], rest["total"]) == (50, None, None)
    texts = [one["code"] for one in (*made["codes"], *rest["items"])]
    newest = (await client.get(CODES, params={"order": "newest", "limit": 150})).json()
    assert [one["code"] for one in newest["items"]] == texts[::-1]
    assert newest["total"] == 155
    assert (await client.get(CODES, params={"state": "pooled"})).json()["total"] == 155
    [found] = (await client.get(CODES, params={"prefix": texts[3]})).json()["items"]
    assert found["code"] == texts[3]
    is_problem(await client.get(CODES, params={"batch": "nonsense"}), 422, "codes:generate")
    is_problem(await client.get(CODES, params={"prefix": "A", "cursor": "MDoxOjk5"}), 422, "cursor")


async def test_codes_generated_for_profiles_say_who_got_which(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    made = (await client.post(GENERATE, json={"profiles": ["p-2", "p-1", "p-3"]})).json()
    assert [one["profile_id"] for one in made["codes"]] == ["p-2", "p-1", "p-3"]
    assert made["next_cursor"] is None


@pytest.mark.parametrize("order", ["oldest", "newest"])
@pytest.mark.parametrize(
    ("place", "status"),
    [("0:2147483648:0", 422), (f"0:{2**63 - 1}:0", 422), (f"0:1:{2**63 - 2}", 200), (f"1:{2**63 - 1}:{2**40}", 200)],
)
async def test_a_cursor_that_somebody_made_up_fails_nothing(
    consoles: Consoles, place: str, status: int, order: str
) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    answer = await client.get(CODES, params={"cursor": pagination.of_text(place), "order": order})
    assert answer.status_code == status, answer.text
