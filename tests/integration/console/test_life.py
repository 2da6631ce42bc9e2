"""A code's life over HTTP: attached, returned, used, changed, deleted."""

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import hold_deciding_lock
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.running import until

LATER = "2090-01-01T00:00:00Z"


async def stocked(consoles: Consoles, count: int = 10, **changed: Any) -> httpx.AsyncClient:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(**changed))
    made = await client.post("/programs/SPRING/codes:generate", json={"count": count})
    assert made.status_code == 201, made.text
    return client


async def post(client: httpx.AsyncClient, step: str, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post(f"/programs/SPRING/codes:{step}", json=body, headers=headers)


async def test_the_whole_life(consoles: Consoles, connection: Connection) -> None:
    client = await stocked(consoles, ttl="P1D")
    attached = (await post(client, "attach", profile_id="p-1")).json()
    code = attached["code"]
    url = f"/programs/SPRING/codes/{code}"
    assert (attached["state"], attached["profile_id"]) == ("attached", "p-1")
    assert (attached.pop("from"), attached.pop("fallback")) == (None, None)
    shown = (await client.get(url)).json()
    assert shown == attached | {"created_at": shown["created_at"], "place": "0:1:0"}

    assert (await post(client, "detach", code=code)).json()["state"] == "pooled"
    again = (await post(client, "attach", profile_id="p-2", code=code)).json()
    assert (again["state"], again["profile_id"], again["expires_at"]) == ("attached", "p-2", attached["expires_at"])
    assert (again.pop("from"), again.pop("fallback")) == (None, None)
    used = (await post(client, "activate", code=code)).json()
    assert used["state"] == "activated"
    assert used["activated_at"] is not None
    again |= {"created_at": shown["created_at"], "place": used["place"]}
    assert (await post(client, "deactivate", code=code)).json() == again
    changed = await client.patch(url, json={"expires_at": None, "fields": {"note": "kept"}})
    assert changed.json() == {**again, "expires_at": None, "fields": {"note": "kept"}}
    assert (await client.patch(url, json={"expires_at": LATER})).json()["fields"] == {"note": "kept"}
    assert (await client.delete(url)).json()["state"] == "deleted"
    is_problem(await client.delete(url), 409, f"{code} is deleted")
    is_problem(await client.patch(url, json={"fields": {}}), 409, f"{code} is deleted")
    stock = (await client.get("/programs/SPRING/stock")).json()
    assert (stock["made"], stock["pooled"], stock["attached"], stock["deleted"]) == (10, 9, 0, 1)
    assert await audit(connection) == []


async def test_pages_by_state_and_profile(consoles: Consoles) -> None:
    client = await stocked(consoles)
    codes = [(await post(client, "attach", profile_id=f"p-{n}")).json()["code"] for n in range(4)]
    await post(client, "activate", code=codes[1])

    async def listed(**params: Any) -> list[str]:
        found, cursor = [], None
        while True:
            page = await client.get("/programs/SPRING/codes", params=params | ({"cursor": cursor} if cursor else {}))
            assert page.status_code == 200, page.text
            found += [one["code"] for one in page.json()["items"]]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                return found

    assert await listed(state="activated", limit=1) == [codes[1]]
    assert sorted(await listed(state="attached", limit=2)) == sorted([codes[0], *codes[2:]])
    assert len(await listed(state="pooled", limit=3)) == 6
    assert await listed(profile_id="p-3") == [codes[3]]
    assert await listed(profile_id="nobody") == []
    is_problem(await client.get("/programs/SPRING/codes", params={"state": "lost"}), 422, "state")


async def test_an_attachment_is_made_once_for_a_key(consoles: Consoles, connection: Connection) -> None:
    client = await stocked(consoles)
    other = await consoles.client("admin")
    for body in ({"profile_id": "p-1"}, {"profile_id": "p-1", "code": "FROM/OUTSIDE"}):
        key = str(len(body))
        first = await post(client, "attach", key, **body)
        assert first.status_code == 200, first.text
        await post(client, "activate", code=first.json()["code"])
        repeated = await asyncio.gather(*(post(client, "attach", key, **body) for _ in range(5)))
        assert [one.json() for one in repeated] == [first.json()] * 5
        is_problem(await post(client, "attach", key, **{**body, "profile_id": "p-2"}), 422, "another request")
        # Keys are each token's own.
        theirs = await post(other, "attach", key, **{**body, "code": f"OTHER-{key}"})
        assert theirs.json()["code"] == f"OTHER-{key}"
    assert await connection.fetchval("SELECT count(*) FROM answer") == 4
    assert await audit(connection) == []


async def test_a_key_belongs_to_an_attachment_of_a_named_code_or_of_the_next(
    consoles: Consoles, connection: Connection
) -> None:
    client = await stocked(consoles)
    pooled = (await client.get("/programs/SPRING/codes")).json()["items"][-1]["code"]
    following = (await post(client, "attach", "next", profile_id="p-1")).json()["code"]
    for code in (following, "NEW-1"):
        is_problem(await post(client, "attach", "next", profile_id="p-1", code=code), 422, "another request")
    for key, code in (("new", "NEW-2"), ("pooled", pooled)):
        first = await post(client, "attach", key, profile_id="p-1", code=code)
        is_problem(await post(client, "attach", key, profile_id="p-1"), 422, "another request")
        await post(client, "detach", code=code)
        is_problem(await post(client, "attach", key, profile_id="p-1"), 422, "another request")
        assert (await post(client, "attach", key, profile_id="p-1", code=code)).content == first.content
    assert (await post(client, "attach", "next", profile_id="p-1")).json()["code"] == following
    assert await audit(connection) == []


async def test_a_key_belongs_to_a_named_code_also_where_each_profile_has_one_code(consoles: Consoles) -> None:
    client = await stocked(consoles, reuse="profile")
    named = await post(client, "attach", "named", profile_id="p-1", code="NEW-1")
    assert (await post(client, "attach", "next", profile_id="p-1")).json()["code"] == "NEW-1"
    is_problem(await post(client, "attach", "named", profile_id="p-1"), 422, "another request")
    is_problem(await post(client, "attach", "next", profile_id="p-1", code="NEW-1"), 422, "another request")
    assert (await post(client, "attach", "named", profile_id="p-1", code="NEW-1")).content == named.content
    assert (await post(client, "attach", "next", profile_id="p-1")).json()["code"] == "NEW-1"


async def test_a_refusal_of_a_named_code_is_stored_under_its_key(consoles: Consoles, connection: Connection) -> None:
    client = await stocked(consoles)
    first = await post(client, "attach", profile_id="p-1", code="NEW-1")
    refused = await post(client, "attach", "k", profile_id="p-2", code="NEW-1")
    is_problem(refused, 409, "NEW-1 is attached")
    await post(client, "detach", code="NEW-1")
    assert (await post(client, "attach", "k", profile_id="p-2", code="NEW-1")).json() == refused.json()
    is_problem(await post(client, "attach", "k", profile_id="p-2", code="NEW-2"), 422, "another request")
    assert (await post(client, "attach", "other", profile_id="p-2", code="NEW-1")).json()["code"] == "NEW-1"
    assert first.status_code == 200
    assert await connection.fetchval("SELECT count(*) FROM answer") == 2


async def test_copies_of_a_named_attachment_have_one_answer(consoles: Consoles, connection: Connection) -> None:
    client = await stocked(consoles)
    secret = client.headers["authorization"].removeprefix("Bearer ")
    clients = [client, await consoles.with_secret(secret, create_console(consoles.pool))]
    await post(client, "attach", profile_id="p-0", code="NEW-0")
    for n in range(10):
        code = f"NEW-{n + 1}"
        copies = (post(clients[m % 2], "attach", f"k-{n}", profile_id="p-1", code=code) for m in range(20))
        answers = await asyncio.gather(*copies)
        assert {one.status_code for one in answers} == {200}, [one.text for one in answers]
        assert len({one.content for one in answers}) == 1
    assert await connection.fetchval("SELECT count(*) FROM idempotency") == 0
    assert await audit(connection) == []


@pytest.mark.parametrize("step", ["activate", "detach"])
async def test_a_step_is_answered_once_for_a_key(consoles: Consoles, step: str) -> None:
    client = await stocked(consoles)
    code = (await post(client, "attach", profile_id="p-1")).json()["code"]
    first = await post(client, step, "k", code=code)
    assert first.status_code == 200
    assert (await post(client, step, "k", code=code)).json() == first.json()
    is_problem(await post(client, step, "other", code=code), 409, code)


async def test_a_code_that_its_profile_may_be_getting_again_is_detached_after_that(
    consoles: Consoles, connection: Connection, bystander: Connection
) -> None:
    client = await stocked(consoles, count=1, reuse="profile")
    code = (await post(client, "attach", profile_id="p-1")).json()["code"]
    is_problem(await post(client, "detach", code="nope"), 404, "no code nope")
    async with bystander.transaction():
        # As a request that is being decided.
        await hold_deciding_lock(bystander)
        detaching = asyncio.ensure_future(post(client, "detach", "k", code=code))

        async def is_let_go() -> bool:
            held: int = await connection.fetchval("SELECT count(*) FROM holding")
            return held == 0

        await until(is_let_go, "code that its profile does not get again")
        assert (await client.get(f"/programs/SPRING/codes/{code}")).json()["state"] == "attached"
    assert (await detaching).json()["state"] == "pooled"

    # Once for a key: nothing happens to the profile that has it by now.
    assert (await post(client, "attach", profile_id="p-2")).json()["code"] == code
    assert (await post(client, "detach", "k", code=code)).json()["state"] == "pooled"
    await post(client, "activate", code=code)
    is_problem(await post(client, "detach", code=code), 409, "is activated")
    assert (await post(client, "attach", profile_id="p-2")).json()["code"] == code
    assert await audit(connection) == []


async def test_one_of_a_hundred_activations_succeeds(consoles: Consoles) -> None:
    client = await stocked(consoles)
    code = (await post(client, "attach", profile_id="p-1")).json()["code"]
    answers = await asyncio.gather(*(post(client, "activate", code=code) for _ in range(100)))
    assert sorted(one.status_code for one in answers) == [200] + [409] * 99


async def test_one_of_a_hundred_activations_over_two_consoles_succeeds(
    consoles: Consoles, connection: Connection
) -> None:
    client = await stocked(consoles)
    secret = client.headers["authorization"].removeprefix("Bearer ")
    clients = [client, await consoles.with_secret(secret, create_console(consoles.pool))]
    code = (await post(client, "attach", profile_id="p-1")).json()["code"]
    # Half of them share one key, so that copies of one request are in both consoles.
    answers = await asyncio.gather(
        *(post(clients[n % 2], "activate", "k" if n % 4 < 2 else None, code=code) for n in range(100))
    )
    of_key = {one.content for one in answers if one.request.headers.get("Idempotency-Key")}
    succeeded = [one for one in answers if one.status_code == 200]
    assert len(of_key) == 1
    assert {one.status_code for one in answers} <= {200, 409}
    assert len({one.content for one in succeeded}) == 1
    assert len(succeeded) == (50 if succeeded[0].content in of_key else 1)
    assert await audit(connection) == []


async def test_who_may_do_what(consoles: Consoles) -> None:
    client = await stocked(consoles)
    code = (await post(client, "attach", profile_id="p-1")).json()["code"]
    shop, reader, writer = [await consoles.client(scope) for scope in ("redeem", "read", "write")]
    is_problem(await post(shop, "attach", profile_id="p-2"), 403, "write")
    is_problem(await post(reader, "activate", code=code), 403, "redeem")
    is_problem(await post(writer, "activate", code=code), 403, "redeem")
    is_problem(await reader.delete(f"/programs/SPRING/codes/{code}"), 403, "write")
    assert (await post(shop, "activate", code=code)).status_code == 200
    assert (await post(shop, "deactivate", code=code)).status_code == 200
    assert (await post(writer, "detach", code=code)).status_code == 200


async def test_what_is_wrong_is_said(consoles: Consoles) -> None:
    client = await stocked(consoles, count=1)
    url = "/programs/SPRING/codes/"
    for step in ("detach", "activate", "deactivate"):
        is_problem(await post(client, step, code="nope"), 404, "no code nope")
        is_problem(await post(client, step, "key-" + step, code="nope"), 404, "no code nope")
        is_problem(await post(client, step), 422, "code")
    for method in ("PATCH", "DELETE"):
        answer = await client.request(method, url + quote("a/b", safe=""), json={"fields": {}})
        is_problem(answer, 404, "no code a/b")
    code = (await post(client, "attach", profile_id="p-1")).json()["code"]
    is_problem(await post(client, "attach", profile_id="p-2"), 409, "no code left")
    is_problem(await post(client, "attach", profile_id="p-2", code=code), 409, "is attached")
    is_problem(await post(client, "attach", profile_id="p-2", code=" x"), 409, "is not a valid code")
    for body in ({"profile_id": ""}, {"profile_id": "a\x00"}, {"profile_id": "p", "code": ""}, {"profile_id": 1}):
        is_problem(await post(client, "attach", **body), 422, "body")
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"expires_at": "01.01.2090"},
        {"fields": {"a b": "x"}},
        {"state": "x"},
    )
    for changes in wrong:
        is_problem(await client.patch(url + code, json=changes), 422, "body")


async def test_i8_guessing_is_slowed_down_where_codes_are_used(consoles: Consoles, connection: Connection) -> None:
    await stocked(consoles)
    shop = await consoles.client("redeem")
    for number in range(60):
        assert (await post(shop, "activate", f"{number}" if number % 2 else None, code="nope")).status_code == 404
    is_problem(await post(shop, "activate", code="nope"), 429, "try again in")

    async def told() -> bool:
        return bool(await connection.fetchval("SELECT sum(misses) = 60 FROM token_miss"))

    await until(told, "60 misses in the database")


async def test_spaces_around_a_code_are_no_part_of_it(consoles: Consoles) -> None:
    client = await stocked(consoles)
    code = (await post(client, "attach", profile_id="p-1")).json()["code"]
    assert (await client.get(f"/programs/SPRING/codes/{quote(f' {code} ')}")).json()["code"] == code
    assert (await post(client, "activate", code=f" {code}\n")).json()["code"] == code
    assert (await post(client, "deactivate", "k-1", code=f"\t{code}")).json()["code"] == code
    is_problem(await post(client, "activate", code="  "), 404, "no code")


@pytest.mark.parametrize(
    ("template", "end"),
    [("{safe 10} ", "end"), (" {safe 10}", "start"), ("{safe 10}{[ AB] 1}", "end"), ("{safe 10}\u3000", "end")],
)
async def test_codes_that_start_or_end_with_a_space_are_refused(consoles: Consoles, template: str, end: str) -> None:
    client = await consoles.client("admin")
    made = await client.post("/programs", json=settings(source={"kind": "template", "template": template}))
    assert made.status_code == 422
    if template.isascii():
        is_problem(made, 422, f"Codes would {end} with a space")
