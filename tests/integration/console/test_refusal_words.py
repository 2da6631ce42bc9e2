"""What the HTTP API refuses, it refuses in our words: no text of the framework or of pydantic reaches a client."""

import httpx
import pytest

from tests.support.consoles import Consoles, is_problem, settings
from tests.unit.test_validation import FOREIGN

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    client = await consoles.client("admin")
    assert (await client.post("/programs", json=settings())).status_code == 201
    return client


async def refused(client: httpx.AsyncClient, method: str, path: str, **sent: object) -> str:
    answer = await client.request(method, path, **sent)  # type: ignore[arg-type]
    is_problem(answer, answer.status_code)
    assert 400 <= answer.status_code < 500
    detail: str = answer.json()["detail"]
    assert not FOREIGN.search(detail), detail
    assert detail.endswith(".")
    return detail


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "/programs", {"name": "A"}, "body.source: give a value, it is required."),
        ("POST", "/programs", {**settings(), "colour": "red"}, "body.colour: remove this field"),
        ("POST", "/programs", settings("A b"), "short name"),
        ("POST", "/programs", settings("NEW", valid_from="soon"), "body.valid_from: must be a date such as"),
        ("POST", "/programs", settings("NEW", fields=[{"name": "a-b"}]), "body.fields.0.name: must be a short name"),
        ("POST", "/programs", settings("NEW", source={"kind": "remote", "url": "ftp://x"}), "source.url: must be a"),
        ("POST", "/programs", settings("NEW", source={"kind": "template"}), "body.source.template: give a value"),
        ("POST", "/programs", settings("NEW", codes_max=0), "body.codes_max: must be at least 1."),
        ("POST", "/programs", settings("NEW", codes_max=10, pool_max=11), "body: pool_max must not be more"),
        ("POST", "/programs/SPRING/codes:generate", {}, "body: give count, profiles or both."),
        ("POST", "/programs/SPRING/codes:generate", {"count": 1, "fields": {"a b": ""}}, "its name must be a short"),
        ("POST", "/programs/SPRING/codes:attach", {"profile_id": ""}, "body.profile_id: must have 1 to 256 characters"),
        ("POST", "/programs/SPRING/codes:attach", [], "body: must be an object"),
        ("POST", "/programs/SPRING/codes:activate", {"code": ["x"]}, "body.code: must be a text."),
        ("PATCH", "/programs/SPRING", {"pool_max": 5_000}, "body: pool_max must not be more than codes_max."),
        ("PATCH", "/programs/SPRING", {"ttl": "tomorrow"}, "body.ttl: must be a duration such as P30D"),
        ("PUT", "/profiles/p-1", {"fields": {"a": 1}}, "body.fields.a: must be a text."),
    ],
)  # fmt: skip
async def test_bodies(client: httpx.AsyncClient, method: str, path: str, body: object, words: str) -> None:
    assert words in await refused(client, method, path, json=body)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/programs?limit=many", "query.limit: must be a whole number."),
        ("/programs?limit=0", "query.limit: must be at least 1."),
        ("/programs/SPRING/codes?state=lost", "query.state: must be one of 'pooled', 'attached'"),
        ("/programs/SPRING/codes?profile_id=%00", "query.profile_id: must have 1 to 256 characters"),
        ("/programs/a-b", "path.name: must be a short name"),
        ("/programs/SPRING/codes.csv?fields=a,,b", "query.fields: must be 1 to 64 short names"),
        ("/programs/SPRING/codes.csv?raw=perhaps", "query.raw: must be true or false."),
    ],
)
async def test_queries_and_paths(client: httpx.AsyncClient, path: str, words: str) -> None:
    assert words in await refused(client, "GET", path)


async def test_headers(client: httpx.AsyncClient) -> None:
    detail = await refused(
        client, "POST", "/programs/SPRING/codes:attach", json={"profile_id": "p"}, headers={"Idempotency-Key": "a b"}
    )
    assert detail.startswith("header.Idempotency-Key: must be visible ASCII characters")


async def test_broken_json_is_a_malformed_body(client: httpx.AsyncClient) -> None:
    answer = await client.post("/programs", content=b'{"name": ', headers=JSON)
    is_problem(answer, 400, "send JSON", reason="body_malformed")


async def test_uploads(client: httpx.AsyncClient) -> None:
    path = "/programs/SPRING/imports"
    assert await refused(client, "POST", path) == "body.file: give a value, it is required."
    assert "must be a file" in await refused(client, "POST", path, data={"file": "AB12"})
    file = {"file": ("codes.csv", b"Code\nAB12\n")}
    assert "body.delimiter: " in await refused(client, "POST", path, files=file, data={"delimiter": "x"})
    assert "body.header: must be true" in await refused(client, "POST", path, files=file, data={"header": "perhaps"})


async def test_the_page_of_a_problem_needs_no_token(consoles: Consoles, client: httpx.AsyncClient) -> None:
    problem = (await client.get("/programs/NONE")).json()
    answer = await (await consoles.with_secret(None)).get(f"http://console{problem['type']}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert problem["title"] in answer.text
    assert "reason: program_unknown" in answer.text
    assert "list the programs to see which exist" in answer.text
    index = await (await consoles.with_secret(None)).get("http://console/problems")
    assert f"{problem['type']}  404  {problem['title']}\n" in index.text
    is_problem(await client.get("http://console/problems/none"), 404, reason="path_unknown")
