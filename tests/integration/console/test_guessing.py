"""The guess budget of a token: every path that tells whether a code exists, and many guesses at once."""

import asyncio
from collections import Counter
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from codewell.infra.postgres.connection import Connection, Pool
from schemas.token import Scope
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.running import until

BUDGET: Final = 20
GUESSES: Final = 150
# Each path whose answer differs for a code that exists. A guess of one is a guess of all.
PATHS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "look-up": ("GET", "/codes/{code}", {}),
    "history": ("GET", "/history/{code}", {}),
    "activate": ("POST", "/codes:activate", {"json": {"code": "{code}"}}),
    "deactivate": ("POST", "/codes:deactivate", {"json": {"code": "{code}"}}),
    "detach": ("POST", "/codes:detach", {"json": {"code": "{code}"}}),
    "reissue": ("POST", "/codes:reissue", {"json": {"code": "{code}", "reason": "lost"}}),
    "attach by name": ("POST", "/codes:attach", {"json": {"profile_id": "p-1", "code": "{code}"}}),
    "change": ("PATCH", "/codes/{code}", {"json": {"fields": {}}}),
    "delete": ("DELETE", "/codes/{code}", {}),
}
SCOPES: Final = ("write", "redeem", "support")
_WAITS_FOR_CODES: Final = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'code'::regclass AND NOT granted)"


async def guess(client: httpx.AsyncClient, way: str, code: str, key: str | None = None) -> httpx.Response:
    method, path, given = PATHS[way]
    body = {name: value.replace("{code}", code) if isinstance(value, str) else value
            for name, value in given.get("json", {}).items()}  # fmt: skip
    headers = {} if key is None else {"Idempotency-Key": key}
    filled = f"/programs/SPRING{path.replace('{code}', code)}"
    return await client.request(method, filled, headers=headers, json=body or None)


@pytest.fixture
async def maker(consoles: Consoles) -> httpx.AsyncClient:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post("/programs/SPRING/codes:generate", json={"profiles": [f"p-{n}" for n in range(100)]})
    return client


@pytest.mark.parametrize("way", PATHS)
async def test_a_guess_counts_on_every_path(
    consoles: Consoles, connections: Pool, maker: httpx.AsyncClient, way: str
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, misses_per_minute=3))
    known = (await maker.get("/programs/SPRING/codes")).json()["items"][0]["code"]
    for n in range(3):
        answer = await guess(client, way, f"SPRING-no{n}")
        assert answer.status_code in {404, 200 if way == "attach by name" else 404}, answer.text
    for other in PATHS:
        for code in ("SPRING-no9", known):
            is_problem(await guess(client, other, code), 429, "try again in")


@pytest.mark.parametrize("way", PATHS)
@pytest.mark.parametrize("with_keys", [False, True])
async def test_many_guesses_at_once_do_not_pass_the_budget(
    consoles: Consoles, connections: Pool, maker: httpx.AsyncClient, way: str, with_keys: bool
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, misses_per_minute=BUDGET))
    guesses = (guess(client, way, f"SPRING-X{n:04}", f"k{n}" if with_keys else None) for n in range(GUESSES))
    answers = Counter(one.status_code for one in await asyncio.gather(*guesses))
    assert answers == {(200 if way == "attach by name" else 404): BUDGET, 429: GUESSES - BUDGET}


@pytest.mark.parametrize("with_keys", [False, True])
async def test_codes_that_exist_wait_for_each_other_and_none_is_refused(
    consoles: Consoles, connections: Pool, maker: httpx.AsyncClient, with_keys: bool
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, misses_per_minute=2))
    assert (await guess(client, "look-up", "SPRING-nope")).status_code == 404
    codes = [one["code"] for one in (await maker.get("/programs/SPRING/codes", params={"limit": 100})).json()["items"]]
    answers = await asyncio.gather(
        *(guess(client, "activate", code, f"k{n}" if with_keys else None) for n, code in enumerate(codes))
    )
    assert {one.status_code for one in answers} == {200}


async def test_a_look_up_that_is_given_up_gives_its_place_back(
    consoles: Consoles, connections: Pool, connection: Connection, maker: httpx.AsyncClient
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, misses_per_minute=1))
    [code] = (await maker.get("/programs/SPRING/codes", params={"limit": 1})).json()["items"]
    async with connection.transaction():
        await connection.execute("LOCK TABLE code IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.ensure_future(guess(client, "look-up", code["code"])) for _ in range(5)]

        async def is_waiting() -> bool:
            return bool(await connection.fetchval(_WAITS_FOR_CODES))

        await until(is_waiting, "look-up that waits for the database")
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
    assert (await guess(client, "look-up", code["code"])).status_code == 200


@pytest.fixture
async def spaced(connection: Connection, connections: Pool, consoles: Consoles) -> list[str]:
    """Codes of a template that ends in a space, as templates could earlier."""
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await connection.execute("UPDATE template_version SET template = 'SPRING-{upstring 4} '")
    made = await client.post("/programs/SPRING/codes:generate", json={"profiles": [f"p-{n}" for n in range(9)]})
    return [one["code"] for one in made.json()["codes"]]


@pytest.mark.parametrize("with_keys", [False, True])
async def test_codes_with_outer_spaces_are_found_and_count_as_one_guess(
    consoles: Consoles, connections: Pool, spaced: list[str], with_keys: bool
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, misses_per_minute=3))
    assert all(one.endswith(" ") for one in spaced)
    path = f"/programs/SPRING/codes/{quote(spaced[0])}"
    assert (await client.get(path)).json()["code"] == spaced[0]
    assert (await client.patch(path, json={"fields": {}})).json()["code"] == spaced[0]
    steps = [("activate", spaced[1]), ("deactivate", spaced[1]), ("detach", spaced[2])]
    for step, code in steps:
        key = {"Idempotency-Key": step} if with_keys else {}
        done = await client.post(f"/programs/SPRING/codes:{step}", json={"code": code}, headers=key)
        assert (done.status_code, done.json()["code"]) == (200, code)
    many = await asyncio.gather(
        *(client.post("/programs/SPRING/codes:activate", json={"code": one}) for one in [*spaced[3:], spaced[3]])
    )
    assert Counter(one.status_code for one in many) == {200: len(spaced) - 3, 409: 1}
    assert (await client.delete(f"/programs/SPRING/codes/{quote(spaced[0])}")).json()["state"] == "deleted"
    for n in range(3):
        assert (await client.get(f"/programs/SPRING/codes/%20AB-no{n}%20")).status_code == 404
    is_problem(await client.get(path), 429, "try again in")


async def test_one_code_with_and_without_spaces_at_once_is_activated_once(
    consoles: Consoles, maker: httpx.AsyncClient
) -> None:
    client = await consoles.client(*SCOPES)
    [code] = (await maker.get("/programs/SPRING/codes", params={"limit": 1})).json()["items"]
    texts = [code["code"], f" {code['code']}", f"{code['code']}\t", f"\n{code['code']} "]
    answers = await asyncio.gather(
        *(client.post("/programs/SPRING/codes:activate", json={"code": one}) for one in texts)
    )
    assert Counter(one.status_code for one in answers) == {200: 1, 409: 3}


async def test_who_may_list_the_codes_may_bring_in_as_many_as_there_are(
    consoles: Consoles, connections: Pool, maker: httpx.AsyncClient
) -> None:
    client = await consoles.client("read", "write", api=create_console(connections, misses_per_minute=2))
    for n in range(5):
        assert (await guess(client, "attach by name", f"OWN-{n}")).status_code == 200


@pytest.mark.parametrize(("scopes", "told"), [(("write",), False), (("read", "write"), True)])
async def test_a_preview_tells_which_codes_there_are_to_those_who_may_list_them(
    consoles: Consoles, maker: httpx.AsyncClient, scopes: tuple[Scope, ...], *, told: bool
) -> None:
    known = (await maker.get("/programs/SPRING/codes")).json()["items"][0]["code"]
    client = await consoles.client(*scopes)
    files = {"file": ("codes.csv", f"Code\n{known}\nSPRING-none\n".encode())}
    found = (await client.post("/programs/SPRING/imports:preview", files=files)).json()
    assert found["checked_rows"] == 2
    assert [row["code"] for row in found["bad_rows"]] == ([known] if told else [])
