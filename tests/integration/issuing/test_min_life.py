"""`min_life_at_attach`: a pooled code that expires too soon is not attached, by any way."""

from datetime import timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool.demand import LowPool, read_low_pool
from codewell.pool.fill import generate, needy_programs, top_up
from codewell.pool.levels import levels
from codewell.pool.minter_cache import Minters
from codewell.programs import overview, programs
from schemas.program import Program, ProgramChanges
from tests.support.factories import OFF, message, program
from tests.support.stock import codes

TEN_DAYS: dict[str, Any] = {"ttl": "P10D", "min_life_at_attach": "P3D"}
AGE = "UPDATE block SET expires_at = expires_at - $1::interval, created_at = created_at - $1::interval"


async def aged(connection: Connection, minters: Minters, days: int, **given: Any) -> Program:
    """A program whose ten codes have been in the pool for this many of their ten days."""
    made = await program(connection, minters, **TEN_DAYS | {"pool_max": 10} | given)
    await generate(connection, minters, made.id, 10, None)
    await connection.execute(AGE, timedelta(days=days))
    await connection.execute("UPDATE program_history SET held_from = held_from - $1::interval", timedelta(days=days))
    return made


async def test_a_code_with_less_life_stays_in_the_pool(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await aged(connection, minters, 8, **OFF)
    request = message("SPRING")
    [row] = (await claims.attach([request])).rows[request.id]
    assert row.code is None
    with pytest.raises(ProgramRefused, match="no code left"):
        await manual.attach(claims, "SPRING", "p-1", uuid7())
    stock = await overview.stock(connection, "SPRING")
    assert (stock.pooled, stock.attached) == (10, 0)
    await programs.update(connection, minters, "SPRING", {"min_life_at_attach": None}, 10)
    request = message("SPRING")
    [row] = (await claims.attach([request])).rows[request.id]
    assert row.code is not None
    assert await audit(connection) == []


async def test_a_code_with_enough_life_is_attached(connection: Connection, claims: Claims, minters: Minters) -> None:
    await aged(connection, minters, 6, **OFF)
    request = message("SPRING")
    assert codes((await claims.attach([request])).rows, [request]) != [None]
    assert await audit(connection) == []


async def test_a_named_code_with_less_life_is_refused(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await aged(connection, minters, 8, **OFF)
    text = (await minters.texts(connection, spring.id, 1, 0, 1))[0]
    with pytest.raises(ProgramRefused, match="less life left than min_life_at_attach"):
        await manual.attach_named(connection, minters, "SPRING", text, "p-1", uuid7())


async def test_new_codes_take_the_place_of_those_that_are_too_old(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await aged(connection, minters, 8)
    assert [level.pooled for level in await levels(connection, 10) if level.program == "SPRING"] == [0]
    assert await read_low_pool(connection, spring.id) == LowPool(0, is_urgent=True)
    assert await needy_programs(connection) == [spring.id]
    filled = await top_up(connection, minters, spring.id)
    assert filled is not None
    assert (filled.pooled, filled.made) == (0, 10)
    assert await needy_programs(connection) == []
    requests = [message("SPRING") for _ in range(11)]
    rows = (await claims.attach(requests)).rows
    # The last one is made for its request.
    assert len(set(codes(rows, requests)) - {None}) == 11
    assert (await connection.fetchval("SELECT count(*) FROM answer WHERE expires_at < now() + interval '9 days'")) == 0
    assert await audit(connection) == []


async def test_no_fill_adds_codes_to_a_block_that_is_too_old(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, pool_max=10, ttl="PT1H", min_life_at_attach="PT59M40S")
    await top_up(connection, minters, spring.id)
    # Younger than a hundredth of its lifetime.
    await connection.execute(AGE, timedelta(seconds=25))

    filled = [await top_up(connection, minters, spring.id) for _ in range(2)]

    assert [(one.pooled, one.made) for one in filled if one is not None] == [(0, 10), (10, 0)]
    assert await needy_programs(connection) == []


async def test_a_shared_code_that_is_too_old_for_new_profiles_is_followed_by_the_next_one(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await program(connection, minters, shared=True, **TEN_DAYS)
    requests = [message("SPRING", profile_id=f"p-{number}") for number in range(4)]
    [first] = codes((await claims.attach(requests[:1])).rows, requests[:1])
    assert codes((await claims.attach(requests[1:2])).rows, requests[1:2]) == [first]
    for table in ("block", "holding", "answer"):
        await connection.execute(f"UPDATE {table} SET expires_at = expires_at - interval '8 days'")
    later = codes((await claims.attach(requests[2:])).rows, requests[2:])
    assert len(set(later)) == 1
    assert first not in later


@pytest.mark.parametrize("fill", [top_up])
async def test_a_shared_program_with_a_lifetime_has_one_code_at_a_time(
    connection: Connection, claims: Claims, minters: Minters, fill: Any
) -> None:
    spring = await program(connection, minters, shared=True, ttl="P10D", codes_max=100, pool_max=100)
    for lifetime in range(3):
        # Made by the generator or by the request, whichever is first: one in each lifetime.
        for _ in range(3):
            await fill(connection, minters, spring.id)
        assert (await overview.stock(connection, "SPRING")).made == lifetime + 1
        requests = [message("SPRING", profile_id=f"p-{lifetime}-{number}") for number in range(5)]
        claimed = await claims.attach(requests)
        assert len(set(codes(claimed.rows, requests)) - {None}) == 1
        assert (await fill(connection, minters, spring.id)).made == 0
        assert await needy_programs(connection) == []
        for table in ("block", "holding", "answer"):
            await connection.execute(f"UPDATE {table} SET expires_at = expires_at - interval '11 days'")


async def test_the_next_shared_code_is_ready_before_the_present_one_ends(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, shared=True, ttl="P10D", codes_max=100, pool_max=100)
    await claims.attach([message("SPRING")])
    for table in ("block", "holding"):
        await connection.execute(f"UPDATE {table} SET expires_at = now() + interval '90 s'")
    assert await needy_programs(connection) == [spring.id]
    filled = await top_up(connection, minters, spring.id)
    assert filled is not None
    assert filled.made == 1


async def test_a_floor_as_long_as_the_lifetime_is_refused(connection: Connection, minters: Minters) -> None:
    with pytest.raises(ValueError, match="min_life_at_attach must be shorter than ttl"):
        await program(connection, minters, ttl="P3D", min_life_at_attach="P3D")
    await program(connection, minters, **TEN_DAYS)
    changes = ProgramChanges.model_validate({"ttl": "P2D"}).model_dump(exclude_unset=True)
    with pytest.raises(ValueError, match="min_life_at_attach must be shorter than ttl"):
        await programs.update(connection, minters, "SPRING", changes, 10)
