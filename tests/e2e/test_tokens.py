"""Tokens as an operator makes them."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.support.services import Services, running_services

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, kafka_bootstrap: str
) -> AsyncIterator[Services]:
    async with running_services(tmp_path_factory.mktemp("stack"), postgres_url, kafka_bootstrap) as running:
        (await running.run("token", "create", "first", "--scope", "admin")).is_done()
        yield running


async def status(stack: Services, secret: str, path: str = "/programs") -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        return (await client.get(f"{stack.api_url}/api/v1{path}")).status_code


async def test_a_token_is_made_listed_and_revoked(stack: Services) -> None:
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
    assert [one["name"] for one in listed] == ["first", "reports", "shop"]
    assert "token" not in listed[0]
    table = (await stack.run("token", "list")).is_done().out
    assert "all programs" in table
    assert made["token"] not in table

    assert (await stack.run("token", "revoke", "shop")).is_done().out == "Revoked token shop.\n"
    [ended] = (await stack.run("token", "revoke", str(made["id"]), "--json")).is_done().objects
    assert ended["revoked_at"] is not None
    assert [one["name"] for one in (await stack.run("token", "list", "--json")).objects] == ["first"]


async def test_what_is_refused(stack: Services) -> None:
    (await stack.run("token", "create", "first", "--scope", "read")).is_refused("first already")
    (await stack.run("token", "create", "two words", "--scope", "read")).is_refused("two words", "letters")
    (await stack.run("token", "create", "x", "--scope", "read", "--group", "two words")).is_refused("access group")
    (await stack.run("token", "revoke", "nobody")).is_refused("nobody", "codewell token list")
    (await stack.run("token", "create", "x")).is_wrong_usage("--scope")
    (await stack.run("token", "create", "x", "--scope", "read", "--expires-in", "soon")).is_wrong_usage("P90D")
    (await stack.run("token", "create", "x", "--scope", "read", "--expires-in", "-P1D")).is_refused("P90D")
    (await stack.run("token", "create", "x", "--scope", "all")).is_wrong_usage("redeem")
