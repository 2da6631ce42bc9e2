"""A claim of a few plain requests in one statement does what the usual claim does, or leaves it to that one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import LOCK_TIMEOUT_MS, Connection, Pool, pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import claim_queries
from codewell.issuing.claim import Claims
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import AnswerRow, ManualRequest, Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import DECIDING_LOCK, run_exclusively
from codewell.programs import overview, programs
from codewell.usage.tally import UsageTally
from tests.support.factories import OFF, message, plain, program, step
from tests.support.running import until
from tests.support.stock import delete_codes, reasons, until_waiting
from tests.support.usage_counts import taken

FIELDS = '{"discount": "10"}'


def asked(count: int, *names: str, first: int = 0) -> list[Request]:
    """Plain requests of as many profiles: in turn a step, a message and a person's."""
    numbers = range(first, first + count)
    kinds: tuple[Callable[[str], Request], ...] = (
        lambda profile_id: plain(step(names[0], profile_id=profile_id)),
        lambda profile_id: plain(message(names[0], profile_id=profile_id)),
        lambda profile_id: Request(uuid7(), ManualRequest(profile_id, names[0]), names),
    )
    return [kinds[n % 3](f"p-{n}") for n in numbers]


@pytest.fixture
def usual_claims(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The usual claims that were made: one more entry for each."""
    made: list[object] = []
    usual = claim_queries.lock_blocks

    async def counted(*arguments: Any) -> object:
        made.append(arguments)
        return await usual(*arguments)

    monkeypatch.setattr(claim_queries, "lock_blocks", counted)
    return made


async def stock(connection: Connection, minters: Minters, name: str = "SPRING", **changed: Any) -> int:
    """A program with a thousand codes in its pool, which nobody makes more of."""
    made = await program(connection, minters, name, **{**OFF, **changed})
    await generate(connection, minters, made.id, 1_000, FIELDS)
    return made.id


def rows(claimed: ClaimResult, requests: Iterable[Request]) -> list[AnswerRow]:
    """The row of each request."""
    found = [claimed.rows_of(request.id) for request in requests]
    assert all(one is not None and len(one) == 1 for one in found)
    return [row for one in found for row in one or []]


async def test_what_is_as_it_was_is_claimed_in_one_statement_as_by_the_usual_claim(
    connection: Connection, connections: Pool, minters: Minters, usual_claims: list[object]
) -> None:
    await stock(connection, minters, ttl="P30D", ttl_from="attachment", pool_max=990)
    tally = UsageTally()
    claims = Claims(connections, minters, usage=tally)
    first, second = asked(5, "SPRING"), asked(7, "SPRING", first=5)

    usual = await claims.attach(first)
    small = await claims.attach(second)

    assert len(usual_claims) == 1
    given = rows(usual, first) + rows(small, second)
    assert sorted(row.position or 0 for row in given) == list(range(12))
    assert {row.expires_at and row.expires_at - row.answered_at for row in given} == {timedelta(days=30)}
    # What is answered is what is stored.
    assert await claim_queries.stored_answers(connection, [one.id for one in second]) == rows(small, second)
    alike = [(row.ordinal, row.program_id, row.block_id, row.again, row.preview, row.fields, row.refusals, row.link)
             for row in given]  # fmt: skip
    assert len(set(alike)) == 1
    sources = ("campaign", "scenario", "person")
    assert taken(tally) == {(given[0].program_id, source, "attached"): 4 for source in sources}
    level = await overview.stock(connection, "SPRING")
    assert (level.pooled, level.attached) == (988, 12)
    assert await audit(connection) == []


async def test_a_low_pool_is_told(connection: Connection, claims: Claims, minters: Minters) -> None:
    id_ = (await program(connection, minters, pool_max=1_000, codes_max=2_000)).id
    await generate(connection, minters, id_, 505, None)
    await claims.attach(asked(2, "SPRING"))

    claimed = await claims.attach(asked(4, "SPRING", first=2))

    assert claimed.low[id_] == (499, True)


async def test_several_programs_are_claimed_at_once(
    connection: Connection, claims: Claims, minters: Minters, usual_claims: list[object]
) -> None:
    for name in ("SPRING", "SUMMER"):
        await stock(connection, minters, name)
    await claims.attach(asked(2, "SPRING") + asked(2, "SUMMER"))
    requests = asked(3, "SPRING", first=2) + asked(4, "SUMMER", first=2)

    given = rows(await claims.attach(requests), requests)

    assert len(usual_claims) == 1
    assert sorted(row.position or 0 for row in given) == [2, 2, 3, 3, 4, 4, 5]
    assert len({row.program_id for row in given[:3]} | {row.program_id for row in given[3:]}) == 2
    assert await audit(connection) == []


async def test_a_request_that_names_two_programs_gets_both_codes(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    for name in ("SPRING", "SUMMER"):
        await stock(connection, minters, name)
    await claims.attach(asked(2, "SPRING") + asked(2, "SUMMER"))
    both = plain(message("SPRING", "SUMMER"))

    claimed = await claims.attach([both])

    given = claimed.rows_of(both.id) or []
    assert [(row.ordinal, claims.names[row.program_id or 0]) for row in given] == [(0, "SPRING"), (1, "SUMMER")]
    assert await audit(connection) == []


Change = Callable[[Connection, Minters, int], Awaitable[object]]


async def _switch_off(connection: Connection, _minters: Minters, _id: int) -> None:
    await programs.set_active(connection, "SPRING", active=False)


async def _end(connection: Connection, _minters: Minters, _id: int) -> None:
    await programs.update(connection, _minters, "SPRING", {"valid_until": await _now(connection)}, guesses_per_s=10)


async def _now(connection: Connection) -> object:
    return await connection.fetchval("SELECT clock_timestamp()")


async def _delete_pooled(connection: Connection, _minters: Minters, id_: int) -> None:
    await connection.execute(
        "UPDATE block SET next = size, deleted = size - next, open = false WHERE program_id = $1", id_
    )


async def _expire(connection: Connection, _minters: Minters, id_: int) -> None:
    await connection.execute("UPDATE block SET expires_at = clock_timestamp() WHERE program_id = $1", id_)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_switch_off, "program_inactive"),
        (_end, "program_ended"),
        (_delete_pooled, "pool_empty"),
        (_expire, "pool_empty"),
    ],
)
async def test_a_change_counts_at_once(
    connection: Connection, claims: Claims, minters: Minters, change: Change, reason: str
) -> None:
    id_ = await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    await change(connection, minters, id_)

    [request] = asked(1, "SPRING", first=2)
    [row] = rows(await claims.attach([request]), [request])

    assert reason in reasons([row])


async def test_a_new_rule_counts_at_once(connection: Connection, claims: Claims, minters: Minters) -> None:
    await stock(connection, minters, ttl="P30D", ttl_from="attachment")
    await claims.attach(asked(2, "SPRING"))
    await programs.update(connection, minters, "SPRING", {"ttl": "P1D"}, guesses_per_s=10)

    [request] = asked(1, "SPRING", first=2)
    [row] = rows(await claims.attach([request]), [request])

    assert row.expires_at is not None
    assert row.expires_at - row.answered_at == timedelta(days=1)


async def test_new_fields_count_at_once(connection: Connection, claims: Claims, minters: Minters) -> None:
    id_ = await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    await connection.execute("""UPDATE block SET fields = '{"discount": "20"}' WHERE program_id = $1""", id_)

    [request] = asked(1, "SPRING", first=2)
    [row] = rows(await claims.attach([request]), [request])

    assert row.fields == '{"discount": "20"}'


@pytest.mark.parametrize("column", ["program.valid_until", "block.expires_at"])
async def test_an_end_counts_without_a_change(
    connection: Connection, claims: Claims, minters: Minters, column: str
) -> None:
    """The end was known before, and comes between two claims."""
    await stock(connection, minters)
    table, name = column.split(".")
    await connection.execute(f"UPDATE {table} SET {name} = clock_timestamp() + interval '2 s'")
    await claims.attach(asked(2, "SPRING"))
    ends = await connection.fetchval(f"SELECT {name} FROM {table}")

    async def over() -> bool:
        return bool(await connection.fetchval("SELECT clock_timestamp() > $1", ends))

    await until(over, "end")
    [request] = asked(1, "SPRING", first=2)
    [row] = rows(await claims.attach([request]), [request])

    assert row.code is None
    assert (
        await connection.fetchval("SELECT count(*) FROM answer WHERE answered_at >= $1 AND code IS NOT NULL", ends) == 0
    )


async def test_codes_that_others_took_are_not_given_again(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    await stock(connection, minters)
    requests: list[Request] = []
    given: list[AnswerRow] = []
    for turn in range(20):
        for worker, first in ((claims, 0), (others, 500)):
            new = asked(3, "SPRING", first=first + 3 * turn)
            given += rows(await worker.attach(new), new)
            requests += new

    assert len({row.code for row in given}) == len(requests) == 120
    assert await audit(connection) == []


async def test_a_deleted_code_is_not_given(connection: Connection, claims: Claims, minters: Minters) -> None:
    await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    await delete_codes(connection, await connection.fetchval("SELECT id FROM block WHERE next = 2"), [2])

    [request] = asked(1, "SPRING", first=2)
    [row] = rows(await claims.attach([request]), [request])

    assert row.position == 3


async def test_codes_that_expire_sooner_are_given_first(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    id_ = await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    await generate(connection, minters, id_, 10, None)
    await connection.execute(
        "UPDATE block SET expires_at = clock_timestamp() + interval '1 day' WHERE id = (SELECT max(id) FROM block)"
    )

    [request] = asked(1, "SPRING", first=2)
    [row] = rows(await claims.attach([request]), [request])

    assert row.block_id == await connection.fetchval("SELECT max(id) FROM block")


async def test_a_request_that_has_an_answer_keeps_it(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    old, new = asked(3, "SPRING", first=2), asked(3, "SPRING", first=5)
    before = rows(await others.attach(old), old)
    await claims.attach(asked(1, "SPRING", first=8))

    claimed = await claims.attach([*old, *new])

    assert rows(claimed, old) == before
    assert len({row.code for row in rows(claimed, [*old, *new])}) == 6
    assert await audit(connection) == []


async def test_requests_that_are_too_old_get_nothing(
    connection: Connection, claims: Claims, minters: Minters, usual_claims: list[object]
) -> None:
    await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    [early] = asked(1, "SPRING", first=2)
    await run_exclusively(connection, "SELECT move_oldest_request($1)", uuid7())

    [row] = rows(await claims.attach([early]), [early])
    assert "request_too_old" in reasons([row])
    for number in range(3, 7):
        await claims.attach(asked(1, "SPRING", first=number))
    made = len(usual_claims)
    # What says no time is not too old.
    [timeless] = [request._replace(id=UUID(int=5 << 76)) for request in asked(1, "SPRING", first=7)]
    [row] = rows(await claims.attach([timeless]), [timeless])
    assert (row.code is not None, len(usual_claims)) == (True, made)
    [early] = [request._replace(id=early.id.__class__(int=early.id.int - 1)) for request in asked(1, "SPRING", first=8)]
    [row] = rows(await claims.attach([early]), [early])
    assert "request_too_old" in reasons([row])


async def test_it_waits_for_what_all_requests_must_agree_on(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    """Who forgets a profile changes the program here: the claim sees what was committed while it waited."""
    await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    [request] = asked(1, "SPRING", first=2)
    async with bystander.transaction():
        await bystander.execute("SELECT pg_advisory_xact_lock($1, $2)", *DECIDING_LOCK)
        claiming = asyncio.create_task(claims.attach([request]))
        await until_waiting(connection)
        await bystander.execute("UPDATE program SET active = false")
    [row] = rows(await claiming, [request])

    assert "program_inactive" in reasons([row])


async def test_it_waits_for_no_other_worker(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    id_ = await stock(connection, minters)
    await generate(connection, minters, id_, 10, None)
    await claims.attach(asked(2, "SPRING"))
    [request] = asked(1, "SPRING", first=2)
    async with bystander.transaction():
        first = await bystander.fetchval("SELECT id FROM block WHERE next = 2 FOR UPDATE")
        async with asyncio.timeout(LOCK_TIMEOUT_MS / 2_000):
            [row] = rows(await claims.attach([request]), [request])

    assert row.block_id not in {None, first}


async def test_a_claim_whose_answer_was_lost_is_answered_as_it_was_decided(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stock(connection, minters)
    await claims.attach(asked(2, "SPRING"))
    requests = asked(3, "SPRING", first=2)
    fetch = asyncpg.Connection.fetch

    async def lose(self: Connection, *arguments: Any) -> object:
        found = await fetch(self, *arguments)
        if "claim_known" in arguments[0]:
            raise ConnectionResetError
        return found

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "fetch", lose)
        with pytest.raises(ConnectionResetError):
            await claims.attach(requests)
    stored = await claim_queries.stored_answers(connection, [one.id for one in requests])
    claimed = await claims.attach(requests)

    assert len(stored) == 3
    assert rows(claimed, requests) == stored
    assert await audit(connection) == []


@pytest.fixture
async def lone(database_url: str) -> AsyncIterator[Pool]:
    """A pool of one connection, for which claims wait in turn."""
    async with pool(database_url, "codewell-test", 1) as opened:
        yield opened


Before = Callable[[], Awaitable[object]]


async def attach_in_turn(
    lone: Pool, claims: Claims, before: Before, first: list[Request], second: list[Request]
) -> ClaimResult:
    """Claim both after `before`, while the connection is taken: the second gets it when the first is all done."""

    async def hold() -> None:
        async with lone.acquire():
            await learning

    async with lone.acquire():
        await before()
        learning = asyncio.create_task(claims.attach(first))
        holding = asyncio.create_task(hold())
        claiming = asyncio.create_task(claims.attach(second))
        await asyncio.sleep(0)
    await holding
    return await claiming


async def test_what_was_read_before_a_fail_over_is_not_used(
    lone: Pool, connection: Connection, minters: Minters, usual_claims: list[object]
) -> None:
    for name in ("SPRING", "SUMMER"):
        await stock(connection, minters, name)
    claims = Claims(lone, minters)
    await claims.attach(asked(2, "SPRING"))

    # The new server has answered to another claim meanwhile.
    await attach_in_turn(
        lone, claims, lone.expire_connections, asked(2, "SUMMER", first=2), asked(2, "SPRING", first=4)
    )

    assert len(usual_claims) == 3
    await claims.attach(asked(2, "SPRING", first=6))
    assert len(usual_claims) == 3
    await lone.expire_connections()
    await claims.attach(asked(2, "SPRING", first=8))
    await claims.attach(asked(2, "SUMMER", first=10))
    assert len(usual_claims) == 5
    assert await audit(connection) == []


async def test_requests_get_too_old_while_their_claim_waits_for_a_connection(
    lone: Pool, connection: Connection, minters: Minters
) -> None:
    """A claim of the same process learns meanwhile what is too old now."""
    for name in ("SPRING", "SUMMER"):
        await stock(connection, minters, name)
    claims = Claims(lone, minters)
    await claims.attach(asked(2, "SPRING"))
    [early] = asked(1, "SPRING", first=2)

    async def move() -> None:
        await run_exclusively(connection, "SELECT move_oldest_request($1)", uuid7())

    claimed = await attach_in_turn(lone, claims, move, asked(2, "SUMMER"), [early])

    assert "request_too_old" in reasons(rows(claimed, [early]))
