"""Tokens as an operator makes them, and the one that a stack makes for itself."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.commands import Stack, running_stack

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="a stack that is left behind ends with the test on Linux only"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / "home"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(home: Path) -> AsyncIterator[Stack]:
    async with running_stack(home) as running:
        yield running


async def status(stack: Stack, secret: str, path: str = "/programs") -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        return (await client.get(f"{stack.endpoints['api_url']}/api/v1{path}")).status_code


async def test_a_token_is_made_listed_and_revoked(stack: Stack) -> None:
    said = (await stack.run("token", "create", "shop", "--scope", "redeem", "--group", "ours")).is_done()
    first = said.out.splitlines()[-1]
    assert first.startswith("cw_")
    assert await status(stack, first) == 403
    assert await status(stack, first, "/programs/NOBODY/codes/x") == 404

    [made] = (await stack.run("token", "create", "reports", "--scope", "read", "--scope", "write", "--expires-in",
                              "P90D", "--json")).objects  # fmt: skip
    assert made["expires_at"] > made["created_at"]
    assert (made["name"], made["scopes"], made["groups"]) == ("reports", ["read", "write"], [])
    assert await status(stack, made["token"]) == 200

    listed = (await stack.run("token", "list", "--json")).is_done().objects
    assert [one["name"] for one in listed] == ["reports", "shop", "standalone"]
    assert "token" not in listed[0]
    table = (await stack.run("token", "list")).is_done().out
    assert "all programs" in table
    assert made["token"] not in table

    assert (await stack.run("token", "revoke", "shop")).is_done().out == "Revoked token shop.\n"
    [ended] = (await stack.run("token", "revoke", str(made["id"]), "--json")).is_done().objects
    assert ended["revoked_at"] is not None
    assert [one["name"] for one in (await stack.run("token", "list", "--json")).objects] == ["standalone"]


async def test_what_is_refused(stack: Stack) -> None:
    (await stack.run("token", "create", "standalone", "--scope", "read")).is_refused("standalone already")
    (await stack.run("token", "create", "two words", "--scope", "read")).is_refused("two words", "letters")
    (await stack.run("token", "create", "x", "--scope", "read", "--group", "two words")).is_refused("access group")
    (await stack.run("token", "revoke", "nobody")).is_refused("nobody", "codewell token list")
    (await stack.run("token", "create", "x")).is_wrong_usage("--scope")
    (await stack.run("token", "create", "x", "--scope", "read", "--expires-in", "soon")).is_wrong_usage("P90D")
    (await stack.run("token", "create", "x", "--scope", "read", "--expires-in", "-P1D")).is_refused("P90D")
    (await stack.run("token", "create", "x", "--scope", "all")).is_wrong_usage("redeem")


async def test_a_stack_says_where_its_admin_token_is_and_it_works(stack: Stack) -> None:
    secret = stack.endpoints["admin_token"]
    assert f"admin_token in {stack.home / 'endpoints.json'}" in stack.said
    assert secret not in stack.said
    async with httpx.AsyncClient(trust_env=False, base_url=stack.endpoints["api_url"]) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/api/v1/programs")).status_code == 401
        client.headers["Authorization"] = f"Bearer {secret}"
        program = {
            "name": "HTTP",
            "source": {"kind": "template", "template": "{safe 12}"},
            "codes_max": 100,
            "campaign_can_create": True,
        }
        assert (await client.post("/api/v1/programs", json=program)).status_code == 201
    answers = (await stack.run("send", "message-render", "p-1", "--program", "HTTP", "--json")).is_done().objects
    assert answers[0]["outcome"] == "attached"


async def test_the_next_stack_has_a_token_of_its_own(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        async with running_stack(tmp_path / "home") as stack:
            secrets.append(stack.endpoints["admin_token"])
            assert await status(stack, secrets[-1]) == 200
            if len(secrets) == 2:
                assert await status(stack, secrets[0]) == 401
                assert [one["name"] for one in (await stack.run("token", "list", "--json")).objects] == ["standalone"]
