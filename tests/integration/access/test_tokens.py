from datetime import timedelta

import asyncpg
import pytest

from codewell.access import tokens
from codewell.access.tokens import Token
from codewell.errors import TokenRefused
from codewell.infra.postgres.connection import Connection
from schemas.token import Scope


async def test_a_secret_is_kept_as_a_hash_only(connection: Connection) -> None:
    made, secret = await tokens.create(connection, "shop", ["redeem", "read", "read"], ["ours", "ours"])
    assert secret.startswith("cw_")
    assert len(secret) == len("cw_") + 43
    assert (made.scopes, made.groups) == (("redeem", "read"), ("ours",))
    row = await connection.fetchrow("SELECT * FROM token")
    assert secret not in str(dict(row))
    assert row["hash"] == tokens.hash_of(secret)
    found = await tokens.authenticate(connection, tokens.hash_of(secret))
    assert found is not None
    assert found.id == made.id
    assert await tokens.authenticate(connection, tokens.hash_of(secret + "x")) is None


async def test_a_token_ends_by_itself_by_the_clock_of_the_database(connection: Connection) -> None:
    made, secret = await tokens.create(connection, "shop", ["read"], (), timedelta(hours=1))
    assert made.expires_at is not None
    assert made.expires_at - made.created_at == timedelta(hours=1)
    assert await tokens.authenticate(connection, tokens.hash_of(secret)) is not None
    hour = "interval '1 hour'"
    await connection.execute(f"UPDATE token SET expires_at = expires_at - {hour}, created_at = created_at - {hour}")
    assert await tokens.authenticate(connection, tokens.hash_of(secret)) is None
    # Its name is another's when it is revoked.
    with pytest.raises(TokenRefused, match="shop already"):
        await tokens.create(connection, "shop", ["read"])
    await tokens.revoke(connection, "shop")
    await tokens.create(connection, "shop", ["read"])


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-1), timedelta(days=40_000)])
async def test_lifetimes_that_can_not_be(connection: Connection, lifetime: timedelta) -> None:
    with pytest.raises(TokenRefused, match="P90D for 90 days"):
        await tokens.create(connection, "shop", ["read"], (), lifetime)


async def test_secrets_differ(connection: Connection) -> None:
    made = [await tokens.create(connection, f"t{number}", ["read"]) for number in range(20)]
    assert len({secret for _, secret in made}) == 20


async def test_revoked_by_name_or_id_and_the_name_is_free_again(connection: Connection) -> None:
    first, secret = await tokens.create(connection, "shop", ["read"])
    assert (await tokens.revoke(connection, "shop")).id == first.id
    assert await tokens.authenticate(connection, tokens.hash_of(secret)) is None
    second, _ = await tokens.create(connection, "shop", ["read"])
    assert (await tokens.revoke(connection, str(second.id))).name == "shop"
    assert await tokens.list_all(connection) == []
    for gone in ("shop", str(second.id), "0", "9" * 30, "²", "", "nobody"):
        with pytest.raises(TokenRefused, match="There is no active token"):
            await tokens.revoke(connection, gone)


@pytest.mark.parametrize("name", ["", "1", "7up", "two words", "x" * 65, "a\n", "ü", "-a"])
async def test_names_that_can_not_be(connection: Connection, name: str) -> None:
    with pytest.raises(TokenRefused, match="is not a valid token name"):
        await tokens.create(connection, name, ["read"])


async def test_what_else_can_not_be(connection: Connection) -> None:
    with pytest.raises(TokenRefused, match="access group"):
        await tokens.create(connection, "shop", ["read"], ["two words"])
    with pytest.raises(asyncpg.CheckViolationError):
        await tokens.create(connection, "shop", [])
    await tokens.create(connection, "shop", ["read"])
    with pytest.raises(TokenRefused, match="shop already"):
        await tokens.create(connection, "shop", ["write"])


async def test_replaced_by_one_with_another_secret(connection: Connection) -> None:
    old, new = [await tokens.replace(connection, "standalone", ["admin"]) for _ in range(2)]
    assert await tokens.authenticate(connection, tokens.hash_of(old)) is None
    found = await tokens.authenticate(connection, tokens.hash_of(new))
    assert found is not None
    assert found.may("write")
    assert [one.name for one in await tokens.list_all(connection)] == ["standalone"]


async def test_last_use_is_noted_to_the_hour(connection: Connection) -> None:
    _, secret = await tokens.create(connection, "shop", ["read"])

    async def used() -> Token:
        await tokens.authenticate(connection, tokens.hash_of(secret))
        [token] = await tokens.list_all(connection)
        return token

    first = (await used()).last_used
    assert first is not None
    assert (await used()).last_used == first
    await connection.execute("UPDATE token SET last_used = last_used - interval '61 minutes'")
    again = (await used()).last_used
    assert again is not None
    assert again >= first > again - timedelta(hours=1)


def token(*scopes: Scope, groups: tuple[str, ...] = ()) -> Token:
    return Token(1, "t", scopes, groups, None, None, None)  # type: ignore[arg-type]


def test_scopes_and_groups() -> None:
    assert token("read").may("read")
    assert token("read").may("redeem", "read")
    assert not token("read", "write").may("redeem")
    assert all(token("admin").may(scope) for scope in tokens.SCOPES)
    assert token("read").sees([])
    assert token("read").sees(["theirs"])
    assert token("read", groups=("ours", "b")).sees(["a", "b"])
    assert not token("read", groups=("ours",)).sees(["theirs"])
    assert not token("admin", groups=("ours",)).sees([])
