"""What a remote service brings is stored once and whole, or not at all."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.errors import ProgramRefused, RemoteFailed
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool import orders
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.remote import deliveries, order_leases
from codewell.remote.deliveries import ServiceAnswer
from codewell.remote.order_leases import record_failure
from schemas.remote import RemoteCode
from tests.support import factories
from tests.support.factories import OFF, message
from tests.support.remote_programs import (
    FAILED,
    LEASE_S,
    asked,
    circuit,
    codes,
    no_more_pauses,
    remote,
    stock,
    store,
    take,
    taken,
)
from tests.support.stock import list_block


async def test_who_generates_orders_with_the_fields_whatever_the_switches_say(
    connection: Connection, minters: Minters
) -> None:
    fields = [{"name": "discount"}, {"name": "secret", "save": False}]
    program = await remote(connection, minters, fields=fields, **OFF)
    await generate(connection, minters, program.id, 12, None, json.dumps({"discount": "10", "secret": "s"}))
    assert await asked(connection) == [10, 2]
    with pytest.raises(ProgramRefused, match="order fewer codes, or raise request_max"):
        await orders.order_for_person(connection, factories.rules(id=program.id), 100_001, "{}")
    order = await taken(connection)
    assert order.fields == {"discount": "10", "secret": "s"}
    given = [
        RemoteCode(code="A"),
        RemoteCode(code="B", fields={"discount": "15"}),
        RemoteCode(code="C", fields={"secret": "t"}),
    ]
    assert await store(connection, order, given) == 3
    rows = await connection.fetch(
        "SELECT text, fields, origin FROM code JOIN block ON block.id = block_id ORDER BY text"
    )
    assert [(row["text"], json.loads(row["fields"]), row["origin"]) for row in rows] == [
        ("A", {"discount": "10"}, "generate"),
        ("B", {"discount": "15"}, "generate"),
        ("C", {"discount": "10"}, "generate"),
    ]
    assert await stock(connection) == (3, 3, 2 if order.asked == 10 else 10)
    assert await audit(connection) == []


async def test_an_answer_that_two_have_is_stored_once(connections: Pool, minters: Minters) -> None:
    async with connections.acquire() as connection:
        program = await remote(connection, minters, pool_max=10)
        await top_up(connection, minters, program.id)
        order = await taken(connection)

    async def store_it() -> int | None:
        async with connections.acquire() as own:
            return await store(own, order, codes(10))

    assert sorted(await asyncio.gather(*(store_it() for _ in range(4))), key=str) == [10, None, None, None]
    async with connections.acquire() as connection:
        # Whoever's lease was over while it failed has no say in what is done.
        assert not await record_failure(connection, order, FAILED, 0)
        assert await stock(connection) == (10, 10, 0)
        assert await circuit(connection) == "closed"
        assert await audit(connection) == []


async def test_a_crash_before_the_commit_leaves_the_request_as_it_was(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    order = await taken(connection, 0)
    transaction = connection.transaction()
    await transaction.start()
    await store(connection, order, codes(10))
    await transaction.rollback()
    assert await stock(connection) == (0, 0, 10)
    again = await taken(connection)
    assert again == order._replace(attempt=2, taken_s=again.taken_s)
    assert await store(connection, again, codes(10)) == 10
    assert await audit(connection) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([*codes(3), RemoteCode(code="HAD")], "codes.3.code: SPRING has this code already."),
        ([RemoteCode(code="A", fields={"price": "1"})], "codes.0.fields.price: SPRING has no such field."),
        (
            [*codes(2), RemoteCode(code="A", expires_at=datetime(2020, 1, 1, tzinfo=UTC))],
            "codes.2.expires_at: must be in the future.",
        ),
    ],
)
async def test_of_an_answer_with_one_bad_code_nothing_is_stored(
    connection: Connection, minters: Minters, given: Sequence[RemoteCode], says: str
) -> None:
    program = await remote(connection, minters)
    await list_block(connection, program.id, ["HAD"])
    await top_up(connection, minters, program.id)
    before = await stock(connection)
    with pytest.raises(RemoteFailed) as refused:
        await store(connection, await taken(connection), given)
    assert (str(refused.value), refused.value.answered) == (says, True)
    assert await stock(connection) == before
    assert await audit(connection) == []


async def test_the_sooner_end_counts_and_like_codes_share_a_block(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, ttl="P10D", fields=[{"name": "discount"}])
    await top_up(connection, minters, program.id)
    soon, late = (datetime.now(UTC) + timedelta(days=days) for days in (5, 50))
    given = [
        *codes(3, expires_at=soon),
        *codes(2, 10, expires_at=late),
        *codes(2, 20),
        *codes(2, 30, fields={"discount": "5"}),
    ]
    await store(connection, await taken(connection), given)
    rows = await connection.fetch(
        "SELECT size, expires_at - created_at AS lives, fields FROM block ORDER BY expires_at, fields NULLS FIRST"
    )
    assert [row["size"] for row in rows] == [3, 4, 2]
    assert [row["fields"] for row in rows] == [None, None, '{"discount": "5"}']
    assert timedelta(days=4) < rows[0]["lives"] < timedelta(days=5)
    assert [row["lives"] for row in rows[1:]] == [timedelta(days=10)] * 2
    assert await audit(connection) == []


async def test_a_life_from_attachment_on_ends_with_the_codes_own(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    program = await remote(connection, minters, ttl="P10D", ttl_from="attachment")
    await top_up(connection, minters, program.id)
    ends = datetime.now(UTC) + timedelta(days=5)
    given = [*codes(2, expires_at=ends), *codes(2, 5)]
    await store(connection, await taken(connection), given)
    for code in ("C1", "C6"):
        by_name = await manual.attach_named(connection, minters, "SPRING", code, "p-9", uuid7())
        assert by_name.expires_at == (ends if code == "C1" else by_name.answered_at + timedelta(days=10))
    # What ends soonest is given first.
    requests = [message("SPRING", profile_id=f"p-{number}") for number in range(2)]
    rows = (await claims.attach(requests)).rows
    found = [rows[request.id][0] for request in requests]
    assert [row.code for row in found] == ["C0", "C5"]
    assert found[0].expires_at == ends
    assert found[1].expires_at == found[1].answered_at + timedelta(days=10)


async def test_fewer_codes_release_the_rest_and_none_at_all_is_a_failure(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    assert await store(connection, await taken(connection), codes(4)) == 4
    assert await stock(connection) == (4, 4, 0)
    await top_up(connection, minters, program.id)
    assert await asked(connection) == [6]
    assert await store(connection, await taken(connection), []) == 0
    service = await orders.service_of(connection, "SPRING")
    assert (service.on_order, service.failures, service.error) == (0, 1, "The service delivered no codes.")
    await top_up(connection, minters, program.id)
    assert await take(connection, LEASE_S, {}, 100) is None
    await no_more_pauses(connection)
    await taken(connection)
    assert await audit(connection) == []


@pytest.mark.parametrize("change", [{"active": False}, {"valid_until": "2020-01-01T00:00:00Z"}, OFF])
async def test_a_program_that_may_have_none_made_is_sent_nothing_and_takes_nothing(
    connection: Connection, minters: Minters, change: dict[str, Any]
) -> None:
    program = await remote(connection, minters)
    await top_up(connection, minters, program.id)
    order = await taken(connection)
    await programs.update(connection, minters, "SPRING", change, 10)
    assert await take(connection, LEASE_S, {}, 100) is None
    assert await store(connection, order, codes(5)) is None
    assert await stock(connection) == (0, 0, 25)
    back = {"active": True, "valid_until": None, "campaign_can_create": True}
    await programs.update(connection, minters, "SPRING", back, 10)
    await no_more_pauses(connection)
    found = [await taken(connection) for _ in range(3)]
    assert order.id in [one.id for one in found]
    assert await audit(connection) == []


async def test_one_bad_answer_costs_those_that_are_stored_with_it_nothing(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, pool_max=61)
    await list_block(connection, program.id, ["HAD"])
    await top_up(connection, minters, program.id)
    first, known, late, same, last, gone = await order_leases.lease_orders(connection, LEASE_S, {}, 100, 6)
    assert await store(connection, gone, codes(10, 900)) == 10
    before = await stock(connection)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    stored = await deliveries.store(
        connection,
        program.id,
        [
            ServiceAnswer(first, codes(10)),
            ServiceAnswer(known, [*codes(9, 100), RemoteCode(code="HAD")]),
            ServiceAnswer(late, codes(10, 200, expires_at=past)),
            # As two may bring the same text at the same moment, the first has it.
            ServiceAnswer(same, [*codes(4, 300), RemoteCode(code="C9")]),
            # In hand twice, and done before.
            ServiceAnswer(first, codes(10)),
            ServiceAnswer(gone, codes(10, 900)),
            ServiceAnswer(last, codes(9, 400)),
        ],
    )
    assert [str(one) for one in stored.outcomes] == [
        "10", "codes.9.code: SPRING has this code already.", "codes.0.expires_at: must be in the future.",
        "codes.4.code: SPRING has this code already.", "None", "None", "9",
    ]  # fmt: skip
    made, pooled, on_order = await stock(connection)
    assert (made, pooled, on_order) == (before[0] + 19, before[1] + 19, before[2] - 20)
    assert sorted(await asked(connection)) == [10, 10, 10]
    assert await connection.fetchval("SELECT count(*) FROM code") == 1 + 10 + 19
    assert await audit(connection) == []


async def test_answers_of_programs_that_may_have_none_made_are_put_back_but_what_a_person_ordered_comes(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    await generate(connection, minters, program.id, 10, None)
    both = await order_leases.lease_orders(connection, LEASE_S, {}, 100, 5)
    await programs.update(connection, minters, "SPRING", OFF, 10)
    answers = [ServiceAnswer(order, codes(10, 10 * place)) for place, order in enumerate(both)]
    stored = await deliveries.store(connection, program.id, answers)
    assert sorted(map(str, stored.outcomes)) == ["10", "None"]
    assert await stock(connection) == (10, 10, 10)
    assert await audit(connection) == []


async def test_the_pool_is_looked_at_again_when_it_may_lack_more_and_only_then(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, request_max=2, pool_max=400)
    await top_up(connection, minters, program.id)
    assert len(await asked(connection)) == orders.OPEN_MAX
    taken_ = await order_leases.lease_orders(connection, LEASE_S, {}, 100, 100)
    answers = [ServiceAnswer(order, codes(2, 10 * place)) for place, order in enumerate(taken_)]

    async def lacks(some: Sequence[ServiceAnswer]) -> bool:
        return (await deliveries.store(connection, program.id, some)).needs_orders

    assert not await lacks(answers[:49])
    assert await lacks(answers[49:51])
    assert not await lacks(answers[51:60])
    assert not await lacks(answers[51:60])
    assert await lacks([answers[60]._replace(codes=codes(1, 5_000)), answers[61]])
    assert not await lacks(answers[62:-1])
    assert await lacks(answers[-1:])
    await top_up(connection, minters, program.id)
    assert sum(await asked(connection)) == 200
    assert await audit(connection) == []


async def test_others_take_requests_while_an_answer_of_the_program_is_stored(
    connections: Pool, minters: Minters
) -> None:
    async with connections.acquire() as storing, connections.acquire() as taking:
        program = await remote(storing, minters)
        await top_up(storing, minters, program.id)
        order = await taken(storing)
        async with storing.transaction():
            await store(storing, order, codes(order.asked))
            assert (await taken(taking)).id != order.id
        assert await audit(storing) == []


async def test_many_codes_of_one_answer_are_blocks_for_several_workers(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, request_max=2_000, pool_max=2_000)
    await top_up(connection, minters, program.id)
    order = await taken(connection)
    assert await store(connection, order, codes(2_000)) == 2_000
    assert [row["size"] for row in await connection.fetch("SELECT size FROM block")] == [500] * 4
    # A pool that has blocks enough gets one more.
    await generate(connection, minters, program.id, 1_000, None)
    assert await store(connection, await taken(connection), codes(1_000, 5_000)) == 1_000
    assert await connection.fetchval("SELECT max(size) FROM block") == 1_000
    assert await audit(connection) == []
