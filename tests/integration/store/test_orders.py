"""Orders of remote programs in the database: how much is ordered, who has a request in hand, what is stored of it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from schemas.program import Program
from schemas.remote import RemoteCode
from services.client.uuid7 import uuid7
from services.errors import ProgramRefused, RemoteFailed
from services.postgres.connection import Connection, Pool
from services.store import by_hand, deliveries, orders, programs, remote_secrets
from services.store.arrivals import store
from services.store.audit import audit
from services.store.claim import Claims
from services.store.deliveries import Order, give_up_old, put_off, take
from services.store.filling import generate, needy_programs, top_up
from services.store.minters import Minters
from tests import factories
from tests.factories import OFF, message
from tests.integration.store.situations import list_block

LEASE_S = 60.0
DAY_S = 86_400.0
URL = "https://codes.example/orders"
FAILED = RemoteFailed("The service answered 500 instead of 200.")
REFUSED = RemoteFailed("version: Field required.", answered=True)


async def remote(
    connection: Connection, minters: Minters, name: str = "SPRING", request_max: int = 10, **changed: Any
) -> Program:
    source = {"kind": "remote", "url": URL, "request_max": request_max}
    return await factories.program(connection, minters, name, source=source, **{"pool_max": 25, **changed})


async def taken(connection: Connection, lease_s: float = LEASE_S) -> Order:
    order = await take(connection, lease_s, {}, 100)
    assert order is not None
    return order


def codes(count: int, start: int = 0, **given: Any) -> list[RemoteCode]:
    return [RemoteCode(code=f"C{start + number}", **given) for number in range(count)]


async def stock(connection: Connection, name: str = "SPRING") -> tuple[int, int, int]:
    found = await programs.stock(connection, name)
    return found.made, found.pooled, found.on_order


async def asked(connection: Connection) -> list[int]:
    rows = await connection.fetch("SELECT count FROM remote_request WHERE state = 'open' ORDER BY count DESC")
    return [row["count"] for row in rows]


async def no_more_pauses(connection: Connection) -> None:
    """As if all pauses were over."""
    await connection.execute("UPDATE remote_request SET next_attempt_at = now()")
    await connection.execute("UPDATE remote_service SET rest_until = now() WHERE rest_until IS NOT NULL")


async def circuit(connection: Connection) -> str:
    return (await orders.service_of(connection, "SPRING")).circuit


async def test_a_pool_is_ordered_up_to_its_mark_once(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters)
    assert await needy_programs(connection) == [program.id]
    filled = await top_up(connection, minters, program.id)
    assert filled is not None
    assert (filled.pooled, filled.made, filled.ordered) == (0, 0, 25)
    assert await asked(connection) == [10, 10, 5]
    assert await needy_programs(connection) == []
    again = await top_up(connection, minters, program.id)
    assert again is not None
    assert again.ordered == 0
    rows = await connection.fetch("SELECT id, fields FROM remote_request")
    assert all(row["id"].version == 7 and row["fields"] == "{}" for row in rows)
    assert await audit(connection) == []


async def test_the_maximum_counts_what_is_on_order(connection: Connection, claims: Claims, minters: Minters) -> None:
    program = await remote(connection, minters, codes_max=30, pool_max=30, request_max=100)
    await by_hand.attach_named(connection, minters, "SPRING", "BY-HAND", "p-1", uuid7())
    await top_up(connection, minters, program.id)
    assert await stock(connection) == (0, 0, 29)
    for attempt in (
        by_hand.attach_named(connection, minters, "SPRING", "ANOTHER", "p-2", uuid7()),
        generate(connection, minters, program.id, 1, None),
        programs.update(connection, minters, "SPRING", {"codes_max": 29, "pool_max": 1}, 10),
    ):
        with pytest.raises(ProgramRefused):
            await attempt
    with pytest.raises(asyncpg.CheckViolationError, match="program_maximum"):
        await list_block(connection, program.id, ["X"])
    # What comes later is no refusal, though there is no room now.
    claimed = await claims.attach([message("SPRING")])
    assert len(claimed.waiting) == 1
    assert await store(connection, await taken(connection), codes(29)) == 29
    assert await stock(connection) == (29, 29, 0)
    assert await audit(connection) == []


async def test_not_all_of_a_large_pool_is_ordered_at_once(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, request_max=1, pool_max=500)
    await top_up(connection, minters, program.id)
    assert len(await asked(connection)) == 100
    await store(connection, await taken(connection), codes(1))
    await top_up(connection, minters, program.id)
    assert len(await asked(connection)) == 100
    assert await audit(connection) == []


async def test_who_generates_orders_with_the_fields_whatever_the_switches_say(
    connection: Connection, minters: Minters
) -> None:
    fields = [{"name": "discount"}, {"name": "secret", "save": False}]
    program = await remote(connection, minters, fields=fields, **OFF)
    await generate(connection, minters, program.id, 12, None, json.dumps({"discount": "10", "secret": "s"}))
    assert await asked(connection) == [10, 2]
    with pytest.raises(ProgramRefused, match="order fewer codes, or raise request_max"):
        await orders.order_by_hand(connection, factories.rules(id=program.id), 100_001, "{}")
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


async def test_a_request_is_in_one_hand_until_its_lease_is_over(connections: Pool, minters: Minters) -> None:
    async with connections.acquire() as connection:
        program = await remote(connection, minters, pool_max=40)
        await top_up(connection, minters, program.id)

    async def take_all() -> list[Order]:
        found = []
        async with connections.acquire() as own:
            # Another has the service's row for a moment: then there is nothing to take for that moment.
            while len(await own.fetch("SELECT FROM remote_request WHERE leased_until IS NULL")):
                order = await take(own, LEASE_S, {}, 100)
                found += [] if order is None else [order]
        return found

    got = [order.id for orders_ in await asyncio.gather(*(take_all() for _ in range(4))) for order in orders_]
    assert len(set(got)) == len(got) == 4
    async with connections.acquire() as connection:
        assert await take(connection, LEASE_S, {}, 100) is None
        await connection.execute("UPDATE remote_request SET leased_until = now() WHERE id = $1", got[0])
        again = await taken(connection)
        assert (again.id, again.attempt) == (got[0], 2)
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
        assert not await put_off(connection, order, FAILED, 0)
        assert await stock(connection) == (10, 10, 0)
        assert await circuit(connection) == "closed"
        assert await audit(connection) == []


async def test_who_has_lost_its_lease_has_no_say_in_what_comes_next(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    lost = await taken(connection, 0)
    held = await taken(connection)
    assert held.id == lost.id
    assert not await put_off(connection, lost, REFUSED, 0)
    assert await take(connection, LEASE_S, {}, 100) is None
    assert (await orders.service_of(connection, "SPRING")).failures == 0
    # Its answer is as good as the other's.
    assert await store(connection, lost, codes(10)) == 10
    assert await store(connection, held, codes(10)) is None
    assert await audit(connection) == []


async def test_no_more_is_asked_for_than_is_on_order(connection: Connection, claims: Claims, minters: Minters) -> None:
    program = await remote(connection, minters)
    assert (await claims.attach([message("SPRING")])).low == {program.id: 0}
    await top_up(connection, minters, program.id)
    assert (await claims.attach([message("SPRING")])).low == {}


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
    assert again == order._replace(attempt=2)
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
        by_name = await by_hand.attach_named(connection, minters, "SPRING", code, "p-9", uuid7())
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
    assert (service.on_order, service.failures, service.error) == (0, 1, "The service answered with no codes at all.")
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


async def test_attempts_come_ever_later(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    pauses = []
    for _ in range(10):
        order = await taken(connection)
        assert not await put_off(connection, order, FAILED, DAY_S)
        pauses.append(
            await connection.fetchval(
                "SELECT extract(epoch FROM next_attempt_at - statement_timestamp())::float8 FROM remote_request"
            )
        )
        await no_more_pauses(connection)
    for attempt, pause_s in enumerate(pauses):
        planned_s = min(0.5 * 2**attempt, 30)
        assert 0.5 * planned_s - 1 < pause_s <= 1.5 * planned_s
    row = await connection.fetchrow("SELECT attempts, refused, error, state FROM remote_request")
    assert tuple(row) == (10, 0, str(FAILED), "open")


async def test_the_service_is_left_alone_for_as_long_as_it_asks_but_not_for_ever(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters)
    await top_up(connection, minters, program.id)
    wait = "SELECT extract(epoch FROM rest_until - statement_timestamp())::float8 FROM remote_service"
    await put_off(connection, await taken(connection), RemoteFailed("429", wait_s=100), DAY_S)
    assert 95 < await connection.fetchval(wait) <= 100
    # The program's other requests would be told the same.
    assert await take(connection, LEASE_S, {}, 100) is None
    await no_more_pauses(connection)
    await put_off(connection, await taken(connection), RemoteFailed("429", wait_s=1e8), DAY_S)
    assert 3_595 < await connection.fetchval(wait) <= 3_600


async def test_the_circuit_opens_is_tried_with_one_request_and_closes(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=80)
    await top_up(connection, minters, program.id)
    for failures in range(orders.FAILURES_MAX):
        assert (await orders.service_of(connection, "SPRING")).failures == failures
        assert await circuit(connection) == "closed"
        await put_off(connection, await taken(connection), FAILED, DAY_S)
    assert await circuit(connection) == "open"
    service = await orders.service_of(connection, "SPRING")
    assert (service.requests_open, service.on_order, service.error) == (8, 80, str(FAILED))
    assert service.rest_until is not None
    assert await take(connection, LEASE_S, {}, 100) is None

    await no_more_pauses(connection)
    assert await circuit(connection) == "half open"
    probe = await taken(connection)
    assert await take(connection, LEASE_S, {}, 100) is None
    await put_off(connection, probe, FAILED, DAY_S)
    assert await circuit(connection) == "open"

    await no_more_pauses(connection)
    assert await store(connection, await taken(connection), codes(10)) == 10
    service = await orders.service_of(connection, "SPRING")
    assert (service.circuit, service.failures, service.rest_until) == ("closed", 0, None)
    assert service.error == str(FAILED)
    for _ in range(3):
        await taken(connection)
    assert await audit(connection) == []


async def test_a_slow_program_gets_no_more_than_its_share(connection: Connection, minters: Minters) -> None:
    slow = await remote(connection, minters, "SLOW", pool_max=100)
    quick = await remote(connection, minters, "QUICK", pool_max=20)
    for program in (slow, quick):
        await top_up(connection, minters, program.id)
    in_hand = {slow.id: 2, quick.id: 1}
    for name in ("QUICK", "SLOW", "QUICK", "SLOW"):
        order = await take(connection, LEASE_S, in_hand, 4)
        assert order is not None
        assert order.program == name
        in_hand[order.program_id] += 1
    assert in_hand == {slow.id: 4, quick.id: 3}
    assert await take(connection, LEASE_S, in_hand, 4) is None


async def test_a_request_whose_answers_are_refused_is_given_up_and_ordered_anew(
    connection: Connection, minters: Minters
) -> None:
    program = await remote(connection, minters, pool_max=10)
    await top_up(connection, minters, program.id)
    outcomes = []
    for _ in range(deliveries.REFUSED_MAX):
        order = await taken(connection)
        outcomes.append(await put_off(connection, order, REFUSED, DAY_S))
        await no_more_pauses(connection)
    assert outcomes == [False] * (deliveries.REFUSED_MAX - 1) + [True]
    assert await stock(connection) == (0, 0, 0)
    # Codes of an answer that comes now belong to no request.
    assert await store(connection, order, codes(10)) is None
    await top_up(connection, minters, program.id)
    assert (await taken(connection)).id != order.id
    assert await audit(connection) == []


async def test_a_request_without_an_answer_is_given_up_in_the_end(connection: Connection, minters: Minters) -> None:
    program = await remote(connection, minters, pool_max=30)
    await top_up(connection, minters, program.id)
    await connection.execute("UPDATE remote_request SET created_at = now() - interval '1 day'")
    assert not await put_off(connection, await taken(connection), FAILED, DAY_S + 60)
    assert await put_off(connection, await taken(connection), FAILED, DAY_S)
    held = await taken(connection)
    await programs.set_active(connection, "SPRING", False)
    assert await give_up_old(connection, DAY_S + 60) == 0
    assert await give_up_old(connection, DAY_S) == 1
    assert await stock(connection) == (0, 0, held.asked)
    assert await audit(connection) == []


async def test_secrets_overlap_while_they_change_and_are_not_in_the_clear(connection: Connection) -> None:
    minters = Minters(b"m" * 32)
    program = await remote(connection, minters)
    [first] = await remote_secrets.in_force(connection, minters, program.id)
    assert first.text.startswith("whsec_")
    assert len(first.key) == 32
    stored = await connection.fetchval("SELECT secret FROM remote_secret")
    assert first.key not in stored
    assert first.key.hex() not in repr(first)
    assert first.text not in repr(first)

    second, old = await remote_secrets.rotate(connection, minters, program.id)
    assert (old.key, second.ends_at) == (first.key, None)
    assert old.ends_at is not None
    assert timedelta(hours=23) < old.ends_at - datetime.now(UTC) <= timedelta(hours=24)
    for _ in range(remote_secrets.IN_FORCE_MAX - 2):
        await remote_secrets.rotate(connection, minters, program.id)
    with pytest.raises(ProgramRefused, match="5 secrets in force"):
        await remote_secrets.rotate(connection, minters, program.id)
    await connection.execute("UPDATE remote_secret SET ends_at = now() WHERE ends_at IS NOT NULL")
    assert len(await remote_secrets.in_force(connection, minters, program.id)) == 1


async def test_the_first_secret_of_a_program_is_made_once(connections: Pool, minters: Minters) -> None:
    async with connections.acquire() as connection:
        program = await remote(connection, minters)
        # A program from before there were secrets.
        await connection.execute("DELETE FROM remote_secret")

    async def ask() -> bytes:
        async with connections.acquire() as own:
            [only] = await remote_secrets.in_force(own, minters, program.id)
            return only.key

    assert len(set(await asyncio.gather(*(ask() for _ in range(4))))) == 1


async def test_only_remote_programs_have_a_service(connection: Connection, minters: Minters) -> None:
    await factories.program(connection, minters)
    with pytest.raises(ProgramRefused, match="come from no remote service"):
        await orders.service_of(connection, "SPRING")
