"""The log of what people did: nothing in it is changed, and what was changed all the same is found."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor, ChainHead, record, recorded, verify
from codewell.infra.postgres.connection import Connection, Pool

ANNA = Actor("token", "anna")
BERT = Actor("command", "bert@host")
TABLES = ("audit_entry", "audit_chain")


async def write(connection: Connection, count: int) -> list[ChainHead]:
    """So many entries, each in a transaction of its own, and the head behind each."""
    heads = []
    for number in range(1, count + 1):
        await record(connection, ANNA, "program.update", "SPRING", changed=["title"], number=number)
        heads.append((await verify(connection)).head)
    return heads


async def tamper(connection: Connection, *statements: str) -> None:
    """What a superuser can do who switches the triggers off."""
    async with connection.transaction():
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        for statement in statements:
            await connection.execute(statement)
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
            await connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_kept")


async def test_who_did_what_and_when_by_the_clock_of_the_database(connection: Connection) -> None:
    before = await connection.fetchval("SELECT clock_timestamp()")
    await record(connection, BERT, "code.generate", "SPRING", count=5)
    await record(connection, ANNA, "token.create", token="ü\n€")
    latest, first = await audit_log.page(connection, 10)
    assert (first.place, first.via, first.actor, first.verb, first.program) == (1, *BERT, "code.generate", "SPRING")
    assert (first.details, latest.details, latest.program) == ({"count": 5}, {"token": "ü\n€"}, None)
    assert first.database_user == await connection.fetchval("SELECT session_user")
    assert before <= first.at <= latest.at < before + timedelta(seconds=60)
    assert (await verify(connection)).wrong is None


async def test_an_empty_log_is_whole(connection: Connection) -> None:
    assert await verify(connection) == (0, ChainHead(0, ""), None)


async def test_what_is_rolled_back_is_not_in_the_log_and_leaves_no_gap(connection: Connection) -> None:
    async def refused() -> None:
        raise LookupError

    await write(connection, 1)
    with pytest.raises(LookupError):
        await recorded(connection, ANNA, refused, "program.create")
    transaction = connection.transaction()
    await transaction.start()
    await record(connection, ANNA, "program.create")
    await transaction.rollback()
    await write(connection, 1)
    verdict = await verify(connection)
    assert (verdict.entries, verdict.wrong) == (2, None)


async def test_many_at_once_are_one_chain(connections: Pool) -> None:
    async def notes(number: int) -> None:
        for _ in range(20):
            async with connections.acquire() as own:
                await record(own, Actor("token", f"t{number}"), "code.delete", "SPRING", count=1)

    await asyncio.gather(*(notes(number) for number in range(8)))
    async with connections.acquire() as own:
        verdict = await verify(own)
    assert (verdict.entries, verdict.wrong) == (160, None)


async def test_who_takes_long_over_his_transaction_keeps_nobody_waiting(
    connection: Connection, connections: Pool
) -> None:
    async with connection.transaction():
        await record(connection, ANNA, "code.generate", count=100_000)
        async with connections.acquire() as other, asyncio.timeout(5):
            await record(other, BERT, "code.delete", count=1)
    # The order is that of the commits.
    assert [entry.actor for entry in await audit_log.page(connection, 10)] == ["anna", "bert@host"]
    assert (await verify(connection)).wrong is None


@pytest.mark.parametrize("replica", [False, True])
@pytest.mark.parametrize("table", TABLES)
async def test_nobody_changes_or_deletes_an_entry_not_even_the_owner(
    connection: Connection, table: str, replica: bool
) -> None:
    await write(connection, 1)
    if replica:
        await connection.execute("SET session_replication_role = replica")
    column = "actor" if table == "audit_entry" else "hash"
    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(statement)


FLIPPED = {
    "at": "at + interval '1 microsecond'",
    "via": "'command'",
    "actor": "'anne'",
    "database_user": "'nobody'",
    "verb": "'program.remove'",
    "program": "'AUTUMN'",
    "details": '\'{"changed": ["title"], "number": 4}\'',
}


@pytest.mark.parametrize(("column", "value"), FLIPPED.items())
async def test_a_changed_entry_is_found_whatever_of_it_is_changed(
    connection: Connection, column: str, value: str
) -> None:
    await write(connection, 5)
    columns = {row[0] for row in await connection.fetch("SELECT attname FROM pg_attribute WHERE attnum > 0 AND "
                                                        "attrelid = 'audit_entry'::regclass")}  # fmt: skip
    assert columns == {"id", *FLIPPED}
    await tamper(connection, f"UPDATE audit_entry SET {column} = {value} WHERE id = 3")
    verdict = await verify(connection)
    assert (verdict.entries, verdict.head.place) == (2, 2)
    assert verdict.wrong == "Entry 3 (id 3) or its hash was changed."


@pytest.mark.parametrize(
    ("statements", "wrong"),
    [
        (
            ["UPDATE audit_chain SET hash = set_byte(hash, 31, get_byte(hash, 31) # 1) WHERE place = 3"],
            "Entry 3 (id 3)",
        ),
        (["DELETE FROM audit_entry WHERE id = 3"], "Entry 3 (id 3) is missing, but its hash exists."),
        (["DELETE FROM audit_chain WHERE place = 3"], "Entry 3 is missing: the next one is 4."),
        (
            ["DELETE FROM audit_chain WHERE place = 3", "DELETE FROM audit_entry WHERE id = 3"],
            "Entry 3 is missing: the next one is 4.",
        ),
        (
            [
                "DELETE FROM audit_chain WHERE place = 3",
                "DELETE FROM audit_entry WHERE id = 3",
                "UPDATE audit_chain SET place = 3 WHERE place = 4",
                "UPDATE audit_chain SET place = 4 WHERE place = 5",
            ],
            "Entry 3 (id 4) or its hash was changed",
        ),
        (
            ["INSERT INTO audit_entry (via, actor, verb, details) VALUES ('token', 'eve', 'program.create', '{}')"],
            "The entry with id 6 is not in the chain",
        ),
        (
            [
                "INSERT INTO audit_entry (via, actor, verb, details) VALUES ('token', 'eve', 'program.create', '{}')",
                "INSERT INTO audit_chain VALUES (0, 6, sha256('eve'))",
            ],
            "Entry 1 is missing: the next one is 0.",
        ),
        (
            [
                "INSERT INTO audit_entry (via, actor, verb, details) VALUES ('token', 'eve', 'program.create', '{}')",
                "INSERT INTO audit_chain VALUES (6, 6, sha256('eve'))",
            ],
            "Entry 6 (id 6) or its hash was changed",
        ),
    ],
)
async def test_a_removed_or_inserted_row_is_found(connection: Connection, statements: list[str], wrong: str) -> None:
    await write(connection, 5)
    await tamper(connection, *statements)
    found = (await verify(connection)).wrong
    assert found is not None
    assert found.startswith(wrong)


async def test_the_last_entries_are_safe_by_a_head_that_was_kept(connection: Connection) -> None:
    heads = await write(connection, 5)
    for head in heads:
        assert (await verify(connection, head)).wrong is None
    await tamper(
        connection, "DELETE FROM audit_chain WHERE place > 3", "DELETE FROM audit_entry WHERE id > 3",
    )  # fmt: skip
    # By itself the rest is a whole log.
    assert (await verify(connection)).wrong is None
    assert (await verify(connection, heads[2])).wrong is None
    found = await verify(connection, heads[4])
    assert found.wrong == "The log ends at entry 3, but had 5: the last entries were removed."
    # Nor does it help to write others in their place.
    await write(connection, 2)
    found = await verify(connection, heads[4])
    assert (found.entries, found.wrong) == (
        5, "Entry 5 has another hash than the given head: it was rewritten.",
    )  # fmt: skip


async def test_entries_are_found_by_who_what_and_when(connection: Connection) -> None:
    for actor, verb, name in (
        (ANNA, "program.create", "SPRING"),
        (BERT, "program.remove", "AUTUMN"),
        (ANNA, "code.delete", "SPRING"),
    ):
        await record(connection, actor, verb, name)

    async def places(**filters: object) -> list[int]:
        return [entry.place for entry in await audit_log.page(connection, 10, **filters)]  # type: ignore[arg-type]

    assert await places() == [3, 2, 1]
    assert await places(before=3) == [2, 1]
    assert await places(actor="anna") == [3, 1]
    assert await places(program="AUTUMN") == [2]
    assert await places(verb="program") == [2, 1]
    assert await places(verb="program.remove") == [2]
    assert await places(verb="prog") == []
    [second] = await audit_log.page(connection, 1, 3)
    assert await places(since=second.at) == [3, 2]


async def test_what_can_not_be_told_apart_when_hashed_is_refused(connection: Connection) -> None:
    for actor, verb in (
        (Actor("token", "an\nna"), "program.create"),
        (ANNA, "program\ncreate"),
        (Actor("token", ""), "a.b"),
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await record(connection, actor, verb)
    assert "\n" not in audit_log.command_actor().actor
