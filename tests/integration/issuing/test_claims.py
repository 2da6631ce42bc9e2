import json
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.minting.template import Template
from codewell.pool.demand import LowPool
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import TEMPLATE, message, program, step
from tests.support.stock import codes, reasons


async def test_a_batch_gets_a_code_for_each_request(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 1_000, '{"discount": "10"}')
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(300)]
    requests += [step("SPRING", profile_id=f"p-{n}") for n in range(300)]

    claimed = await claims.attach(requests)

    given = codes(claimed.rows, requests)
    assert len(set(given)) == 600
    assert all(Template.parse(TEMPLATE).fits(code or "") for code in given)
    assert {row.profile_id for rows in claimed.rows.values() for row in rows} == {f"p-{n}" for n in range(300)}
    assert {row.fields for rows in claimed.rows.values() for row in rows} == {'{"discount": "10"}'}
    assert (claimed.waiting, claimed.undecidable) == ([], {})
    assert claims.names == {spring.id: "SPRING"}
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.pooled, stock.attached) == (1_000, 400, 600)
    assert await audit(connection) == []


@pytest.mark.parametrize("new_id", [uuid7, uuid4])
async def test_the_same_ids_get_the_same_rows(
    connection: Connection, claims: Claims, others: Claims, minters: Minters, new_id: Callable[[], UUID]
) -> None:
    spring = await program(connection, minters, ttl="P30D")
    await generate(connection, minters, spring.id, 100, '{"discount": "10"}')
    requests = [message("SPRING", request_id=new_id(), profile_id=f"p-{n}") for n in range(20)]
    requests += [message("NOPE", request_id=new_id()), message("SPRING", request_id=new_id(), preview=True)]
    new = [message("SPRING", request_id=new_id()) for _ in range(5)]
    first = await claims.attach(requests)

    again = await claims.attach(reversed(requests))
    mixed = await others.attach([*new[:2], *requests[::3], *new[2:], requests[0]])

    assert again.rows == first.rows
    assert {request.id: mixed.rows[request.id] for request in requests[::3]} == {
        request.id: first.rows[request.id] for request in requests[::3]
    }
    assert len(set(codes(mixed.rows, new)) - set(codes(first.rows, requests[:20]))) == 5
    assert (await overview.stock(connection, "SPRING")).attached == 25
    # Whoever only answers again must know the names of the programs too.
    assert others.names == {spring.id: "SPRING"}
    assert await audit(connection) == []


async def test_an_id_that_comes_twice_in_a_batch_is_one_request(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 10, None)
    request = message("SPRING")
    copy = message("SPRING", request_id=request.id, profile_id="p-2")

    claimed = await claims.attach([request, message("SPRING"), request, copy])

    assert len(claimed.rows) == 2
    # Of copies the first one counts, as it does when the others come later.
    assert [row.profile_id for row in claimed.rows[request.id]] == ["p-1"]
    assert (await overview.stock(connection, "SPRING")).attached == 2
    assert await audit(connection) == []


async def test_a_refusal_stays_one_in_the_same_words(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, campaign_can_create=False)
    request = message("SPRING", "NOPE")
    refused = await claims.attach([request])
    await program(connection, minters, "NOPE")
    await generate(connection, minters, spring.id, 10, None)

    again = await claims.attach([request])

    assert again.rows == refused.rows
    sentences = "No program has the short name NOPE. Check its spelling."
    assert json.loads(reasons(again.rows[request.id])) == [
        {"program": "NOPE", "reason": "program_unknown", "detail": sentences}
    ]


async def test_sixteen_programs_give_a_code_each(connection: Connection, claims: Claims, minters: Minters) -> None:
    names = [f"P{n}" for n in range(16)]
    ids = {name: (await program(connection, minters, name)).id for name in names}
    for program_id in ids.values():
        await generate(connection, minters, program_id, 3, None)
    wanted = [names, names[::-1], [*names[8:], *names[:8]]]
    requests = [message(*order) for order in wanted]

    claimed = await claims.attach(requests)

    assert await claims.attach(requests) == claimed
    for request, order in zip(requests, wanted, strict=True):
        rows = claimed.rows[request.id]
        assert [row.program_id for row in rows] == [ids[name] for name in order]
        assert [row.ordinal for row in rows] == list(range(16))
    assert len({(row.program_id, row.code) for rows in claimed.rows.values() for row in rows}) == 48
    assert await audit(connection) == []


@pytest.mark.parametrize("order", [("FULL", "EMPTY"), ("EMPTY", "FULL")])
async def test_nothing_is_attached_where_one_of_two_programs_is_empty(
    connection: Connection, claims: Claims, minters: Minters, order: Sequence[str]
) -> None:
    full = await program(connection, minters, "FULL")
    await program(connection, minters, "EMPTY", campaign_can_create=False)
    await generate(connection, minters, full.id, 1, None)
    request, alone = message(*order), message("FULL")

    claimed = await claims.attach([request, alone])

    assert json.loads(reasons(claimed.rows[request.id])) == [
        {
            "program": "EMPTY",
            "reason": "pool_empty",
            "detail": "EMPTY has no code left and campaigns may not create any. Switch campaign_can_create on, or add "
            "codes.",
        }
    ]
    assert claimed.rows[alone.id][0].code is not None
    assert (await overview.stock(connection, "FULL")).attached == 1
    assert await audit(connection) == []


async def test_previews_are_stored_and_take_nothing(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    for name in ("SPRING", "GIFT"):
        await program(connection, minters, name, codes_max=100, ttl="P1D")
    requests = [message("SPRING", "GIFT", preview=True), step("SPRING", preview=True)]

    claimed = await claims.attach(requests)
    replayed = await others.attach(requests)

    rows = [row for request in requests for row in claimed.rows[request.id]]
    assert replayed.rows == claimed.rows
    assert [row.ordinal for row in rows] == [0, 1, 0]
    assert all(row.preview and Template.parse(TEMPLATE).fits(row.code or "") for row in rows)
    assert all(row.expires_at is not None and row.block_id is None for row in rows)
    for name in ("SPRING", "GIFT"):
        stock = await overview.stock(connection, name)
        assert (stock.made, stock.attached) == (0, 0)
    assert await audit(connection) == []


async def test_a_pool_under_its_mark_is_told_while_more_can_be_made_and_is_urgent_under_half(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, pool_max=10)
    full = await program(connection, minters, "FULL", codes_max=10, pool_max=10)
    for program_id in (spring.id, full.id):
        await generate(connection, minters, program_id, 10, None)

    half = await claims.attach([message("SPRING", "FULL") for _ in range(5)])
    less = await claims.attach([message("SPRING", "FULL")])

    assert half.low == {spring.id: LowPool(5, is_urgent=False)}
    assert less.low == {spring.id: LowPool(4, is_urgent=True)}
