"""The generator's part: pools filled to their mark, from whatever state they are in."""

import asyncio
from datetime import timedelta

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import FillResult, generate, level, make_for_request, needy_programs, top_up
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import Source
from codewell.programs import overview
from tests.support.factories import OFF, message, program
from tests.support.stock import attach_all, codes, list_block


async def test_a_pool_is_filled_to_its_mark_and_no_further(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, pool_max=1_000)

    assert await top_up(connection, minters, spring.id) == FillResult("SPRING", 0, 1_000)
    assert await top_up(connection, minters, spring.id) == FillResult("SPRING", 1_000, 0)
    await claims.attach([message("SPRING") for _ in range(150)])
    assert await top_up(connection, minters, spring.id) == FillResult("SPRING", 850, 150)

    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.pooled, stock.attached) == (1_150, 1_000, 150)
    assert await connection.fetchval("SELECT DISTINCT origin FROM block") == "pool"
    assert await audit(connection) == []


async def test_a_pool_is_never_filled_past_the_maximum(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=120, pool_max=100)
    await list_block(connection, spring.id, [f"X{n}" for n in range(30)])

    first = await top_up(connection, minters, spring.id)
    await attach_all(claims, [message("SPRING") for _ in range(90)])
    second = await top_up(connection, minters, spring.id)
    third = await top_up(connection, minters, spring.id)

    assert (first, second, third) == (
        FillResult("SPRING", 30, 70),
        FillResult("SPRING", 10, 20),
        FillResult("SPRING", 30, 0),
    )
    stock = await overview.stock(connection, "SPRING")
    assert stock.made + stock.imported == stock.codes_max == 120
    assert await audit(connection) == []


async def test_a_program_that_is_not_there_has_no_pool(connection: Connection, minters: Minters) -> None:
    assert await top_up(connection, minters, 4_711) is None


@pytest.mark.parametrize("kind", ["top_up", "mixed"])
async def test_ten_at_once_make_no_code_too_many(
    connection: Connection, connections: Pool, minters: Minters, kind: str
) -> None:
    spring = await program(connection, minters, codes_max=1_500, pool_max=1_000)

    async def fill(number: int) -> None:
        async with connections.acquire() as one:
            if kind == "top_up" or number % 3 == 0:
                await top_up(one, minters, spring.id)
            elif number % 3 == 1:
                await make_for_request(one, minters, spring.id, Source.CAMPAIGN, 700, 5_000)
            else:
                await generate(one, minters, spring.id, 100, None)

    await asyncio.gather(*(fill(number) for number in range(10)))
    stock = await overview.stock(connection, "SPRING")

    if kind == "top_up":
        assert stock.made == 1_000
    else:
        # Three times 100 were asked for; the pool's mark may have been reached before them or by them.
        assert 1_000 <= stock.made <= 1_300
    assert await audit(connection) == []


async def test_many_fillers_reach_the_maximum_exactly(
    connection: Connection, connections: Pool, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=400, pool_max=90)

    async def fill() -> None:
        for _ in range(10):
            async with connections.acquire() as one:
                await top_up(one, minters, spring.id)

    batches = [[message("SPRING") for _ in range(30)] for _ in range(14)]
    results = await asyncio.gather(
        *(attach_all((claims, others)[number % 2], batch) for number, batch in enumerate(batches)),
        *(fill() for _ in range(3)),
    )

    given = [code for batch, rows in zip(batches, results, strict=False) if rows for code in codes(rows, batch) if code]
    assert len(given) == len(set(given)) == 400
    assert (await overview.stock(connection, "SPRING")).made == 400
    assert await audit(connection) == []


@pytest.mark.parametrize(
    "setting",
    [
        "campaign_can_create = false, scenario_can_create = false",
        "valid_from = now() + interval '1 h'",
        "valid_until = now()",
        "active = false",
        "removed_at = now()",
    ],
)
async def test_a_program_that_may_make_nothing_is_left_alone(
    connection: Connection, minters: Minters, setting: str
) -> None:
    spring = await program(connection, minters)
    await connection.execute(f"UPDATE program SET {setting}")

    assert await needy_programs(connection) == []
    assert await top_up(connection, minters, spring.id) == FillResult("SPRING", 0, 0)
    await make_for_request(connection, minters, spring.id, Source.CAMPAIGN, 10, 1_000)
    await make_for_request(connection, minters, spring.id, Source.SCENARIO, 10, 1_000)
    assert (await overview.stock(connection, "SPRING")).made == 0


async def test_codes_are_made_in_place_only_for_a_source_that_may(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, campaign_can_create=False, pool_max=10)

    await make_for_request(connection, minters, spring.id, Source.CAMPAIGN, 5, 1_000)
    assert (await overview.stock(connection, "SPRING")).made == 0
    await make_for_request(connection, minters, spring.id, Source.SCENARIO, 25, 1_000)
    assert (await overview.stock(connection, "SPRING")).made == 25
    # Somebody else was quicker: what is wanted is there.
    await make_for_request(connection, minters, spring.id, Source.SCENARIO, 25, 1_000)
    assert (await overview.stock(connection, "SPRING")).made == 25


@pytest.mark.parametrize("may", [True, False])
async def test_expired_blocks_are_retired_and_made_up_for(
    connection: Connection, claims: Claims, minters: Minters, may: bool
) -> None:
    spring = await program(connection, minters, pool_max=100, ttl="P1D", **({} if may else OFF))
    await generate(connection, minters, spring.id, 60, None)
    await claims.attach([message("SPRING") for _ in range(10)])
    await list_block(connection, spring.id, ["DEAD"], lives=timedelta(seconds=-1))
    await connection.execute("UPDATE block SET expires_at = now()")
    assert await needy_programs(connection) == [spring.id]

    filled = await top_up(connection, minters, spring.id)

    assert filled == FillResult("SPRING", 0, 100 if may else 0)
    stock = await overview.stock(connection, "SPRING")
    assert (stock.pooled, stock.expired, stock.attached) == (filled.made, 51, 10)
    assert await connection.fetchval("SELECT count(*) FROM block WHERE open AND expires_at <= now()") == 0
    assert await needy_programs(connection) == []
    assert await audit(connection) == []


async def test_an_expired_block_in_use_is_retired_by_the_next_look(
    connection: Connection, bystander: Connection, minters: Minters
) -> None:
    """A look waits for no block: whoever has it may be slow, and the pool is filled all the same."""
    spring = await program(connection, minters, pool_max=10)
    await list_block(connection, spring.id, ["DEAD"], lives=timedelta(seconds=-1))
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block FOR UPDATE")
        filled = await top_up(connection, minters, spring.id)

    assert filled == FillResult("SPRING", 0, 10)
    assert await needy_programs(connection) == [spring.id]
    await top_up(connection, minters, spring.id)
    assert await needy_programs(connection) == []


async def test_a_life_from_creation_ends_the_blocks_life_too(connection: Connection, minters: Minters) -> None:
    for name, ttl_from in (("CREATION", "creation"), ("ATTACHMENT", "attachment")):
        made = await program(connection, minters, name, ttl="P10D", ttl_from=ttl_from)
        await top_up(connection, minters, made.id)
    rows = await connection.fetch(
        "SELECT name, expires_at - block.created_at AS life FROM block JOIN program p ON p.id = program_id"
    )

    assert {(row["name"], row["life"]) for row in rows} == {("CREATION", timedelta(days=10)), ("ATTACHMENT", None)}


async def test_a_block_that_expires_while_the_program_is_waited_for_is_not_counted(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 30, None)
    async with connection.transaction():
        # The transaction has begun before the block expires, as one has that waits for a lock.
        await connection.execute("UPDATE block SET expires_at = clock_timestamp()")

        _, pooled, blocks = await level(connection, spring.id)

    assert (pooled, blocks) == (0, 0)
