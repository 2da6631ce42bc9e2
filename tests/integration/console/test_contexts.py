"""Guess budgets of a token's contexts: one that is used up stops no other, and all of them have an end."""

import asyncio
import json
from collections import Counter
from typing import Any, Final

import httpx
import pytest

from codewell.infra.postgres.connection import Connection, Pool
from services.console.http import failed_lookup_limiter
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.running import until

PROGRAM: Final = "/programs/SPRING"
# Each path that takes a context: its query or its body.
PATHS: Final[dict[str, tuple[str, str, dict[str, Any] | None]]] = {
    "look-up": ("GET", f"{PROGRAM}/codes/{{code}}", None),
    "look-up anywhere": ("GET", "/codes/{code}", None),
    "history": ("GET", f"{PROGRAM}/history/{{code}}", None),
    "uses": ("GET", f"{PROGRAM}/uses/{{code}}", None),
    "activate": ("POST", f"{PROGRAM}/codes:activate", {"order_id": "o-1"}),
    "activate anywhere": ("POST", "/codes:activate", {"order_id": "o-1"}),
    "hold": ("POST", f"{PROGRAM}/codes:hold", {"order_id": "o-1"}),
    "reissue": ("POST", f"{PROGRAM}/codes:reissue", {"reason": "lost"}),
}
SCOPES: Final = ("redeem", "support")


async def ask(client: httpx.AsyncClient, way: str, code: str, context: object) -> httpx.Response:
    method, path, body = PATHS[way]
    said = {} if context is None else {"context": context}
    if body is None:
        return await client.get(path.replace("{code}", code), params={name: str(one) for name, one in said.items()})
    # Written with escapes, as a lone surrogate has no UTF-8.
    written = json.dumps({"code": code, **body, **said})
    return await client.request(method, path, content=written, headers={"Content-Type": "application/json"})


@pytest.fixture
async def codes(consoles: Consoles) -> list[str]:
    """Attached codes, of a program with more in its pool."""
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    made = await client.post(f"{PROGRAM}/codes:generate", json={"profiles": [f"p-{n}" for n in range(40)]})
    await client.post(f"{PROGRAM}/codes:generate", json={"count": 5})
    return [one["code"] for one in made.json()["codes"]]


@pytest.mark.parametrize("way", PATHS)
async def test_a_context_that_is_used_up_stops_no_other(
    consoles: Consoles, connections: Pool, codes: list[str], way: str
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, 2, token_misses_per_minute=5))
    for n in range(2):
        is_problem(await ask(client, way, f"SPRING-no{n}", "till-3"), 404)
    for other in PATHS:
        refused = await ask(client, other, codes[0], "till-3")
        is_problem(refused, 429, "in this context: try again in")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    for context in ("till-4", None, "till-3 "):
        assert (await ask(client, "look-up", codes[0], context)).status_code == 200

    # The others have what is left of the token's: three.
    for context in ("till-4", None, "till-5"):
        is_problem(await ask(client, way, "SPRING-no", context), 404)
    for context in ("till-4", None, "new"):
        for other in ("look-up", way):
            is_problem(await ask(client, other, codes[0], context), 429, "unknown codes: try again in")
    another = await consoles.client(*SCOPES, api=create_console(connections))
    assert (await ask(another, way, codes[0], "till-3")).status_code == 200


@pytest.mark.parametrize("way", ["look-up", "activate", "reissue"])
async def test_many_guesses_at_once_pass_neither_budget(
    consoles: Consoles, connections: Pool, codes: list[str], way: str
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, 10, token_misses_per_minute=35))

    async def statuses(*contexts: str) -> Counter[int]:
        guesses = (ask(client, way, f"SPRING-X{n:04}", one) for n in range(50) for one in contexts)
        return Counter(one.status_code for one in await asyncio.gather(*guesses))

    assert await statuses("a", "b") == {404: 20, 429: 80}
    assert await statuses("a", *(f"c{n}" for n in range(9))) == {404: 15, 429: 485}
    assert await statuses("d") == {429: 50}


async def test_codes_that_exist_wait_for_each_other_in_all_contexts_and_none_is_refused(
    consoles: Consoles, connections: Pool, codes: list[str]
) -> None:
    client = await consoles.client(*SCOPES, api=create_console(connections, 1, token_misses_per_minute=2))
    is_problem(await ask(client, "look-up", "SPRING-nope", "a"), 404)
    asked = (ask(client, "activate", code, ("b", "c", None)[n % 3]) for n, code in enumerate(codes))
    async with asyncio.timeout(30):
        assert {one.status_code for one in await asyncio.gather(*asked)} == {200}


async def test_consoles_share_the_counts_of_contexts_as_hashes_and_delete_old_ones(
    consoles: Consoles, connections: Pool, connection: Connection, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_lookup_limiter, "CACHE_TTL_S", 0)

    async def told(count: int) -> None:
        async def is_told() -> bool:
            return bool(await connection.fetchval("SELECT sum(misses) = $1 FROM context_miss", count))

        await until(is_told, f"{count} misses in the database")

    _, secret = await consoles.token(*SCOPES)
    here, there = [await consoles.with_secret(secret, create_console(connections, 2)) for _ in range(2)]
    for client in (here, there):
        is_problem(await ask(client, "look-up", "SPRING-nope", "till-3"), 404)
        is_problem(await ask(client, "look-up", "SPRING-nope", None), 404)
    await told(4)
    for client in (here, there):
        for context in ("till-3", None):
            is_problem(await ask(client, "look-up", codes[0], context), 429)
        assert (await ask(client, "look-up", codes[0], "till-4")).status_code == 200
    rows = "SELECT context FROM context_miss ORDER BY context"
    hashed = await connection.fetchval("SELECT sha256('till-3')")
    assert [one["context"] for one in await connection.fetch(rows)] == [b"", hashed]

    await connection.execute("UPDATE context_miss SET since = since - interval '1 minute'")
    await connection.execute("UPDATE token_miss SET since = since - interval '1 minute'")
    is_problem(await ask(here, "look-up", "SPRING-nope", "till-4"), 404)
    await told(1)
    assert [one["context"] for one in await connection.fetch(rows)] == [
        await connection.fetchval("SELECT sha256('till-4')")
    ]


@pytest.mark.parametrize("way", PATHS)
async def test_a_context_that_is_none_is_refused(consoles: Consoles, codes: list[str], way: str) -> None:
    client = await consoles.client(*SCOPES)
    wrong: list[object] = ["", "x" * 201, "a\x00b"] + ([] if PATHS[way][2] is None else [3, "\ud800"])
    for context in wrong:
        is_problem(await ask(client, way, codes[0], context), 422, "context")
    assert (await ask(client, way, codes[0], "x" * 200)).status_code == 200
