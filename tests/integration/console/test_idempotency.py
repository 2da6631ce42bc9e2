"""One key, one effect, one answer: whoever repeats it, wherever, and whatever crashed before."""

import asyncio
from typing import Any

import httpx
import pytest

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection, Pool
from codewell.programs import overview
from services.console.batching import till
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.running import until

GENERATE = "/programs/SPRING/codes:generate"


def keyed(key: str = "k-1") -> dict[str, str]:
    return {"Idempotency-Key": key}


async def made(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT made FROM program")
    return count


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    """A client of one console on a database with the program SPRING."""
    client = await consoles.client("admin")
    assert (await client.post("/programs", json=settings())).status_code == 201
    return client


async def test_the_same_request_gets_the_same_answer_from_any_console(
    consoles: Consoles, client: httpx.AsyncClient, connection: Connection
) -> None:
    first = await client.post(GENERATE, json={"count": 5}, headers=keyed())
    assert (first.status_code, first.json()["made"]) == (201, 5)
    await client.post(GENERATE, json={"count": 1})
    secret = client.headers["authorization"].removeprefix("Bearer ")
    other = await consoles.with_secret(secret, create_console(consoles.pool))
    for one in (client, other, client):
        again = await one.post(GENERATE, json={"count": 5}, headers=keyed())
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
    assert await made(connection) == 6


async def test_a_program_is_made_once_and_announced_once(consoles: Consoles) -> None:
    client = await consoles.client("write")
    told: list[object] = []
    consoles.api.state.context.announcer.publish = lambda *news: told.append(news)
    answers = [await client.post("/programs", json=settings(), headers=keyed()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert len(told) == 1


async def test_another_request_under_the_same_key_is_422(client: httpx.AsyncClient, connection: Connection) -> None:
    await client.post(GENERATE, json={"count": 5}, headers=keyed())
    is_problem(await client.post(GENERATE, json={"count": 6}, headers=keyed()), 422, "another request")
    spaced = keyed() | {"Content-Type": "application/json"}
    is_problem(await client.post(GENERATE, content=b'{"count":5} ', headers=spaced), 422, "another request")
    is_problem(await client.post("/programs", json=settings("OTHER"), headers=keyed()), 422, "another request")
    assert await made(connection) == 5


async def test_keys_of_two_tokens_are_two_keys(
    consoles: Consoles, client: httpx.AsyncClient, connection: Connection
) -> None:
    other = await consoles.client("write")
    for one in (client, other):
        assert (await one.post(GENERATE, json={"count": 5}, headers=keyed())).status_code == 201
    assert await made(connection) == 10


async def test_what_was_refused_is_refused_again_and_left_nothing(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    first = await client.post(GENERATE, json={"count": 1_001}, headers=keyed())
    is_problem(first, 409, "room for 1,000")
    await connection.execute("UPDATE program SET codes_max = 5000")
    again = await client.post(GENERATE, json={"count": 1_001}, headers=keyed())
    assert (again.status_code, again.content) == (409, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert (await client.post(GENERATE, json={"count": 1_001}, headers=keyed("k-2"))).status_code == 201
    assert await made(connection) == 1_001


async def test_what_was_not_understood_is_not_kept(client: httpx.AsyncClient, connection: Connection) -> None:
    is_problem(await client.post(GENERATE, json={"count": 0}, headers=keyed()), 422)
    assert (await client.post(GENERATE, json={"count": 5}, headers=keyed())).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "two words", "x" * 256, "ü"])
async def test_a_key_that_can_not_be_one_is_422(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post(GENERATE, json={"count": 5}, headers={b"Idempotency-Key": key.encode()})
    is_problem(answer, 422, "Idempotency-Key")


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("place", ["work", "keep"])
async def test_a_crash_leaves_neither_an_effect_nor_an_answer(
    client: httpx.AsyncClient, connection: Connection, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    module: Any = overview if place == "work" else stored_responses
    name = "stock" if place == "work" else "store_response"
    real = getattr(module, name)

    async def crash(*given: Any) -> None:
        await real(*given)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(module, name, crash)
        with pytest.raises(Crash):
            await client.post(GENERATE, json={"count": 5}, headers=keyed())
    assert await made(connection) == 0
    assert await connection.fetchval("SELECT count(*) FROM idempotency") == 0
    answers = [await client.post(GENERATE, json={"count": 5}, headers=keyed()) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert await made(connection) == 5


async def test_of_copies_at_once_in_two_consoles_one_does_the_work(
    consoles: Consoles, client: httpx.AsyncClient, connection: Connection
) -> None:
    secret = client.headers["authorization"].removeprefix("Bearer ")
    other = await consoles.with_secret(secret, create_console(consoles.pool))
    answers = await asyncio.gather(
        *(one.post(GENERATE, json={"count": 5}, headers=keyed()) for one in [client, other] * 3)
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await made(connection) == 5


async def test_a_copy_waits_for_the_first(client: httpx.AsyncClient, connection: Connection, connections: Pool) -> None:
    token_id = await connection.fetchval("SELECT id FROM token")
    async with connections.acquire() as first, first.transaction():
        await stored_responses.get_response(first, token_id, "k-1")
        copy = asyncio.ensure_future(client.post(GENERATE, json={"count": 5}, headers=keyed()))

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits, "copy that waits")
        assert not copy.done()
    assert (await copy).status_code == 201


async def test_a_copy_that_waits_too_long_is_told_to_come_again(
    consoles: Consoles, client: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCK_TIMEOUT_MS", 50)
    secret = client.headers["authorization"].removeprefix("Bearer ")
    async with postgres.pool(database_url, "codewell-test", 2) as hasty, consoles.pool.acquire() as first:
        other = await consoles.with_secret(secret, create_console(hasty))
        async with first.transaction():
            await stored_responses.get_response(first, await first.fetchval("SELECT id FROM token"), "k-1")
            answer = await other.post(GENERATE, json={"count": 5}, headers=keyed())
        is_problem(answer, 409, "not done yet")
        assert int(answer.headers["retry-after"]) > 0
        assert await made(first) == 0
        assert (await other.post(GENERATE, json={"count": 5}, headers=keyed())).status_code == 201


async def test_keys_older_than_a_day_go(client: httpx.AsyncClient, connection: Connection) -> None:
    for number in range(3):
        await client.post(GENERATE, json={"count": 1}, headers=keyed(f"old-{number}"))
    await connection.execute("UPDATE idempotency SET created_at = now() - interval '25 hours'")
    await client.post(GENERATE, json={"count": 1}, headers=keyed("new"))
    assert [row["key"] for row in await connection.fetch("SELECT key FROM idempotency")] == ["new"]


async def test_activations_that_are_gathered_may_be_quicker_with_the_same_key(
    consoles: Consoles, client: httpx.AsyncClient, connection: Connection
) -> None:
    """They wait for no key; the answer that they keep is found by whoever was about to keep another one."""
    token_id = await connection.fetchval("SELECT id FROM token")
    async with consoles.pool.acquire() as gathered:
        transaction = gathered.transaction()
        await transaction.start()
        kept = StoredResponse(bytes(32), 200, "application/json", b"{}")
        await stored_responses.store_response(gathered, token_id, "k-1", kept)
        late = asyncio.ensure_future(client.post(GENERATE, json={"count": 5}, headers=keyed()))

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits, "request that waits for the key")
        await transaction.commit()
    is_problem(await late, 422, "another request")
    assert await made(connection) == 0


async def test_a_repeated_activation_has_its_answer_and_holds_up_no_new_one(
    client: httpx.AsyncClient, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored responses are read once a key has been repeated, and not before."""
    reads = []
    real = stored_responses.get_responses

    async def read(*given: Any) -> Any:
        reads.append(given)
        return await real(*given)

    monkeypatch.setattr(stored_responses, "get_responses", read)
    for number in range(1, 6):
        body = {"profile_id": "p-1", "code": f"A-{number}"}
        assert (await client.post("/programs/SPRING/codes:attach", json=body)).status_code == 200

    async def activate(number: int, key: str) -> httpx.Response:
        return await client.post("/programs/SPRING/codes:activate", json={"code": f"A-{number}"}, headers=keyed(key))

    first = await activate(1, "k-1")
    assert (first.status_code, reads) == (200, [])
    new, again, other, last = await asyncio.gather(
        activate(2, "k-2"), activate(1, "k-1"), activate(3, "k-1"), activate(4, "k-4")
    )
    assert [one.status_code for one in (new, again, other, last)] == [200, 200, 422, 200]
    assert again.content == first.content
    before = len(reads)
    assert before > 0
    is_problem(await activate(5, "k-4"), 422, "another request")
    assert len(reads) == before + 1
    monkeypatch.setattr(till, "_REPEATS_S", 0)
    assert (await activate(5, "k-5")).status_code == 200
    assert len(reads) == before + 1
    assert await connection.fetchval("SELECT count(*) FROM code_use") == 4
