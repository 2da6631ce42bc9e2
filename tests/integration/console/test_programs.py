"""Programs over HTTP: made, listed page by page, shown."""

import asyncio
from typing import Any

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
    del shown["notes"]
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
        ({"source": {"kind": "template", "template": "={number 8}"}}, ["Spreadsheets", "{[=] 1}"]),
        (
            {"source": {"kind": "template", "template": " {number 8}"}},
            ["start with a space", "the start of the template"],
        ),
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

    @api.get("/api/v1/breaks", include_in_schema=False)
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
    pool_note, _ = made["notes"]
    assert changed.json() == {**made, "title": "New", "ttl": None, "source": source, "notes": [pool_note]}
    shown = {name: value for name, value in changed.json().items() if name != "notes"}
    assert (await client.post("/programs/SPRING/deactivate")).json() == {**shown, "active": False}
    assert (await client.post("/programs/SPRING/activate")).json() == shown
    key = {"Idempotency-Key": "k"}
    cloned = await client.post("/programs/SPRING/clone", json={"name": "AUTUMN"}, headers=key)
    assert cloned.status_code == 201
    own = {"name": "AUTUMN", "id": cloned.json()["id"], "placeholder": "{loyalty.AUTUMN.promocode}"}
    assert cloned.json() == {**shown, **own, "notes": cloned.json()["notes"]}
    again = await client.post("/programs/SPRING/clone", json={"name": "AUTUMN"}, headers=key)
    assert again.json() == cloned.json()
    removed = (await client.delete("/programs/SPRING")).json()
    assert removed == {**shown, "active": False, "removed_at": removed["removed_at"]}
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


async def test_a_removed_program_says_when_and_is_in_a_list_of_its_own(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post("/programs", json=settings(name="STAYS"))
    removed = (await client.delete("/programs/SPRING")).json()
    assert removed["removed_at"] is not None
    assert (await client.get("/programs/SPRING")).json() == removed
    assert (await client.get("/programs", params={"removed": True})).json()["items"] == [removed]
    [stays] = (await client.get("/programs")).json()["items"]
    assert (stays["name"], stays["removed_at"]) == ("STAYS", None)


async def test_dates_and_empty_pools_are_noted(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    made = (await client.post("/programs", json=settings(valid_until="2099-12-31"))).json()
    assert made["valid_until"] == "2100-01-01T00:00:00Z"
    assert made["placeholder"] == "{loyalty.SPRING.promocode}"
    dates, pool = made["notes"]
    assert (
        dates
        == "valid_until 2099-12-31 is read in the time zone UTC: it ends when that day ends, 2100-01-01T00:00:00Z."
    )
    assert pool.startswith("Both switches of SPRING are off")
    changes = {"campaign_can_create": True, "valid_from": "2020-01-01"}
    [note] = (await client.patch("/programs/SPRING", json=changes)).json()["notes"]
    assert note == "valid_from 2020-01-01 is read in the time zone UTC: it is 2020-01-01T00:00:00Z."
    ended = (await client.patch("/programs/SPRING", json={"valid_until": "2020-01-02T00:00:00Z"})).json()
    assert ended["notes"] == ["SPRING has ended already, so it attaches no code: set valid_until later."]
    assert (await client.patch("/programs/SPRING", json={"title": "Spring"})).json()["notes"] == []
    later = {"valid_from": "2098-01-01T00:00:00Z", "valid_until": None}
    begins = (await client.patch("/programs/SPRING", json=later)).json()
    assert begins["notes"] == ["SPRING has not begun yet: it attaches codes from 2098-01-01T00:00:00Z on."]
    await client.patch("/programs/SPRING", json={"valid_from": "2020-01-01"})
    assert "notes" not in (await client.get("/programs/SPRING")).json()
    code = (await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p", "code": "A-1"})).json()["code"]
    changed = await client.patch(f"/programs/SPRING/codes/{code}", json={"expires_at": "2098-12-31"})
    assert changed.json()["expires_at"] == "2099-01-01T00:00:00Z"


async def test_a_fixed_text_that_all_profiles_share_is_not_guessed(consoles: Consoles) -> None:
    """A text that everyone may know needs no `allow_guessable`; one for each profile does."""
    client = await consoles.client("admin")
    fixed: dict[str, Any] = {"source": {"kind": "template", "template": "WELCOME10"}, "codes_max": 1, "pool_max": 1}
    given = settings(**fixed, allow_guessable=False)
    is_problem(await client.post("/programs", json=given), 422, "guessed")
    made = await client.post("/programs", json={**given, "shared": True})
    assert made.status_code == 201, made.text
    is_problem(await client.patch("/programs/SPRING", json={"shared": False}), 422, "guessed")
    await client.post("/programs/SPRING/codes:generate", json={"count": 1})
    for profile_id in ("p-1", "p-2"):
        attached = await client.post("/programs/SPRING/codes:attach", json={"profile_id": profile_id})
        assert attached.json()["code"] == "WELCOME10"
    varied = {"source": {"kind": "template", "template": "WELCOME{number 2}"}, "shared": True}
    is_problem(await client.post("/programs", json={**given, **varied, "name": "OTHER"}), 422, "guessed")
