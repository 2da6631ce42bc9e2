"""Steps for codes to which nothing has happened take two statements, or leave all to the usual way."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from codewell.access import stored_responses, tokens
from codewell.access.stored_responses import StoredResponse
from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import LOCK_TIMEOUT_MS, Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import DECIDING_LOCK
from codewell.profiles.forgetting import forget
from codewell.programs import programs
from codewell.redemption import till, untouched
from codewell.redemption.batch import Applied, Decided, Outcome
from codewell.redemption.model import TillRequest
from tests.integration.redemption.test_till import given, in_one_batch
from tests.support.stock import until_waiting

ROWS = """
    SELECT position, s.uses, s.activated_at IS NULL, s.held_until, u.order_id, u.profile_id, u.context, u.per_code,
           u.held_until, u.used_at IS NULL, u.ended_at IS NULL, u.ended_by, s.activated_at = u.used_at
    FROM code_state s JOIN code_use u USING (block_id, position) ORDER BY position, u.id
    """


async def decided(codes: ProgramCodes, requests: list[TillRequest]) -> Decided:
    """What is decided without a lock."""
    found = await untouched.decide_all(codes, requests)
    assert found is not None
    return found


def steps(first: str, second: str) -> list[TillRequest]:
    """Steps of two codes that p-0 and p-1 have."""
    return [
        TillRequest("activate", first, "p-0", "o-1", "till 3"),
        TillRequest("hold", second, "p-0", "o-2", ttl=timedelta(minutes=5)),
        TillRequest("release", second, None, "o-2"),
        TillRequest("activate", second),
        TillRequest("activate", second, "p-1"),
        TillRequest("activate", first, "p-1", "o-3"),
        TillRequest("hold", second, "p-1", "o-4", ttl=timedelta(days=9)),
        TillRequest("release", first, None, "o-9"),
        TillRequest("activate", "NONE", "p-0"),
    ]


def said(outcomes: list[Outcome]) -> list[Any]:
    """The outcomes without their times and places."""
    return [
        outcome.reason
        if isinstance(outcome, CodewellError)
        else outcome and (outcome.is_new, *outcome.facts[1:3], *outcome.facts[5:7], outcome.facts.uses)
        for outcome in outcomes
    ]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"uses": {"per_code": 3, "per_profile": 1}},
        {"uses": {"per_code": None, "per_profile": 2}, "holder_only": True},
        {"ttl": "P1D", "ttl_from": "attachment"},
        {"active": False},
    ],
    ids=str,
)
async def test_both_ways_do_the_same(
    connection: Connection, claims: Claims, minters: Minters, rules: dict[str, Any]
) -> None:
    inactive = rules.get("active") is False
    codes, texts = await given(connection, claims, minters, 4, **({} if inactive else rules))
    if inactive:
        await programs.set_active(connection, "SPRING", active=False)
    # Each way has codes of p-0 and p-1.
    await connection.execute("UPDATE answer SET profile_id = 'p-' || position % 2")

    short = await decided(codes, steps(*texts[:2]))
    assert await untouched.write(codes, short)
    usual = await in_one_batch(codes, steps(*texts[2:]))

    assert said(short.outcomes) == said(usual)
    rows = [tuple(row) for row in await connection.fetch(ROWS)]
    ways = [[row[1:] for row in rows if row[0] // 2 == way] for way in range(2)]
    for way in ways:
        # The time when a hold ends is each way's own.
        way[:] = [(row[0], row[1], row[2] is None, *row[3:7], row[7] is None, *row[8:]) for row in way]
    assert ways[0] == ways[1]
    assert await audit(connection) == []


async def test_they_take_two_statements(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, texts = await given(connection, claims, minters, 4)
    # The first step reads the template's key and the names of types.
    await till.activate(codes, texts[3])
    queries: list[str] = []

    with connection.query_logger(lambda record: queries.append(record.query)):
        short = await decided(codes, [TillRequest("activate", text) for text in texts[:3]])
        assert await untouched.write(codes, short)
        # The connection tells of a statement in the loop's next turn.
        await asyncio.sleep(0)

    assert len(queries) == 2
    assert all(isinstance(outcome, Applied) and outcome.is_new for outcome in short.outcomes)
    facts = [outcome.facts for outcome in short.outcomes if isinstance(outcome, Applied)]
    assert [(one.code, one.state, one.uses) for one in facts] == [(text, "activated", 1) for text in texts[:3]]


async def test_what_is_refused_is_not_written(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, [code] = await given(connection, claims, minters)

    assert await untouched.write(codes, await decided(codes, [TillRequest("release", code, None, "o-1")]))

    assert await connection.fetchval("SELECT count(*) FROM code_state") == 0


async def test_of_two_that_decide_at_once_one_writes(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    codes, [one, two] = await given(connection, claims, minters, 2)
    async with connections.acquire() as own, connections.acquire() as watching:
        first = await decided(codes, [TillRequest("activate", one)])
        second = await decided(
            codes._replace(connection=own), [TillRequest("activate", two), TillRequest("hold", one, order_id="o-1")]
        )
        async with connection.transaction():
            assert await untouched.write(codes, first)
            writing = asyncio.create_task(untouched.write(codes._replace(connection=own), second))
            await until_waiting(watching)
        assert await writing is False
    assert await connection.fetchval("SELECT count(*) FROM code_use") == 1
    assert await audit(connection) == []


Change = Callable[[ProgramCodes, str], Awaitable[object]]


async def _use(codes: ProgramCodes, code: str) -> None:
    await in_one_batch(codes, [TillRequest("activate", code)])


async def _hold(codes: ProgramCodes, code: str) -> None:
    await in_one_batch(codes, [TillRequest("hold", code, order_id="o-1")])


async def _delete(codes: ProgramCodes, code: str) -> None:
    await lifecycle.delete(codes, code)


async def _return(codes: ProgramCodes, code: str) -> None:
    await lifecycle.detach(codes, code)


async def _forget(codes: ProgramCodes, _: str) -> None:
    await forget(codes.connection, "p-0")


async def _expire(codes: ProgramCodes, _: str) -> None:
    await codes.connection.execute("UPDATE answer SET expires_at = clock_timestamp()")


async def _archive(codes: ProgramCodes, _: str) -> None:
    await codes.connection.execute("DELETE FROM answer WHERE profile_id = 'p-0'")


CHANGES = [_use, _hold, _delete, _return, _forget, _expire, _archive]


@pytest.mark.parametrize("change", CHANGES)
async def test_what_happens_to_a_code_after_it_was_read_counts(
    connection: Connection, claims: Claims, minters: Minters, change: Change
) -> None:
    codes, [code, other] = await given(connection, claims, minters, 2)
    short = await decided(codes, [TillRequest("activate", other), TillRequest("activate", code)])
    await change(codes, code)
    before = await connection.fetch("SELECT * FROM code_state"), await connection.fetch("SELECT * FROM code_use")

    assert not await untouched.write(codes, short)

    after = await connection.fetch("SELECT * FROM code_state"), await connection.fetch("SELECT * FROM code_use")
    assert after == before


@pytest.mark.parametrize("change", [_use, _hold, _delete, _return, _archive])
async def test_codes_to_which_something_has_happened_are_left_to_the_usual_way(
    connection: Connection, claims: Claims, minters: Minters, change: Change
) -> None:
    codes, [code, other] = await given(connection, claims, minters, 2)
    await change(codes, code)

    assert await untouched.decide_all(codes, [TillRequest("activate", other), TillRequest("activate", code)]) is None
    assert await untouched.decide_all(codes, [TillRequest("activate", other)]) is not None


async def test_an_expired_code_is_refused(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, [code] = await given(connection, claims, minters)
    await _expire(codes, code)

    short = await decided(codes, [TillRequest("activate", code)])

    assert said(short.outcomes) == ["code_expired"]


async def test_shared_and_unknown_codes_are_left_to_the_usual_way(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters, shared=True)

    for text in (code, "NONE"):
        assert await untouched.decide_all(codes, [TillRequest("activate", text, "p-0")]) is None


async def test_codes_as_people_type_them_are_found(connection: Connection, claims: Claims, minters: Minters) -> None:
    template = {"kind": "template", "template": "{safe 6}"}
    codes, [one, two] = await given(connection, claims, minters, 2, source=template, match="fold")
    for text in (f" {one} ", two.lower()):
        assert (await till.activate(codes, text)).code == text.strip().upper()
    assert await audit(connection) == []


async def test_responses_are_stored_once(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, [code, other] = await given(connection, claims, minters, 2)
    token, _ = await tokens.create(connection, "t", ["redeem"], [])
    stored = {(token.id, "k"): StoredResponse(bytes(32), 200, "application/json", b"{}")}

    assert await untouched.write(codes, await decided(codes, [TillRequest("activate", code)]), stored)

    assert await stored_responses.get_responses(connection, list(stored)) == stored
    with pytest.raises(asyncpg.UniqueViolationError, match="idempotency_once"):
        await untouched.write(codes, await decided(codes, [TillRequest("activate", other)]), stored)
    assert await connection.fetchval("SELECT count(*) FROM code_use") == 1


async def test_they_are_written_before_or_after_a_profile_is_forgotten(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters)
    short = await decided(codes, [TillRequest("activate", code)])
    async with connections.acquire() as own, connections.acquire() as watching:
        async with own.transaction():
            await own.execute("SELECT pg_advisory_xact_lock($1, $2)", *DECIDING_LOCK)
            writing = asyncio.create_task(untouched.write(codes, short))
            await until_waiting(watching)
            await own.execute("UPDATE answer SET profile_id = 'forgotten-1'")
        assert await asyncio.wait_for(writing, LOCK_TIMEOUT_MS / 1000) is False


@pytest.mark.parametrize(("old", "new", "ends"), [(3, 1, "activated"), (1, 3, "attached")])
async def test_a_use_that_another_limit_decided_is_left_to_the_usual_way(
    connection: Connection, claims: Claims, minters: Minters, old: int, new: int, ends: str
) -> None:
    codes, [code, held] = await given(connection, claims, minters, 2, uses={"per_code": old, "per_profile": None})
    short = await decided(codes, [TillRequest("activate", code), TillRequest("hold", held, None, "o-1")])
    await programs.update(connection, minters, "SPRING", {"uses": {"per_code": new, "per_profile": 1}}, 10)

    assert await untouched.write(codes, short) is False

    assert (await till.activate(codes, code, profile_id="p-0")).state == ends
    assert await audit(connection) == []
