"""A problem names every invalid field of the request, so that a form can show each mistake at its field."""

from typing import Any

import httpx
import pytest

from schemas.api import FIELD_PROBLEMS_MAX
from tests.support.consoles import Consoles, is_problem, settings


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    return await consoles.client("admin")


def errors_of(answer: httpx.Response) -> dict[str, str]:
    """The details by pointer or parameter."""
    found = answer.json().get("errors", [])
    assert all(one.keys() in ({"pointer", "detail"}, {"parameter", "detail"}) for one in found), found
    return {one.get("pointer") or one["parameter"]: one["detail"] for one in found}


async def test_all_invalid_fields_of_a_body_are_named(client: httpx.AsyncClient) -> None:
    wrong: dict[str, Any] = {
        "name": "two words", "codes_max": 0, "surprise": 1, "groups": ["ok", "not ok"], "ttl": "soon",
        "fields": [{"name": "A"}, {"name": "B", "save": "often"}],
        "source": {"kind": "remote", "url": "ftp://x", "request_max": 0},
    }  # fmt: skip
    answer = await client.post("/programs", json=settings() | wrong)
    is_problem(answer, 422, "body.name", reason="field_invalid")
    assert errors_of(answer).keys() == {
        "#/name", "#/codes_max", "#/surprise", "#/groups/1", "#/ttl", "#/fields/1/save", "#/source/url",
        "#/source/request_max",
    }  # fmt: skip
    assert errors_of(answer)["#/codes_max"] == "must be at least 1"


async def test_all_settings_that_contradict_each_other_are_named(client: httpx.AsyncClient) -> None:
    wrong = {
        "pool_max": 2_000, "ttl": "P1D", "min_life_at_attach": "P2D", "valid_from": "2099-01-02",
        "valid_until": "2098-01-01",
    }  # fmt: skip
    created = await client.post("/programs", json=settings() | wrong)
    is_problem(created, 422, "valid_from must be before valid_until", reason="field_invalid")
    assert errors_of(created).keys() == {"#/pool_max", "#/min_life_at_attach", "#/valid_until"}
    await client.post("/programs", json=settings())
    changed = await client.patch("/programs/SPRING", json=wrong)
    assert errors_of(changed) == errors_of(created)


async def test_parameters_are_named_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/programs", params={"limit": "many", "removed": "maybe"})
    is_problem(answer, 422, "limit")
    assert errors_of(answer) == {"limit": "must be a whole number", "removed": "must be true or false"}
    named = await client.get("/programs/two words")
    assert errors_of(named).keys() == {"name"}


async def test_names_that_a_sender_made_up_are_pointers_too(client: httpx.AsyncClient) -> None:
    answer = await client.post("/programs", json=settings() | {"a/b~c %é": 1})
    assert errors_of(answer).keys() == {"#/a~1b~0c%20%25%C3%A9"}


async def test_a_list_of_mistakes_has_an_end(client: httpx.AsyncClient) -> None:
    answer = await client.post("/programs", json=settings() | {f"f{number}": 1 for number in range(1_000)})
    assert len(errors_of(answer)) == FIELD_PROBLEMS_MAX


async def test_rules_of_programs_name_their_setting(consoles: Consoles, client: httpx.AsyncClient) -> None:
    made = await client.post("/programs", json=settings())
    await client.post("/programs/SPRING/codes:generate", json={"count": 10})
    grouped = await consoles.client("write", groups=["ours"])
    for answer, pointer in (
        (made, None),
        (await client.post("/programs", json=settings()), "#/name"),
        (await client.post("/programs", json=settings("OTHER") | {"source": {"kind": "template", "template": "{"}}),
         "#/source/template"),
        (await client.post("/programs", json=settings("OTHER") | {"allow_guessable": False}), "#/source/template"),
        (await client.patch("/programs/SPRING", json={"codes_max": 5, "pool_max": 5}), "#/codes_max"),
        (await client.patch("/programs/SPRING", json={"source": {"kind": "import"}}), "#/source/kind"),
        (await grouped.post("/programs", json=settings("OTHER")), "#/groups"),
        # Its body has no other field.
        (await client.post("/programs/SPRING/clone", json={"name": "SPRING"}), "#/name"),
        (await client.post("/programs/SPRING/clone", json={"name": "no name"}), "#/name"),
        (await grouped.post("/programs/SPRING/clone", json={"name": "OTHER"}), None),
        (await client.get("/programs/OTHER"), None),
    ):  # fmt: skip
        assert [*errors_of(answer)] == [pointer] * (pointer is not None), answer.text
        if pointer is not None:
            [error] = answer.json()["errors"]
            assert error["detail"] in answer.json()["detail"]


async def test_a_stored_refusal_names_its_field_again(client: httpx.AsyncClient) -> None:
    await client.post("/programs", json=settings())
    key = {"Idempotency-Key": "k"}
    first, again = [await client.post("/programs", json=settings(), headers=key) for _ in range(2)]
    assert errors_of(first).keys() == {"#/name"}
    assert again.json() == first.json()


async def test_what_postgres_cannot_hold_is_a_mistake_of_its_field(client: httpx.AsyncClient) -> None:
    await client.post("/programs", json=settings())
    reissue = {"profile_id": "p-1", "reason": "a\0b"}
    for answer, field in (
        (await client.post("/programs/SPRING/codes:reissue", json=reissue), "#/reason"),
        (await client.post("/programs/SPRING/alerts:clear", json={"key": "a\0b"}), "#/key"),
        (await client.get("/programs/SPRING/codes", params={"prefix": "a\0b"}), "prefix"),
    ):
        is_problem(answer, 422, "NUL", reason="field_invalid")
        assert errors_of(answer).keys() == {field}
