"""Nobody gets anywhere without the right token, on any path that the API has."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from codewell.access import tokens
from codewell.access.tokens import SCOPES
from codewell.infra.postgres.connection import Connection, Pool, pool
from services.console.http import auth
from tests.support import factories
from tests.support.consoles import Consoles, create_console, is_problem, settings

BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/programs": settings("OTHER", groups=["theirs"]),
    "/api/v1/programs/{name}/codes:generate": {"count": 1},
    "/api/v1/programs/{name}": {"title": "Theirs"},
    "/api/v1/programs/{name}/clone": {"name": "OTHER"},
    "/api/v1/programs/{name}/codes:attach": {"profile_id": "p-1"},
    **{f"/api/v1/programs/{{name}}/codes:{step}": {"code": "A"} for step in ("detach", "activate", "deactivate")},
    "/api/v1/programs/{name}/codes/{code}": {"fields": {}},
    "/api/v1/profiles/{id}": {"fields": {}},
}
NO_IMPORT = UUID(int=1)
# One of these is needed.
SCOPES_OF = {
    ("/api/v1/programs/{name}/codes/{code}", "get"): {"read", "redeem"},
    **{(f"/api/v1/programs/{{name}}/codes:{step}", "post"): {"redeem"} for step in ("activate", "deactivate")},
    ("/api/v1/programs/{name}/remote/secrets", "get"): {"admin"},
    ("/api/v1/programs/{name}/remote/secrets:rotate", "post"): {"admin"},
}


def operations(api: FastAPI) -> list[tuple[str, str]]:
    found = [(path, method) for path, methods in api.openapi()["paths"].items() for method in methods]
    assert len(found) >= 7
    return found


async def ask(client: httpx.AsyncClient, path: str, method: str, name: str = "SPRING") -> httpx.Response:
    url = path.format(name=name, code="SPRING-AAAA", import_id=NO_IMPORT, id="p-1").removeprefix("/api/v1")
    if path.endswith("/imports"):
        return await client.request(method, url, files={"file": ("codes.csv", b"SPRING-0001")})
    return await client.request(method, url, json=BODIES.get(path))


@pytest.fixture
async def asked(consoles: Consoles) -> Consoles:
    """Consoles of a database in which there is a program of the group `theirs`."""
    async with consoles.pool.acquire() as connection:
        await factories.program(connection, consoles.api.state.context.minters, groups=("theirs",))
    return consoles


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer cw_nobody", "Basic dTpw", "Bearer ü"])
async def test_without_a_token_in_force_every_path_is_401(asked: Consoles, authorization: str | None) -> None:
    client = await asked.with_secret(None)
    if authorization is not None:
        client.headers["Authorization"] = authorization
    for path, method in operations(asked.api):
        answer = await ask(client, path, method)
        is_problem(answer, 401, "Authorization: Bearer TOKEN")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    is_problem(await client.post("/programs", content=b"{"), 401)
    is_problem(await client.get("/nothing"), 401)


async def test_a_scope_opens_what_it_is_for_and_nothing_else(asked: Consoles) -> None:
    async with asked.owners.acquire() as connection:
        for scope in SCOPES:
            client = await asked.client(scope)
            for path, method in operations(asked.api):
                needed = SCOPES_OF.get((path, method), {"read"} if method == "get" else {"write"})
                answer = await ask(client, path, method)
                if scope in needed | {"admin"}:
                    assert answer.status_code in {200, 201, 202, 404, 409}, answer.text
                else:
                    is_problem(answer, 403, "scope", *needed)
            for table in ("template_version", "program_history"):
                await connection.execute(
                    f"DELETE FROM {table} WHERE program_id IN (SELECT id FROM program WHERE name = 'OTHER')"
                )
            await connection.execute("DELETE FROM program WHERE name = 'OTHER'")


async def test_a_program_of_another_group_is_as_if_it_were_not_there(asked: Consoles) -> None:
    stranger = await asked.client("admin", groups=["ours"])
    for path, method in operations(asked.api):
        if "{name}" not in path:
            continue
        answer = await ask(stranger, path, method)
        is_problem(answer, 404)
        missing = await ask(stranger, path, method, "NOBODY")
        assert (answer.status_code, answer.headers["content-type"]) == (404, missing.headers["content-type"])
        assert answer.json() == {**missing.json(), "detail": missing.json()["detail"].replace("NOBODY", "SPRING")}
    assert (await stranger.get("/programs")).json() == {"items": [], "next_cursor": None}
    owner = await asked.client("read", groups=["theirs", "ours"])
    assert (await owner.get("/programs/SPRING")).json()["name"] == "SPRING"
    assert [one["name"] for one in (await owner.get("/programs")).json()["items"]] == ["SPRING"]


async def test_a_program_of_another_group_takes_as_many_reads_as_one_that_is_not_there(
    asked: Consoles, database_url: str
) -> None:
    """What tells the two apart by the time it takes would be a statement more or less."""
    said: list[str] = []

    async def listen(connection: Connection) -> None:
        connection.add_query_logger(lambda record: said.append(record.query))

    def asks() -> list[str]:
        # The budget of misses is told and asked for as time goes by.
        return [query for query in said if "token_miss" not in query]

    async with pool(database_url, "codewell-test", 1, listen) as own:
        api = create_console(own)
        stranger = await asked.client("admin", groups=["ours"], api=api)
        owner = await asked.client("admin", groups=["theirs"], api=api)
        for path, method in operations(api):
            if "{name}" not in path:
                continue
            # The owner has just been there, so that the console remembers the program.
            await owner.get("/programs/SPRING/codes/SPRING-AAAA")
            for name in ("SPRING", "NOBODY"):
                is_problem(await ask(stranger, path, method, name), 404)
            said.clear()
            is_problem(await ask(stranger, path, method, "SPRING"), 404)
            theirs = asks()
            said.clear()
            is_problem(await ask(stranger, path, method, "NOBODY"), 404)
            assert theirs == asks() != [], (path, method)


async def test_a_token_with_groups_makes_programs_in_its_own_only(consoles: Consoles) -> None:
    client = await consoles.client("write", groups=["ours", "shared"])
    for groups in ([], ["theirs"], ["ours", "theirs"]):
        is_problem(await client.post("/programs", json=settings(groups=groups)), 403, "ours, shared")
    assert (await client.post("/programs", json=settings(groups=["ours"]))).status_code == 201


async def test_a_revoked_token_ends_everywhere_once_it_is_forgotten(
    consoles: Consoles, connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, secret = await consoles.token("read")
    first = await consoles.with_secret(secret)
    assert (await first.get("/programs")).status_code == 200
    async with connections.acquire() as connection:
        await tokens.revoke(connection, name)
    other = await consoles.with_secret(secret, create_console(connections))
    is_problem(await other.get("/programs"), 401)

    assert auth.CACHE_TTL_S <= 5
    monkeypatch.setattr(auth, "CACHE_TTL_S", 0)
    is_problem(await first.get("/programs"), 401)


async def test_a_token_that_has_ended_is_none(consoles: Consoles, connections: Pool) -> None:
    async with connections.acquire() as connection:
        _, secret = await tokens.create(connection, "brief", ["read"], (), timedelta(hours=1))
        await connection.execute("UPDATE token SET created_at = now() - interval '1 day', expires_at = now()")
    is_problem(await (await consoles.with_secret(secret)).get("/programs"), 401)


async def test_what_needs_no_token(consoles: Consoles) -> None:
    client = await consoles.with_secret(None)
    document = await client.get("http://console/openapi.json")
    assert document.json()["openapi"].startswith("3.1")
    is_problem(await client.get("http://console/nothing"), 404, "/openapi.json")
