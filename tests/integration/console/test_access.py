"""Nobody gets anywhere without the right token, on any path that the API has."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from codewell.access import tokens
from codewell.access.tokens import SCOPES
from codewell.infra.postgres.connection import Connection, Pool, pool
from services.console.http import auth
from tests.support import factories
from tests.support.consoles import Consoles, create_console, document, is_problem, settings

BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/programs": settings("OTHER", groups=["theirs"]),
    "/api/v1/programs/{name}/codes:generate": {"count": 1},
    "/api/v1/programs/{name}": {"title": "Theirs"},
    "/api/v1/programs/{name}/clone": {"name": "OTHER"},
    "/api/v1/programs/{name}/codes:attach": {"profile_id": "p-1"},
    **{f"/api/v1/programs/{{name}}/codes:{step}": {"code": "A"} for step in ("detach", "activate", "deactivate")},
    **{f"/api/v1/programs/{{name}}/codes:{step}": {"code": "A", "order_id": "o-1"} for step in ("hold", "release")},
    "/api/v1/codes:activate": {"code": "A"},
    "/api/v1/receipts": {"receipts": [{"request_id": str(UUID(int=1)), "profile_id": "p-1", "receipt": "delivered"}]},
    "/api/v1/programs/{name}/reservations": {"campaign_id": "c", "count": 1, "until": "2090-01-01T00:00:00Z"},
    "/api/v1/programs/{name}/reservations/{reservation_id}": {"count": 1},
    "/api/v1/programs/{name}/alerts:clear": {"kind": "returns-stopped"},
    "/api/v1/programs/{name}/codes:change": {"filter": {}, "void": True, "dry_run": True},
    "/api/v1/programs/{name}/codes:reissue": {"code": "A", "reason": "lost"},
    "/api/v1/programs/{name}/codes/{code}": {"fields": {}},
    "/api/v1/profiles/{id}": {"fields": {}},
    "/api/v1/tokens": {"name": "more", "scopes": ["read"]},
    "/api/v1/dead-letters:replay": {"dry_run": True},
    "/api/v1/preview": {"profile_id": "p-1", "programs": ["SPRING"]},
    "/api/v1/dead-letters:purge": {"dry_run": True},
    "/api/v1/remote:test": {"url": "https://codes.invalid/orders"},
    "/api/v1/programs/{name}/remote:test": {"count": 1},
    "/api/v1/templates:preview": {"template": "{upstring 8}"},
    "/api/v1/webhooks": {"target": "https://shop.invalid/hooks"},
    "/api/v1/webhooks/{webhook_id}": {"active": False},
    "/api/v1/webhooks/{webhook_id}:replay": {"since": "2026-11-01T00:00:00Z"},
}
# Paths whose query has a parameter that is required.
QUERIES: dict[str, dict[str, Any]] = {
    "/api/v1/codes": {"profile_id": "p-1"},
    "/api/v1/programs:check-name": {"name": "OTHER"},
    "/api/v1/programs/{name}/availability": {"count": 1},
}
NO_IMPORT = UUID(int=1)
# One of these is needed.
SCOPES_OF = {
    **{
        (f"/api/v1/{path}/{{code}}", "get"): {"read", "redeem", "support"}
        for path in ("codes", *(f"programs/{{name}}/{part}" for part in ("codes", "history", "uses")))
    },
    ("/api/v1/programs/{name}/codes:reissue", "post"): {"support"},
    ("/api/v1/dead-letters", "get"): {"admin"},
    ("/api/v1/preview", "post"): {"read"},
    ("/api/v1/templates:preview", "post"): {"read", "write"},
    ("/api/v1/programs:check-name", "get"): {"write"},
    ("/api/v1/dead-letters/{at}", "get"): {"admin"},
    ("/api/v1/dead-letters:replay", "post"): {"admin"},
    ("/api/v1/dead-letters:purge", "post"): {"admin"},
    **{
        (f"/api/v1/programs/{{name}}/codes:{step}", "post"): {"redeem"}
        for step in ("activate", "deactivate", "hold", "release")
    },
    ("/api/v1/codes:activate", "post"): {"redeem"},
    ("/api/v1/orders/{order_id}", "get"): {"redeem"},
    **{(f"/api/v1/{path}", "get"): {"admin"} for path in ("workers", "lag", "promises")},
    ("/api/v1/promises:check", "post"): {"admin"},
    ("/api/v1/programs/{name}/remote/secrets", "get"): {"admin"},
    ("/api/v1/programs/{name}/remote/secrets:rotate", "post"): {"admin"},
    **{("/api/v1/tokens", method): {"admin"} for method in ("get", "post")},
    **{("/api/v1/tokens/{token_id}", method): {"admin"} for method in ("get", "delete")},
    ("/api/v1/webhooks", "post"): {"admin"},
    **{("/api/v1/webhooks/{webhook_id}", method): {"admin"} for method in ("patch", "delete")},
    **{
        (f"/api/v1/webhooks/{{webhook_id}}{step}", "post"): {"admin"}
        for step in (":test", ":replay", "/secrets:rotate", "/deliveries/{delivery_id}:resend")
    },
}


def operations() -> list[tuple[str, str]]:
    found = [(path, method) for path, methods in document()["paths"].items() for method in methods]
    assert len(found) >= 7
    return found


async def ask(client: httpx.AsyncClient, path: str, method: str, name: str = "SPRING") -> httpx.Response:
    given = {
        "code": "SPRING-AAAA",
        "place": "0:1:0",
        "at": "message-render:0:0",
        "import_id": NO_IMPORT,
        "change_id": NO_IMPORT,
        "id": "p-1",
        "token_id": 2**40,
        "reservation_id": 2**40,
        "order_id": "o-1",
        "webhook_id": 2**40,
        "delivery_id": 2**40,
    }
    url = path.format(name=name, **given).removeprefix("/api/v1")
    if path.endswith(("/imports", "/imports:preview")):
        return await client.request(method, url, files={"file": ("codes.csv", b"SPRING-0001")})
    return await client.request(method, url, params=QUERIES.get(path), json=BODIES.get(path))


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
    for path, method in operations():
        answer = await ask(client, path, method)
        is_problem(answer, 401, "Authorization: Bearer TOKEN")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    is_problem(await client.post("/programs", content=b"{"), 401)
    is_problem(await client.get("/nothing"), 401)


async def test_a_scope_opens_what_it_is_for_and_nothing_else(asked: Consoles) -> None:
    async with asked.owners.acquire() as connection:
        for scope in SCOPES:
            client = await asked.client(scope)
            for path, method in operations():
                needed = SCOPES_OF.get((path, method), {"read"} if method == "get" else {"write"})
                answer = await ask(client, path, method)
                if scope in needed | {"admin"}:
                    # These consoles have no Kafka, which knows lag and holds the dead letters.
                    without_kafka = {503} if "dead-letters" in path or path.endswith("/lag") else set()
                    assert answer.status_code in {200, 201, 202, 404, 409} | without_kafka, answer.text
                else:
                    is_problem(answer, 403, "scope", *needed)
            for table in ("template_version", "program_history"):
                await connection.execute(
                    f"DELETE FROM {table} WHERE program_id IN (SELECT id FROM program WHERE name = 'OTHER')"
                )
            await connection.execute("DELETE FROM program WHERE name = 'OTHER'")


async def test_a_program_of_another_group_is_as_if_it_were_not_there(asked: Consoles) -> None:
    stranger = await asked.client("admin", groups=["ours"])
    for path, method in operations():
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
    asked: Consoles, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells the two apart by the time it takes would be a statement more or less."""
    # A token that is read anew between the two would be one.
    monkeypatch.setattr(auth, "CACHE_TTL_S", 600)
    said: list[str] = []

    async def listen(connection: Connection) -> None:
        connection.add_query_logger(lambda record: said.append(record.query))

    def asks() -> list[str]:
        # The budget of misses is told and asked for as time goes by, when asyncpg may look up types too.
        passing = ("_miss", "typeinfo_tree", "set_config('jit'")
        return [query for query in said if not any(word in query for word in passing)]

    async with pool(database_url, "codewell-test", 1, listen) as own:
        api = create_console(own)
        stranger = await asked.client("admin", groups=["ours"], api=api)
        owner = await asked.client("admin", groups=["theirs"], api=api)
        for path, method in operations():
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
    # What is not below /api is a page, and a browser gets one.
    nothing = await client.get("http://console/nothing")
    assert (nothing.status_code, nothing.headers["content-type"]) == (404, "text/html; charset=utf-8")
