"""Two people who edit one program: the second is told that the first was there, if it names what it has read."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.consoles import Consoles, is_problem, settings

URL = "/programs/SPRING"


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    made = await consoles.client("admin")
    assert (await made.post("/programs", json=settings())).status_code == 201
    return made


def at(tag: str) -> dict[str, str]:
    return {"If-Match": tag}


async def test_the_second_change_is_refused_and_says_why(client: httpx.AsyncClient) -> None:
    read = (await client.get(URL)).headers["etag"]
    first = await client.patch(URL, json={"title": "First"}, headers=at(read))
    assert first.status_code == 200
    second = await client.patch(URL, json={"title": "Second"}, headers=at(read))
    is_problem(second, 412, "SPRING was changed since you read it", reason="program_changed")
    shown = await client.get(URL)
    assert shown.json()["title"] == "First"
    assert shown.headers["etag"] == first.headers["etag"] != read
    assert (await client.patch(URL, json={"title": "Second"}, headers=at(first.headers["etag"]))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [{"codes_max": 2_000}, {"source": {"kind": "template", "template": "N-{upstring 5}"}}, {"active": False},
     {"valid_until": "2098-12-31T12:00:00+02:00"}, {"ttl": "P1DT2H"}, {"fields": [{"name": "discount"}]}],
)  # fmt: skip
async def test_every_setting_is_in_the_revision(client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    read = (await client.get(URL)).headers["etag"]
    changed = await client.patch(URL, json=changes, headers=at(read))
    assert changed.headers["etag"] != read
    # However it was written.
    assert (await client.get(URL)).headers["etag"] == changed.headers["etag"]
    is_problem(await client.patch(URL, json={"codes_max": 3_000}, headers=at(read)), 412)


async def test_what_is_no_setting_is_not_in_it(client: httpx.AsyncClient) -> None:
    read = (await client.get(URL)).headers["etag"]
    await client.post(f"{URL}/codes:generate", json={"count": 5})
    assert (await client.get(URL)).headers["etag"] == read
    await client.post(f"{URL}/deactivate")
    is_problem(await client.patch(URL, json={"title": "x"}, headers=at(read)), 412)


async def test_without_the_header_the_last_change_wins(client: httpx.AsyncClient) -> None:
    for title in ("First", "Second"):
        assert (await client.patch(URL, json={"title": title})).json()["title"] == title


async def test_the_forms_of_the_header(client: httpx.AsyncClient) -> None:
    read = (await client.get(URL)).headers["etag"]
    for tags in ("*", read, f'"other", {read}'):
        assert (await client.patch(URL, json={"title": ""}, headers=at(tags))).status_code == 200, tags
    for tags in ('"other"', f"W/{read}", '""'):
        is_problem(await client.patch(URL, json={"title": ""}, headers=at(tags)), 412)
    for tags in ("other", read.strip('"'), f"{read} {read}", '"', "W/", f"*, {read}", '"x"' * 400):
        is_problem(await client.patch(URL, json={"title": ""}, headers=at(tags)), 422, "If-Match")


async def test_of_changes_at_once_one_is_made(client: httpx.AsyncClient) -> None:
    read = (await client.get(URL)).headers["etag"]
    answers = await asyncio.gather(
        *(client.patch(URL, json={"codes_max": 2_000 + number}, headers=at(read)) for number in range(4)),
        *(client.patch(URL, json={"title": f"{number}"}, headers=at(read)) for number in range(4)),
    )
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 7]


async def test_another_group_is_told_nothing(consoles: Consoles, client: httpx.AsyncClient) -> None:
    other = await consoles.client("write", groups=["theirs"])
    is_problem(await other.patch(URL, json={"title": "x"}, headers=at('"x"')), 404)
