"""Two workers, eight connections: what each promise says must hold whoever gets there first."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.issuing.model import Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import message, program, step
from tests.support.stock import attach_all, codes, stop_in_the_middle, until_waiting

ROUNDS = 15


async def test_many_batches_at_once_give_no_code_twice(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, campaign_can_create=False)
    for _ in range(6):
        await generate(connection, minters, spring.id, 200, None)
    batches = [[message("SPRING", profile_id=f"p-{batch}-{n}") for n in range(50)] for batch in range(24)]

    rows = await asyncio.gather(
        *(attach_all((claims, others)[number % 2], batch) for number, batch in enumerate(batches))
    )

    given = [code for batch, answered in zip(batches, rows, strict=True) for code in codes(answered, batch)]
    assert None not in given
    assert max(Counter(given).values()) == 1
    stock = await overview.stock(connection, "SPRING")
    assert (stock.pooled, stock.attached) == (0, 1_200)
    assert await audit(connection) == []


async def test_the_last_codes_are_given_to_the_last_one(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    """Nobody is told that the pool is empty while another worker's block may still give a code."""
    spring = await program(connection, minters, campaign_can_create=False)
    await generate(connection, minters, spring.id, 60, None)
    batches = [[message("SPRING") for _ in range(10)] for _ in range(8)]

    rows = await asyncio.gather(
        *(attach_all((claims, others)[number % 2], batch) for number, batch in enumerate(batches))
    )

    given = [code for batch, answered in zip(batches, rows, strict=True) for code in codes(answered, batch)]
    assert Counter(code is None for code in given) == {False: 60, True: 20}
    assert (await overview.stock(connection, "SPRING")).pooled == 0
    assert await audit(connection) == []


async def test_the_same_requests_at_two_workers_in_opposite_order(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    for name in ("A", "B"):
        made = await program(connection, minters, name)
        for _ in range(2):
            await generate(connection, minters, made.id, 600, None)
    for _ in range(ROUNDS):
        requests = [message(*order) for order in (("A", "B"), ("B", "A"), ("A",), ("NOPE",)) for _ in range(5)]

        first, second = await asyncio.gather(attach_all(claims, requests), attach_all(others, reversed(requests)))

        assert first == second
        assert first.keys() == {request.id for request in requests}
    assert (await overview.stock(connection, "A")).attached == ROUNDS * 15
    assert await audit(connection) == []


async def test_two_workers_in_the_same_requests_do_not_wait_for_each_other_for_ever(
    connection: Connection, bystander: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    for _ in range(2):
        await generate(connection, minters, spring.id, 600, None)
    requests = sorted((message("SPRING") for _ in range(9)), key=lambda request: request.id)
    # Both come as far as the one in the middle, from opposite ends if nobody puts the requests in order.
    middle = await stop_in_the_middle(bystander, requests[4])
    tasks = [asyncio.create_task(claims.attach(requests)), asyncio.create_task(others.attach(requests[::-1]))]
    await until_waiting(connection, len(tasks))

    await middle.rollback()
    first, second = await asyncio.gather(*tasks)

    assert first.rows == second.rows
    assert len(set(codes(first.rows, requests))) == 9
    assert await audit(connection) == []


async def test_a_request_that_one_worker_attaches_and_another_refuses(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 1_000, None)
    for _ in range(ROUNDS):
        ids = [uuid7() for _ in range(6)]
        attached = [message("SPRING", request_id=request_id) for request_id in ids]
        refused = [message("NOPE", request_id=request_id) for request_id in ids]

        first, second = await asyncio.gather(
            attach_all(claims, [*attached[:3], *refused[3:]]), attach_all(others, [*refused[:3], *attached[3:]])
        )

        assert first == second
    assert await audit(connection) == []


async def test_batches_that_overlap_give_each_request_one_answer(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    for _ in range(4):
        await generate(connection, minters, spring.id, 250, None)
    requests = [message("SPRING") for _ in range(80)]
    batches = [requests[start : start + 40] for start in range(0, 41, 10)]

    rows = await asyncio.gather(
        *(attach_all((claims, others)[number % 2], batch) for number, batch in enumerate(batches))
    )

    answers: dict[Request, set[str | None]] = {request: set() for request in requests}
    for batch, answered in zip(batches, rows, strict=True):
        for request in batch:
            answers[request].add(answered[request.id][0].code)
    assert {len(given) for given in answers.values()} == {1}
    assert (await overview.stock(connection, "SPRING")).attached == 80
    assert await audit(connection) == []


@pytest.mark.parametrize("changed", [{"reuse": "profile"}, {"reuse": "campaign"}, {"shared": True}])
async def test_a_code_that_is_given_again_is_taken_once(
    connection: Connection, claims: Claims, others: Claims, minters: Minters, changed: dict[str, Any]
) -> None:
    spring = await program(connection, minters, **changed)
    for _ in range(4):
        await generate(connection, minters, spring.id, 200, None)
    batches = [[message("SPRING", profile_id=f"p-{n}") for n in range(5)] for _ in range(8)]

    rows = await asyncio.gather(
        *(attach_all((claims, others)[number % 2], batch) for number, batch in enumerate(batches))
    )

    distinct = 1 if "shared" in changed else 5
    given = [codes(answered, batch) for batch, answered in zip(batches, rows, strict=True)]
    assert all(one == given[0] for one in given)
    assert len(set(given[0])) == distinct
    stock = await overview.stock(connection, "SPRING")
    assert (stock.attached, stock.pooled) == (distinct, 800 - distinct)
    assert await audit(connection) == []


async def test_a_step_and_a_message_of_one_profile_meet(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile")
    for _ in range(2):
        await generate(connection, minters, spring.id, 200, None)
    requests = [message("SPRING"), step("SPRING")]

    rows = await asyncio.gather(attach_all(claims, requests[:1]), attach_all(others, requests[1:]))

    assert codes(rows[0], requests[:1]) == codes(rows[1], requests[1:])
    assert await audit(connection) == []
