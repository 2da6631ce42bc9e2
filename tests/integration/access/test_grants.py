"""The database grants no token more than the one that makes it has, whatever a console asks for."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import asyncpg
import pytest

from codewell.access import tokens
from codewell.access.tokens import Token
from codewell.errors import TokenRefused, TokenUnknown
from codewell.infra.postgres.connection import Connection, Pool, pool
from schemas.token import Scope
from tests.support.servers import as_role

HOUR = timedelta(hours=1)


@pytest.fixture
async def console(connections: Pool, database_url: str) -> AsyncIterator[Pool]:
    """Connections with a console's rights."""
    async with pool(as_role(database_url, "console"), "codewell-test", 2) as own:
        yield own


async def maker(
    connection: Connection, *scopes: Scope, groups: Sequence[str] = (), lifetime: timedelta | None = None
) -> Token:
    return (await tokens.create(connection, "maker", scopes, groups, lifetime))[0]


async def test_an_administrator_makes_every_token(console: Pool, connection: Connection) -> None:
    boss = await maker(connection, "admin")
    async with console.acquire() as own:
        made, secret = await tokens.grant(own, boss, "shop", tokens.SCOPES, ["ours"], HOUR)
    found = await tokens.authenticate(connection, tokens.hash_of(secret))
    assert found is not None
    assert found._replace(last_used=None) == made
    assert (made.scopes, made.groups) == (tokens.SCOPES, ("ours",))
    assert made.expires_at is not None
    assert made.expires_at - made.created_at == HOUR


@pytest.mark.parametrize(
    ("scopes", "groups", "lifetime", "asked", "words"),
    [
        (["write", "read", "redeem", "profiles"], [], None, (["read"],), "scope admin"),
        (["admin"], ["ours"], None, (["read"], []), "set groups to some of ours"),
        (["admin"], ["ours"], None, (["read"], ["ours", "theirs"]), "set groups to some of ours"),
        (["admin"], ["ours"], None, (["profiles"], ["ours"]), "lacks the scope profiles"),
        (["admin"], [], HOUR, (["read"],), "ends no later"),
        (["admin"], [], HOUR, (["read"], [], HOUR * 2), "ends no later"),
    ],
)
async def test_nothing_more_than_the_maker_has(
    console: Pool, connection: Connection, scopes: list[Scope], groups: list[str], lifetime: timedelta | None,
    asked: tuple[list[Scope], list[str], timedelta], words: str,
) -> None:  # fmt: skip
    own = await maker(connection, *scopes, groups=groups, lifetime=lifetime)
    async with console.acquire() as opened:
        with pytest.raises(TokenRefused, match=words) as raised:
            await tokens.grant(opened, own, "more", *asked)
    assert raised.value.reason == "grant_refused"
    assert [one.name for one in await tokens.list_all(connection)] == ["maker"]


async def test_as_much_as_the_maker_has(console: Pool, connection: Connection) -> None:
    own = await maker(connection, "admin", "profiles", groups=["ours", "theirs"], lifetime=HOUR)
    async with console.acquire() as opened:
        made, _ = await tokens.grant(opened, own, "same", ["admin", "profiles"], ["theirs"], HOUR / 2)
    assert made.groups == ("theirs",)


async def test_a_maker_that_is_not_in_force_makes_none(console: Pool, connection: Connection) -> None:
    own = await maker(connection, "admin", lifetime=HOUR)
    async with console.acquire() as opened:
        await connection.execute("UPDATE token SET created_at = now() - interval '2 h', expires_at = now()")
        with pytest.raises(TokenRefused, match="in force"):
            await tokens.grant(opened, own, "more", ["read"], [], HOUR)
        await connection.execute("UPDATE token SET expires_at = NULL, revoked_at = now()")
        with pytest.raises(TokenRefused, match="in force"):
            await tokens.grant(opened, own, "more", ["read"])
        with pytest.raises(TokenRefused, match="in force"):
            await tokens.grant(opened, own._replace(id=2**40), "more", ["read"])


async def test_a_maker_is_not_revoked_between_its_check_and_the_commit(console: Pool, connection: Connection) -> None:
    own = await maker(connection, "admin")
    async with console.acquire() as opened, opened.transaction():
        await tokens.grant(opened, own, "more", ["read"])
        await connection.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await tokens.revoke(connection, "maker")


async def test_where_the_functions_look_for_tables_is_not_for_their_caller_to_say(
    console: Pool, connection: Connection
) -> None:
    own = await maker(connection, "read")
    async with console.acquire() as opened:
        await opened.execute("CREATE TEMP TABLE token (LIKE public.token INCLUDING DEFAULTS)")
        await opened.execute(
            "INSERT INTO pg_temp.token (id, name, hash, scopes, groups) VALUES ($1, 'maker', '', '{admin}', '{}')",
            own.id,
        )
        with pytest.raises(TokenRefused, match="scope admin"):
            await tokens.grant(opened, own, "more", ["read"])
        await opened.execute("DROP TABLE pg_temp.token")


async def test_revoked_by_those_alone_who_may_see_it(console: Pool, connection: Connection) -> None:
    boss = await maker(connection, "admin")
    ours, _ = await tokens.create(connection, "ours", ["admin"], ["ours"])
    reader, _ = await tokens.create(connection, "reader", ["read"], ["ours"])
    both, _ = await tokens.create(connection, "both", ["read"], ["ours", "theirs"])
    async with console.acquire() as opened:
        for revoker, revoked in ((reader, reader), (reader, ours), (ours, boss), (ours, both)):
            with pytest.raises(TokenUnknown):
                await tokens.revoke_as(opened, revoker, revoked.id)
        assert (await tokens.revoke_as(opened, ours, reader.id)).name == "reader"
        with pytest.raises(TokenUnknown):
            await tokens.revoke_as(opened, ours, reader.id)
        assert (await tokens.revoke_as(opened, boss, ours.id)).name == "ours"
        with pytest.raises(TokenUnknown):
            await tokens.revoke_as(opened, ours, ours.id)
    assert [one.name for one in await tokens.list_all(connection)] == ["both", "maker"]


@pytest.mark.parametrize("role", ["issuer", "generator", "auditor"])
async def test_no_other_service_may_ask(connection: Connection, role: str) -> None:
    may = await connection.fetch(
        "SELECT proname FROM pg_proc WHERE proname IN ('grant_token', 'revoke_token') "
        "AND has_function_privilege($1, oid, 'EXECUTE')",
        f"codewell_{role}",
    )
    assert may == []
