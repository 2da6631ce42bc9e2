"""Sessions in force: each person sees and ends their own alone."""

from codewell.access import sessions
from codewell.access.sessions import Session
from codewell.access.tokens import hash_of
from codewell.infra.postgres.connection import Connection


async def session_of(connection: Connection, person: bytes, groups: list[str]) -> Session:
    token_id = await sessions.make_token(connection, ["read"], groups, person)
    secret = await sessions.open_session(connection, "oidc", token_id, "Anna Schmidt")
    found = await sessions.find(connection, hash_of(secret))
    assert found is not None
    return found


async def test_a_person_of_the_same_name_is_another_person(connection: Connection) -> None:
    mine = await session_of(connection, b"a" * 32, [])
    # With other rights, and so another token.
    before = await session_of(connection, b"a" * 32, ["shop"])
    theirs = await session_of(connection, b"b" * 32, [])
    assert {one.id for one in await sessions.entries(connection, mine, 10)} == {mine.id, before.id}
    assert await sessions.end_one(connection, theirs.id, mine) is None
    assert await sessions.end_others(connection, mine) == 1
    assert await sessions.in_force(connection, [mine.id, before.id, theirs.id]) == {mine.id, theirs.id}
    assert await sessions.end_one(connection, mine.id, mine) == "Anna Schmidt"
    assert {one.id for one in await sessions.entries(connection, None, 10)} == {theirs.id}
