"""Plain requests and the framework's are one API: a random course of requests has the same answers both ways."""

import json
import re
from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

import httpx
import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, create_console, settings
from tests.support.seeded_random import seeded

REQUESTS = 400
CODES = ["OUT-1", "OUT-2", "OUT-3", " OUT-1 ", "OUT 4/5", "nobody", "nothing", "x" * 1_001]
PROFILES = ["p-1", "p-2", "", "p\n3"]
ORDERS = ["o-1", "o-2", "o-3"]
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z| UTC)")
OWN = re.compile(r"WEST|EAST")


class Asked(NamedTuple):
    """A request to a program that is not named yet."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes


def some_request(random: Random) -> Asked:
    """Most are plain: the others have a fault, or what only the framework reads."""
    step = random.choice(["attach", "attach", "activate", "activate", "hold", "hold", "release", "deactivate", ""])
    code = random.choice(CODES[:3]) if random.random() < 0.7 else random.choice(CODES)
    if not step:
        query = random.choice([{}, {}, {"context": "till-3"}, {"context": "two words"}, {"context": ""}, {"more": "1"}])
        return Asked("GET", f"codes/{code}", query, {}, b"")
    body: dict[str, Any] = {"code": code}
    if step == "attach" or random.random() < 0.6:
        body["profile_id"] = random.choice(PROFILES[:2] if random.random() < 0.8 else PROFILES)
    if step in {"hold", "release"} or (step != "attach" and random.random() < 0.6):
        body["order_id"] = random.choice(ORDERS)
    if step in {"activate", "hold"} and random.random() < 0.2:
        body["context"] = "till-3"
    if random.random() < 0.05:
        body[random.choice(["more", "code", "ttl"])] = random.choice([1, None, "PT5M"])
    headers = {
        "content-type": random.choice(["application/json"] * 8 + ["Application/JSON; charset=utf-8", "text/plain"])
    }
    if random.random() < 0.5:
        headers["idempotency-key"] = random.choice(["k-1", "k-2", "k-3", "k-4", "two words", "k" * 256])
    content = json.dumps(body).encode(random.choice(["utf-8"] * 9 + ["utf-16"]))
    return Asked("POST", f"codes:{step}", {}, headers, content if random.random() < 0.97 else content[:-1])


async def answer(client: httpx.AsyncClient, program: str, asked: Asked) -> tuple[int, dict[str, str], str]:
    """The answer without what no two answers share: times, places and the program's name."""
    response = await client.request(
        asked.method, f"/programs/{program}/{asked.path}", params=asked.query, headers=asked.headers,
        content=asked.content,
    )  # fmt: skip
    assert response.headers.pop("x-request-id")
    assert int(response.headers.pop("content-length")) == len(response.content)
    text = OWN.sub("PROGRAM", MOMENT.sub("MOMENT", response.text))
    return response.status_code, dict(response.headers), re.sub(r'"place":"[\d:]+"', '"place":"PLACE"', text)


async def test_both_ways_answer_the_same(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, usual = create_console(consoles.pool, 10_000), create_console(consoles.pool, 10_000)
    monkeypatch.setattr(usual, "fast_path", None)
    random = seeded()
    clients = {}
    for name, api in (("WEST", plain), ("EAST", usual)):
        clients[name] = await consoles.client("admin", api=api)
        made = settings(name=name, uses={"per_code": 2, "per_profile": 1})
        assert (await clients[name].post("/programs", json=made)).status_code == 201
        for code in ("OUT-1", "OUT-2", "OUT 4/5"):
            body = {"profile_id": "p-1", "code": code}
            assert (await clients[name].post(f"/programs/{name}/codes:attach", json=body)).status_code == 200
    seen = set()
    for number in range(REQUESTS):
        asked = some_request(random)
        west, east = [await answer(client, name, asked) for name, client in clients.items()]
        assert west == east, f"request {number}: {asked}"
        seen.add(west[0])
    assert {200, 400, 404, 409, 415, 422} <= seen
    assert await audit(connection) == []
