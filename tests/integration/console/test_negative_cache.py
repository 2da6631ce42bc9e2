"""A text that can't be one of a program's codes is refused from memory, and no code ever is."""

import asyncio
from uuid import uuid4

import httpx
import pytest

from codewell.codes import possible_texts
from codewell.codes.possible_texts import REMEMBERED_S
from codewell.infra.postgres.connection import Connection, pool
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from services.console.http import auth, failed_lookup_limiter, negative_cache
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.running import until

CODES = "/programs/SPRING/codes"
SOURCE = {"kind": "template", "template": "{number 4}"}


async def bring_in(consoles: Consoles, client: httpx.AsyncClient, text: str) -> httpx.Response:
    answer = await client.post("/programs/SPRING/imports", files={"file": ("codes.csv", text.encode())})
    await consoles.api.state.context.importer.process_pending()
    return answer


async def look_up(client: httpx.AsyncClient, code: str) -> int:
    return (await client.get(f"{CODES}/{code}")).status_code


async def test_a_bogus_code_is_refused_while_the_database_is_away(
    consoles: Consoles, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (auth, failed_lookup_limiter):
        monkeypatch.setattr(module, "CACHE_TTL_S", 3_600)
    monkeypatch.setattr(negative_cache, "REMEMBERED_S", 3_600)
    maker = await consoles.client("admin")
    await maker.post("/programs", json=settings(source=SOURCE))
    await maker.post(f"{CODES}:generate", json={"count": 1})
    [made] = (await maker.get(CODES)).json()["items"]
    _, secret = await consoles.token("redeem")
    async with pool(database_url, "codewell-test", 2) as own:
        client = await consoles.with_secret(secret, create_console(own))
        assert await look_up(client, "nope") == 404
        assert await look_up(client, made["code"]) == 200

    is_problem(await client.get(f"{CODES}/nobody"), 404, "no code nobody")
    is_problem(await client.post(f"{CODES}:activate", json={"code": "nobody"}), 404, "no code nobody")
    assert await look_up(client, made["code"]) == 503


@pytest.mark.parametrize("change", ["maximum", "template", "by hand", "import"])
async def test_a_code_is_known_from_the_moment_it_is_there(consoles: Consoles, change: str) -> None:
    """Every text is refused from memory just before, and the codes are looked up just after they are made."""
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(source=SOURCE, codes_max=1, pool_max=1))
    source = {"kind": "template", "template": "N-{number 4}"}
    step = {
        "maximum": client.patch("/programs/SPRING", json={"codes_max": 500}),
        "template": client.patch("/programs/SPRING", json={"source": source, "codes_max": 500}),
        "by hand": client.post(f"{CODES}:attach", json={"profile_id": "p-1", "code": "FOREIGN"}),
        "import": bring_in(consoles, client, "FOREIGN"),
    }
    unknown = [await look_up(client, text) for text in ("9999", "N-0001", "FOREIGN")]

    async def asks() -> None:
        while True:
            await look_up(other, "nope")
            await asyncio.sleep(0.01)

    other = await consoles.client("read")
    asking = asyncio.create_task(asks())
    answer = await step.pop(change)
    if change in {"maximum", "template"}:
        answer = await client.post(f"{CODES}:generate", json={"count": 499})
    assert answer.is_success, answer.text
    listed = (await client.get(CODES, params={"limit": 1_000})).json()["items"]
    found = [await look_up(client, one["code"]) for one in listed[-40:]]
    asking.cancel()
    fresh = await consoles.client("read", api=create_console(consoles.pool))
    found += [await look_up(fresh, one["code"]) for one in listed[-2:]]
    for left in step.values():
        left.close()
    assert unknown == [404] * 3
    assert set(found) == {200}


async def test_those_who_take_first_texts_in_side_by_side_all_come_to_an_end(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(source=SOURCE, codes_max=1_000, pool_max=1))

    async def take_in(number: int) -> int:
        await asyncio.sleep(number * REMEMBERED_S / 10)
        wanted = {"profile_id": f"p-{number}", "code": f"FOREIGN-{number}"}
        return (await client.post(f"{CODES}:attach", json=wanted)).status_code

    async with asyncio.timeout(10 * REMEMBERED_S):
        assert set(await asyncio.gather(*(take_in(number) for number in range(6)))) == {200}


async def test_who_is_overtaken_while_changing_waits_again(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    marks = []

    def mark() -> object:
        marks.append(uuid4())
        return marks[-1]

    monkeypatch.setattr(possible_texts, "uuid4", mark)
    async with consoles.pool.acquire() as own:
        changing = asyncio.create_task(programs.update(own, Minters(None), "SPRING", {"codes_max": 2_000}, 10))

        async def is_marked() -> bool:
            return bool(await connection.fetchval("SELECT changing IS NOT NULL FROM program"))

        await until(is_marked, "mark")
        await connection.execute("UPDATE program SET changing = $1", uuid4())
        assert (await changing).codes_max == 2_000
    assert len(marks) == 2
    assert await connection.fetchval("SELECT changing FROM program") is None
