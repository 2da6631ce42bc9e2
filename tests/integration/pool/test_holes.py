"""Blocks of texts, and codes that were deleted before anybody got them."""

import asyncio
from datetime import timedelta

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.minting.template import Template
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import OFF, TEMPLATE, message, program
from tests.support.stock import codes, delete_codes, list_block


async def test_texts_are_given_in_their_order_with_their_facts(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    texts = ["first", "second", "🎁", "a/b", "{loyalty.SPRING.promocode}"]
    block_id = await list_block(connection, spring.id, texts, lives=timedelta(days=1), fields='{"discount": "5"}')
    requests = [message("SPRING") for _ in range(5)]

    claimed = await claims.attach(requests)

    # A claim gives to requests in the order of their ids.
    rows = [claimed.rows[request.id][0] for request in sorted(requests, key=lambda request: request.id)]
    assert [(row.position, row.code) for row in rows] == list(enumerate(texts))
    assert {(row.block_id, row.fields) for row in rows} == {(block_id, '{"discount": "5"}')}
    assert {row.expires_at for row in rows} == {await connection.fetchval("SELECT expires_at FROM block")}
    assert await audit(connection) == []


@pytest.mark.parametrize("wanted", [1, 3, 7, 60])
async def test_holes_of_a_list_are_stepped_over(
    connection: Connection, claims: Claims, minters: Minters, wanted: int
) -> None:
    spring = await program(connection, minters, **OFF)
    block_id = await list_block(connection, spring.id, [f"X{n}" for n in range(50)])
    holes = [0, *range(10, 20), 22, 48, 49]
    await delete_codes(connection, block_id, holes)
    whole = [position for position in range(50) if position not in holes]

    places: list[tuple[int | None, str | None]] = []
    while len(places) < len(whole):
        requests = sorted((message("SPRING") for _ in range(wanted)), key=lambda request: request.id)
        claimed = await claims.attach(requests)
        rows = [claimed.rows[request.id][0] for request in requests]
        places += [(row.position, row.code) for row in rows if row.code]
        assert await audit(connection) == []

    assert places == [(position, f"X{position}") for position in whole]
    stock = await overview.stock(connection, "SPRING")
    assert (stock.imported, stock.attached, stock.deleted, stock.pooled) == (50, 36, 14, 0)


@pytest.mark.parametrize("wanted", [1, 4, 30])
async def test_holes_of_a_range_are_stepped_over(
    connection: Connection, claims: Claims, minters: Minters, wanted: int
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 20, None)
    minter = await minters.get(connection, spring.id, 1)
    holes = [0, 1, 5, 6, 7, 19]
    await delete_codes(connection, 1, holes)
    whole = [minter.mint(position, 1)[0] for position in range(20) if position not in holes]

    given: list[str] = []
    while len(given) < len(whole):
        requests = sorted((message("SPRING") for _ in range(wanted)), key=lambda request: request.id)
        claimed = await claims.attach(requests)
        given += [code for code in codes(claimed.rows, requests) if code]

    assert given == whole
    assert await audit(connection) == []


async def test_a_block_of_which_only_holes_are_left_is_closed(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    first = await list_block(connection, spring.id, ["A", "gone", "gone too"])
    only_holes = await list_block(connection, spring.id, ["never"])
    last = await list_block(connection, spring.id, ["B", "C"])
    await delete_codes(connection, first, [1, 2])
    await delete_codes(connection, only_holes, [0])
    requests = [message("SPRING") for _ in range(5)]

    claimed = await claims.attach(requests[:1])
    more = await claims.attach(requests[1:])

    assert codes(claimed.rows, requests[:1]) == ["A"]
    assert sorted(code or "" for code in codes(more.rows, requests[1:])) == ["", "", "B", "C"]
    rows = await connection.fetch("SELECT id, next, size, open FROM block ORDER BY id")
    assert [tuple(row) for row in rows] == [(first, 1, 3, False), (only_holes, 0, 1, False), (last, 2, 2, False)]
    assert await audit(connection) == []


async def test_a_pool_of_holes_is_empty(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await delete_codes(connection, await list_block(connection, spring.id, ["A", "B"]), [0, 1])
    request = message("SPRING")

    claimed = await claims.attach([request])

    assert "pool_empty" in (claimed.rows[request.id][0].refusals or "")
    assert await audit(connection) == []


async def test_lists_and_ranges_of_one_program_end_soonest_first(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, ttl="P2D", **OFF)
    await generate(connection, minters, spring.id, 2, None)
    await list_block(connection, spring.id, ["FOR-EVER"])
    await list_block(connection, spring.id, ["TOMORROW"], lives=timedelta(days=1))
    given = []
    for _ in range(4):
        request = message("SPRING")
        given += codes((await claims.attach([request])).rows, [request])

    assert (given[0], given[3]) == ("TOMORROW", "FOR-EVER")
    assert all(Template.parse(TEMPLATE).fits(code or "") for code in given[1:3])


async def test_a_hole_in_a_block_of_billions_costs_no_more_than_one_in_a_small_one(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "template", "template": "{safe 16}"}, codes_max=2**57)
    await generate(connection, minters, spring.id, 2**57, None)
    block_id, size = await connection.fetchrow("SELECT id, size FROM block ORDER BY id LIMIT 1")
    assert size > 10**14
    await delete_codes(connection, block_id, [1, 3])
    requests = [message("SPRING") for _ in range(3)]

    async with asyncio.timeout(30):
        claimed = await claims.attach(requests)

    assert {claimed.rows[request.id][0].position for request in requests} == {0, 2, 4}
