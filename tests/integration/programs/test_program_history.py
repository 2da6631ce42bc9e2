"""What held in a program when something happened: the audit judges by that, and not by what holds today."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres import migrations
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate, make_for_request, top_up
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import Source
from codewell.programs import overview, programs
from tests.support.factories import OFF, message, program, step
from tests.support.stock import codes

GUESSES_PER_S = 10.0
# The migration from which on settings are kept.
FIRST_HISTORY = 3
CHANGES: tuple[dict[str, Any], ...] = (
    {"active": False},
    {"active": True, "campaign_can_create": False},
    {"scenario_can_create": False},
    {"campaign_can_create": True, "scenario_can_create": True},
    {"valid_until": "2026-01-01T00:00:00Z"},
    {"valid_until": None, "valid_from": "2040-01-01T00:00:00Z"},
    {"valid_from": None},
)


async def history(connection: Connection) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT active, removed, campaign_can_create, scenario_can_create, valid_until IS NOT NULL AS ends, shared "
        "FROM program_history ORDER BY held_from"
    )
    return [tuple(row) for row in rows]


async def test_each_change_that_matters_is_noted_with_its_moment(connection: Connection, minters: Minters) -> None:
    await program(connection, minters)
    changes: list[dict[str, Any]] = [{"title": "T", "ttl": "P1D"}, {"campaign_can_create": False}, {"shared": True}]
    for changed in changes:
        await programs.update(connection, minters, "SPRING", changed, GUESSES_PER_S)
    await programs.set_active(connection, "SPRING", True)
    await programs.set_active(connection, "SPRING", False)
    await programs.update(connection, minters, "SPRING", {"valid_until": "2030-01-01T00:00:00Z"}, GUESSES_PER_S)
    await programs.remove(connection, "SPRING")

    assert await history(connection) == [
        (True, False, True, True, False, False),
        (True, False, False, True, False, False),
        (True, False, False, True, False, True),
        (False, False, False, True, False, True),
        (False, False, False, True, True, True),
        (False, True, False, True, True, True),
    ]
    first = "SELECT held_from = created_at FROM program_history h JOIN program p ON p.id = program_id ORDER BY h.id"
    assert await connection.fetchval(first)


async def test_making_codes_notes_nothing(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters)
    await top_up(connection, minters, spring.id)
    await claims.attach([message("SPRING")])

    assert len(await history(connection)) == 1


async def test_what_was_right_then_stays_right(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, shared=True)
    await top_up(connection, minters, spring.id)
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(3)])

    past = {"valid_until": "2026-01-01T00:00:00Z", "active": False, **OFF}
    await programs.update(connection, minters, "SPRING", past, GUESSES_PER_S)
    await connection.execute("UPDATE program SET shared = false")
    assert await audit(connection) == []
    await programs.remove(connection, "SPRING")
    assert await audit(connection) == []


async def test_a_shared_code_does_not_excuse_what_is_given_later(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, shared=True)
    await generate(connection, minters, spring.id, 10, None)
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(3)])
    await connection.execute("UPDATE program SET shared = false")
    requests = [message("SPRING", profile_id=f"q-{n}") for n in range(3)]

    given = codes((await claims.attach(requests)).rows, requests)

    assert len(set(given)) == 3
    assert await audit(connection) == []
    await connection.execute(
        "UPDATE answer SET code = 'SAME', answered_at = now() + interval '1 h' WHERE profile_id LIKE 'q-%'"
    )
    assert [finding.rule.promise for finding in await audit(connection)] == ["I1"]


async def test_a_claim_that_read_the_program_before_its_change_is_no_alarm(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    """The change is dated, and its commit takes a while: claims go by what held before, and are dated later."""
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 10, None)
    async with bystander.transaction():
        await bystander.execute("UPDATE program SET active = false")
        await bystander.execute("SET CONSTRAINTS program_settings_noted IMMEDIATE")
        request = message("SPRING")
        [code] = codes((await claims.attach([request])).rows, [request])
    assert code is not None
    assert await connection.fetchval("SELECT max(held_from) < (SELECT answered_at FROM answer) FROM program_history")
    assert await audit(connection) == []

    await connection.execute("UPDATE answer SET answered_at = answered_at + interval '10 min'")
    assert [finding.rule.promise for finding in await audit(connection)] == ["I6"]


@pytest.mark.parametrize("source", [Source.CAMPAIGN, Source.SCENARIO])
async def test_codes_made_in_place_say_for_whom(connection: Connection, minters: Minters, source: Source) -> None:
    spring = await program(connection, minters, codes_max=5_000, pool_max=2_000)
    await make_for_request(connection, minters, spring.id, source, 10, 1_000)

    async with connection.transaction():
        # Some of them are halves now, which say the same.
        await connection.execute("UPDATE block SET open = false WHERE id > 1")
        await top_up(connection, minters, spring.id)
    origins = await connection.fetch("SELECT DISTINCT origin, source FROM block WHERE origin <> 'pool'")

    assert [tuple(row) for row in origins] == [("request", source.value)]


async def test_changes_among_claims_and_fillings_raise_no_alarm(
    connection: Connection, connections: Pool, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, pool_max=40, codes_max=100_000)
    ended = asyncio.Event()

    async def change() -> None:
        async with connections.acquire() as one:
            for turn in range(70):
                await programs.update(one, minters, "SPRING", CHANGES[turn % len(CHANGES)], GUESSES_PER_S)
        ended.set()

    async def claim(worker: Claims) -> None:
        while not ended.is_set():
            await worker.attach([request for _ in range(10) for request in (message("SPRING"), step("SPRING"))])

    async def fill() -> None:
        async with connections.acquire() as one:
            while not ended.is_set():
                await top_up(one, minters, spring.id)

    async with asyncio.TaskGroup() as group:
        for work in (change(), claim(claims), claim(others), fill()):
            group.create_task(work)

    stock = await overview.stock(connection, "SPRING")
    assert stock.attached > 0
    assert await connection.fetchval("SELECT count(*) FROM answer WHERE refusals IS NOT NULL") > 0
    assert len(await history(connection)) == 71
    assert await audit(connection) == []


async def test_programs_from_before_have_the_settings_they_had(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    before = [migration for migration in migrations.load_migrations() if migration.number < FIRST_HISTORY]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "load_migrations", lambda: before)
        # Most tables that the roles have rights to are not there yet.
        patch.setattr(migrations, "load_roles", lambda: "SELECT")
        await migrations.migrate(connection)
    await connection.execute(
        "INSERT INTO program (name, title, description, groups, active, source, scenario_can_create, "
        "campaign_can_create, shared, codes_max, pool_max, ttl_from, fields, reuse, allow_guessable, "
        "created_at) VALUES ('OLD', '', '', '{}', false, '{}', true, false, true, 1, 1, 'creation', '[]', "
        "'request', true, now() - interval '1 d')"
    )
    await migrations.migrate(connection)

    assert await history(connection) == [(False, False, False, True, False, True)]
    age = await connection.fetchval("SELECT now() - held_from FROM program_history")
    await connection.close()
    assert age >= timedelta(days=1)
