"""Sessions that ended and hidden tokens of none are deleted, by the generators, and nothing else is."""

from codewell.access import sessions, tokens
from codewell.infra.postgres.connection import Connection

PERSONS = [bytes([number]) * 32 for number in range(3)]


async def test_what_ended_is_deleted_and_what_is_in_use_stays(connection: Connection) -> None:
    made, _ = await tokens.create(connection, "shop", ["read"])
    hidden = [await sessions.make_token(connection, ["read"], [], person) for person in PERSONS]
    for token_id, kind in ((made.id, "token"), (hidden[0], "oidc"), (hidden[1], "oidc")):
        for name in ("old", "ended", "new"):
            await sessions.open_session(connection, kind, token_id, name)  # type: ignore[arg-type]
    await connection.execute("UPDATE session SET ends_at = now() - interval '25 hours' WHERE name = 'old'")
    await connection.execute(
        "UPDATE session SET ended_at = now() - interval '25 hours' WHERE name = 'ended' OR token_id = $1", hidden[1]
    )
    await connection.execute(
        "UPDATE token SET created_at = now() - interval '3 days', expires_at = now() - interval '25 hours'"
    )
    await connection.execute("INSERT INTO token_miss VALUES ($1, now() - interval '1 day', 3)", hidden[1])
    await connection.execute(
        "INSERT INTO idempotency (token_id, key, fingerprint, status, media_type, body) "
        "VALUES ($1, 'k', sha256(''), 201, 'application/json', '')",
        hidden[2],
    )

    # The sessions first, and then the token that none is left of.
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE codewell_generator")
        assert [await sessions.delete_ended(connection) for _ in range(3)] == [7, 1, 0]
    left = await connection.fetch("SELECT token_id, name FROM session ORDER BY token_id")
    assert [tuple(row) for row in left] == [(made.id, "new"), (hidden[0], "new")]
    assert [row["id"] for row in await connection.fetch("SELECT id FROM token ORDER BY id")] == [
        made.id, hidden[0], hidden[2],
    ]  # fmt: skip


async def test_a_person_has_one_token_as_long_as_the_rights_are_the_same(connection: Connection) -> None:
    first = await sessions.make_token(connection, ["read"], ["ours"], PERSONS[0])
    assert await sessions.make_token(connection, ["read"], ["ours"], PERSONS[0]) == first
    assert await sessions.make_token(connection, ["read"], ["theirs"], PERSONS[0]) != first
    assert await sessions.make_token(connection, ["read"], ["ours"], PERSONS[1]) != first
