"""Assignments of large batches: stored from their answers where all requests are plain and no profile had one, else by
COPY, and by an upsert where one had.

Every other request is plain, so it is decided as a column's part, or all are.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.issuing.assignments import assign, assign_all, assigned_codes
from codewell.issuing.claim import Claims
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import AnswerRow, AssignmentKey, PooledCode, Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import OFF, message, plain, program
from tests.support.stock import until_waiting

COUNT = 250


either = pytest.mark.parametrize("all_plain", [False, True])


def requests(numbers: Iterable[int] = range(COUNT), *, all_plain: bool = False) -> list[Request]:
    return [asked(number, is_plain=all_plain or number % 2 == 1) for number in numbers]


def asked(number: int, *, is_plain: bool) -> Request:
    request = message("SPRING", profile_id=f"p-{number:03}")
    return plain(request) if is_plain else request


def rows(claimed: ClaimResult, requests: Iterable[Request]) -> list[AnswerRow]:
    """The row of each request."""
    found = [(request.id, claimed.given.get(request.id.bytes)) for request in requests]
    return [claimed.rows[id_][0] if run is None else run[0].answer(run[1])[0] for id_, run in found]


@either
async def test_each_profile_gets_its_code_again_as_it_was(
    connection: Connection, claims: Claims, others: Claims, minters: Minters, all_plain: bool
) -> None:
    spring = await program(connection, minters, reuse="profile", ttl=timedelta(days=1), ttl_from="attachment", **OFF)
    # Of two blocks.
    await generate(connection, minters, spring.id, COUNT // 2, '{"discount": "10"}')
    await generate(connection, minters, spring.id, COUNT // 2, '{"discount": "5"}')
    first, again = requests(all_plain=all_plain), requests(all_plain=all_plain)

    given = await claims.attach(first)
    repeated = await others.attach(again)

    assert (len(given.given), len(repeated.given)) == 2 * (COUNT if all_plain else COUNT // 2,)
    for row, copy in zip(rows(given, first), rows(repeated, again), strict=True):
        assert (row.again, copy.again) == (False, True)
        assert (copy[2:5], copy[7:11]) == (row[2:5], row[7:11])
    assert (await overview.stock(connection, "SPRING")).attached == COUNT
    stored = (await claims.attach(again)).rows
    assert [stored[request.id] for request in again] == [[row] for row in rows(repeated, again)]
    assert await audit(connection) == []


async def test_a_batch_of_new_profiles_and_of_some_whose_codes_expired(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", ttl=timedelta(days=1), **OFF)
    await generate(connection, minters, spring.id, 2 * COUNT, None)
    await claims.attach(requests([0, 1]))
    await connection.execute("UPDATE holding SET expires_at = now()")
    wanted = requests()

    given = rows(await claims.attach(wanted), wanted)

    assert len({row.code for row in given}) == COUNT
    assert not any(row.again for row in given)
    assert await connection.fetchval("SELECT count(*) FROM holding WHERE expires_at > now()") == COUNT
    assert await audit(connection) == []


async def test_assignments_are_stored_in_the_order_of_their_keys_and_read_as_they_were(connection: Connection) -> None:
    fields = [None, '{"discount": "10"}']
    ends = [None, datetime(2026, 12, 1, 10, 0, 0, 123456, tzinfo=UTC)]
    stored = {
        AssignmentKey(program_id, f"p-{number:02} É", scope): PooledCode(
            program_id, number, f"É-{number}", ends[number % 2], fields[number % 3 % 2]
        )
        for scope in ("campaign:b", "", "campaign:a")
        for number in reversed(range(20))
        for program_id in (12, 9)
    }

    async with connection.transaction():
        await assign_all(connection, stored, ())

    rows = await connection.fetch("SELECT program_id, profile_id, scope FROM holding ORDER BY ctid")
    assert [AssignmentKey(*row) for row in rows] == sorted(stored)
    assert await assigned_codes(connection, [*stored, AssignmentKey(9, "p-99", "")]) == stored
    of_scope = {key: code for key, code in stored.items() if key.scope == "campaign:a"}
    assert await assigned_codes(connection, list(of_scope)) == of_scope
    of_one = {key: code for key, code in of_scope.items() if key.program_id == 9}
    assert await assigned_codes(connection, [*of_one, AssignmentKey(9, "p-99", "campaign:a")]) == of_one


@either
async def test_profiles_that_another_worker_assigns_meanwhile_keep_those_codes(
    connection: Connection, claims: Claims, bystander: Connection, minters: Minters, all_plain: bool
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, COUNT, None)
    # Their ids are in another order than their profiles, by which all workers store assignments.
    wanted = requests(reversed(range(COUNT)), all_plain=all_plain)
    code = PooledCode(0, 0, "of another", None, None)
    other = bystander.transaction()
    await other.start()
    await assign(bystander, {AssignmentKey(spring.id, "p-100", ""): code})
    claim = asyncio.ensure_future(claims.attach(wanted))
    await until_waiting(connection)

    # What the claim has stored already is not in the way of a later profile.
    assert await assign(bystander, {AssignmentKey(spring.id, "p-199", ""): code}) == 1
    await other.commit()
    given = {row.profile_id: row.code for row in rows(await claim, wanted)}

    assert [given.pop(profile_id) for profile_id in ("p-100", "p-199")] == ["of another"] * 2
    assert len(set(given.values())) == COUNT - 2
    assert (await overview.stock(connection, "SPRING")).attached == COUNT - 2
    assert await connection.fetchval("SELECT count(*) FROM holding") == COUNT


async def test_two_workers_give_the_same_profiles_one_code_each(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    for _ in range(4):
        await generate(connection, minters, spring.id, COUNT, None)
    ours, theirs = requests(), requests(reversed(range(COUNT)))

    one, other = await asyncio.gather(claims.attach(ours), others.attach(theirs))

    mine, yours = ({row.profile_id: row.code for row in found} for found in (rows(one, ours), rows(other, theirs)))
    assert mine == yours
    assert (await overview.stock(connection, "SPRING")).attached == COUNT
    assert await audit(connection) == []
