"""Codes made for profiles: one each, in the transaction that makes them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import assigned
from codewell.issuing.assignments import assign
from codewell.issuing.claim import Claims
from codewell.issuing.model import AssignmentKey, PooledCode
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import OFF, message, program
from tests.support.stock import until_waiting


async def generate_for(connection: Connection, minters: Minters, program_id: int, profiles: list[str]) -> None:
    ids = (uuid7() for _ in profiles)
    await assigned.generate_for(connection, minters, program_id, profiles, ids, '{"discount": "10"}')


async def given(connection: Connection) -> list[Any]:
    return list(await connection.fetch("SELECT * FROM answer ORDER BY request_id"))


@pytest.mark.parametrize("ttl_from", ["creation", "attachment"])
async def test_each_profile_gets_a_code_of_its_own(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch, ttl_from: str
) -> None:
    monkeypatch.setattr(assigned, "ROWS_MAX", 7)
    monkeypatch.setattr(assigned, "BLOCK_SIZE_MAX", 20)
    spring = await program(connection, minters, ttl="P1D", ttl_from=ttl_from, **OFF)
    await generate(connection, minters, spring.id, 5, None)
    profiles = [f"p-{number}" for number in range(50)]

    await generate_for(connection, minters, spring.id, profiles)

    rows = await given(connection)
    assert [row["profile_id"] for row in rows] == profiles
    assert len({row["code"] for row in rows}) == 50
    assert {row["expires_at"] - row["answered_at"] for row in rows} == {timedelta(days=1)}
    assert {row["fields"] for row in rows} == {'{"discount": "10"}'}
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.pooled, stock.attached) == (55, 5, 50)
    assert await audit(connection) == []


async def test_what_was_made_for_profiles_is_given_to_nobody_else(
    connection: Connection, minters: Minters, claims: Claims
) -> None:
    spring = await program(connection, minters, codes_max=10, pool_max=10)
    await generate_for(connection, minters, spring.id, ["p-1", "p-2", "p-3"])

    claimed = await claims.attach([message("SPRING", profile_id=f"q-{number}") for number in range(8)])

    assert len({row.code for rows in claimed.rows.values() for row in rows if row.code}) == 7
    assert await audit(connection) == []


async def test_a_profile_keeps_the_code_that_it_had_first_and_gets_that_again(
    connection: Connection, minters: Minters, claims: Claims
) -> None:
    spring = await program(connection, minters, reuse="profile")
    asked = message("SPRING", profile_id="p-1")
    [first] = (await claims.attach([asked])).rows[asked.id]

    await generate_for(connection, minters, spring.id, ["p-1", "p-2"])

    again, new = message("SPRING", profile_id="p-1"), message("SPRING", profile_id="p-2")
    rows = (await claims.attach([again, new])).rows
    made = {row["profile_id"]: row["code"] for row in await given(connection) if row["fields"]}
    assert [rows[again.id][0].code, rows[new.id][0].code] == [first.code, made["p-2"]]
    assert await audit(connection) == []


@pytest.mark.parametrize(
    ("changed", "setting", "profiles", "sentence"),
    [
        ({}, "active = false", ["p-1"], "is switched off"),
        ({}, "valid_until = now()", ["p-1"], "has ended"),
        ({"codes_max": 2, "pool_max": 1}, "active", ["p-1", "p-2", "p-3"], "room for 2 more"),
        ({"shared": True}, "active", ["p-1"], "share one code"),
        ({"source": {"kind": "import"}}, "active", ["p-1"], "are imported: import them"),
        ({}, "active", ["p-1", "p-2", "p-1"], "Profile 3 of the list is in it twice"),
    ],
)
async def test_what_the_rules_forbid_makes_nothing(
    connection: Connection, minters: Minters, changed: dict[str, Any], setting: str, profiles: list[str], sentence: str
) -> None:
    switches = OFF if "source" in changed else {}
    spring = await program(connection, minters, **{**switches, **changed})
    if setting != "active":
        await connection.execute(f"UPDATE program SET {setting}")

    with pytest.raises(ProgramRefused, match=sentence):
        await generate_for(connection, minters, spring.id, profiles)

    assert (await overview.stock(connection, "SPRING")).made == 0
    assert await given(connection) == []


async def test_a_template_without_enough_texts_makes_nothing(connection: Connection, minters: Minters) -> None:
    source = {"kind": "template", "template": "{number 1}"}
    spring = await program(connection, minters, source=source, codes_max=10, pool_max=1)
    await generate(connection, minters, spring.id, 5, None)
    # Numbers that were left out, as an older template had their texts.
    await connection.execute("UPDATE template_version SET next_number = 8, skipped = 3")

    with pytest.raises(ProgramRefused, match="has 2 unused texts left"):
        await generate_for(connection, minters, spring.id, ["p-1", "p-2", "p-3"])

    assert await given(connection) == []


async def test_a_program_that_links_wants_to_know_whom(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, auto_link=True)

    with pytest.raises(ProgramRefused, match="give the profiles that get them"):
        await generate(connection, minters, spring.id, 1, None)
    await generate_for(connection, minters, spring.id, ["p-1"])

    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached) == (1, 1)
    assert await audit(connection) == []


async def test_claims_and_codes_made_for_the_same_profiles_wait_in_one_order(
    connection: Connection, connections: Pool, bystander: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigned, "ROWS_MAX", 1)
    spring = await program(connection, minters, reuse="profile", **OFF)
    code = PooledCode(0, 0, "of another", None, None)
    claim = bystander.transaction()
    await claim.start()
    await assign(bystander, {AssignmentKey(spring.id, "p-1", ""): code})
    async with connections.acquire() as one:
        made = asyncio.ensure_future(generate_for(one, minters, spring.id, ["p-9", "p-1"]))
        await until_waiting(connection)

        # What is made for p-9 is not in the way of the claim that made p-1 wait.
        assert await assign(bystander, {AssignmentKey(spring.id, "p-9", ""): code}) == 1

        await claim.rollback()
        await made
    held = await connection.fetch("SELECT profile_id FROM holding ORDER BY 1")
    assert [row["profile_id"] for row in held] == ["p-1", "p-9"]
    assert await audit(connection) == []
