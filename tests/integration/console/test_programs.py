"""Programs over HTTP: made, listed page by page, shown."""

import asyncio

import pytest
from fastapi import FastAPI

from codewell.infra.postgres.connection import Pool
from tests.support.consoles import Consoles, is_problem, settings


async def test_a_program_is_made_and_shown(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    given = settings(title="Ünïcode", groups=["marketing"], ttl="P1DT2H", fields=[{"name": "discount"}])
    made = await client.post("/programs", json=given)
    assert made.status_code == 201
    shown = made.json()
    assert shown["id"] > 0
    assert {name: shown[name] for name in ("name", "title", "groups", "ttl", "pool_max")} == {
        "name": "SPRING", "title": "Ünïcode", "groups": ["marketing"], "ttl": "P1DT2H", "pool_max": 1_000,
    }  # fmt: skip
    assert (await client.get("/programs/SPRING")).json() == shown
    assert (await client.get("/programs")).json() == {"items": [shown], "next_cursor": None}
    is_problem(await client.post("/programs", json=given), 409, "The short name SPRING is taken")


async def test_what_is_made_is_announced_and_what_is_refused_is_not(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    told: list[tuple[int, str]] = []
    consoles.api.state.context.announcer.publish = lambda *news: told.append(news)
    made = (await client.post("/programs", json=settings())).json()
    assert told == [(made["id"], "SPRING")]
    await client.post("/programs", json=settings())
    assert len(told) == 1
    await client.post("/programs/SPRING/codes:generate", json={"count": 5})
    assert told == [(made["id"], "SPRING")] * 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "two words"}, ["body.name"]),
        ({"codes_max": 0}, ["body.codes_max"]),
        ({"codes_max": 10**30}, ["body.codes_max"]),
        ({"surprise": 1}, ["body.surprise"]),
        ({"title": "a\0b"}, ["body.title"]),
        ({"pool_max": 2_000}, ["pool_max must not be more than codes_max"]),
        ({"source": {"kind": "template", "template": "{number 1}"}}, ["1,000"]),
        ({"source": {"kind": "template", "template": "{nonsense"}}, ["}"]),
        ({"source": {"kind": "template", "template": "{number 3}"}, "allow_guessable": False}, ["guessed"]),
        ({"source": {"kind": "template", "template": " ={number 8}"}}, ["Spreadsheets", "{[=] 1}"]),
    ],
)
async def test_settings_that_can_not_be_are_refused(consoles: Consoles, changed: object, words: list[str]) -> None:
    client = await consoles.client("admin")
    is_problem(await client.post("/programs", json=settings() | dict(changed)), 422, *words)  # type: ignore[call-overload]
    assert (await client.get("/programs")).json()["items"] == []


async def test_pages_of_programs_have_each_once(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    names = [f"P{number}" for number in range(7)]
    for name in names:
        assert (await client.post("/programs", json=settings(name))).status_code == 201
    found, cursor, pages = [], None, 0
    while True:
        page = (await client.get("/programs", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        found += [one["name"] for one in page["items"]]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert (found, pages) == (names, 3)
    assert (await client.get("/programs", params={"limit": 7})).json()["next_cursor"] is None


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", ""])
async def test_limits_of_a_page(consoles: Consoles, limit: str) -> None:
    client = await consoles.client("read")
    is_problem(await client.get("/programs", params={"limit": limit}), 422, "limit")


@pytest.mark.parametrize("cursor", ["", "?", "é", "A", "AA", "AA==", "/w", "AAAA", "x" * 201])
async def test_a_broken_cursor_is_422(consoles: Consoles, cursor: str) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    for path in ("/programs", "/programs/SPRING/codes"):
        is_problem(await client.get(path, params={"cursor": cursor}), 422)


async def test_of_two_that_make_one_name_at_once_one_does(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    answers = await asyncio.gather(*(client.post("/programs", json=settings()) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]


async def test_what_breaks_is_500_with_the_id_to_look_for(consoles: Consoles, connections: Pool) -> None:
    client = await consoles.client("admin")
    api: FastAPI = consoles.api

    @api.get("/api/v1/breaks")
    async def breaks() -> None:
        raise ZeroDivisionError

    answer = await client.get("/breaks", headers={"X-Request-Id": "abc-1"})
    is_problem(answer, 500, "X-Request-Id")
    assert answer.headers["x-request-id"] == "abc-1"
    assert "ZeroDivision" not in answer.text


async def test_a_program_is_changed_cloned_switched_and_removed(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    told: list[tuple[int, str]] = []
    consoles.api.state.context.announcer.publish = lambda *news: told.append(news)
    made = (await client.post("/programs", json=settings(ttl="P1D", groups=["a"]))).json()
    source = {"kind": "template", "template": "NEW-{upstring 6}"}
    changed = await client.patch("/programs/SPRING", json={"title": "New", "ttl": None, "source": source})
    assert changed.json() == {**made, "title": "New", "ttl": None, "source": source}
    assert (await client.post("/programs/SPRING/deactivate")).json() == {**changed.json(), "active": False}
    assert (await client.post("/programs/SPRING/activate")).json() == changed.json()
    key = {"Idempotency-Key": "k"}
    cloned = await client.post("/programs/SPRING/clone", json={"name": "AUTUMN"}, headers=key)
    assert cloned.status_code == 201
    assert cloned.json() == {**changed.json(), "name": "AUTUMN", "id": cloned.json()["id"]}
    again = await client.post("/programs/SPRING/clone", json={"name": "AUTUMN"}, headers=key)
    assert again.json() == cloned.json()
    assert (await client.delete("/programs/SPRING")).json() == {**changed.json(), "active": False}
    assert [one["name"] for one in (await client.get("/programs")).json()["items"]] == ["AUTUMN"]
    assert (await client.get("/programs/SPRING")).json()["active"] is False
    assert told == [(made["id"], "SPRING")] * 4 + [(cloned.json()["id"], "AUTUMN"), (made["id"], "SPRING")]


async def test_what_can_not_be_changed_is_said(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post("/programs", json=settings("OTHER"))
    await client.post("/programs/SPRING/codes:generate", json={"count": 10})
    url = "/programs/SPRING"
    is_problem(await client.patch(url, json={"pool_max": 2_000}), 422, "body", "pool_max must not be more")
    is_problem(await client.patch(url, json={"codes_max": 9, "pool_max": 9}), 409, "has had 10 codes")
    is_problem(await client.patch(url, json={"name": "OTHER"}), 422, "body.name")
    is_problem(await client.patch(url, json={"codes_max": 0}), 422, "body.codes_max")
    is_problem(await client.patch(url, json={"source": {"kind": "template", "template": "{number 1}"}}), 422)
    is_problem(await client.post(f"{url}/clone", json={"name": "OTHER"}), 409, "The short name OTHER is taken")
    is_problem(await client.patch("/programs/NOBODY", json={}), 404)
    await client.delete(url)
    for answer in (await client.patch(url, json={"title": "x"}), await client.post(f"{url}/activate")):
        is_problem(answer, 409, "was removed")
    assert (await client.get("/programs/SPRING/stock")).json()["made"] == 10


async def test_a_token_with_groups_keeps_programs_in_them(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    await admin.post("/programs", json=settings(groups=["ours", "theirs"]))
    client = await consoles.client("write", "read", groups=["ours"])
    is_problem(await client.patch("/programs/SPRING", json={"groups": ["theirs"]}), 403, "ours")
    is_problem(await client.patch("/programs/SPRING", json={"groups": None}), 403, "ours")
    is_problem(await client.post("/programs/SPRING/clone", json={"name": "AUTUMN"}), 403, "ours")
    assert (await client.patch("/programs/SPRING", json={"groups": ["ours"]})).json()["groups"] == ["ours"]
    assert (await client.post("/programs/SPRING/clone", json={"name": "AUTUMN"})).status_code == 201
