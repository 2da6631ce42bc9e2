"""Claims that store assignments without having looked for older ones give what claims give that look."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from itertools import count, islice
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.process.failpoints import Failpoint
from codewell.issuing import assignments, claim, look_ups
from codewell.issuing.claim import Claims
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import AnswerRow, Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import overview
from schemas.events import MessageRender
from schemas.plain_events import PlainRender
from tests.support.factories import OFF, message, plain, program, step
from tests.support.seeded_random import seeded
from tests.support.stock import reasons, until_waiting

COUNT = 5


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a few requests are claimed as large ones are."""
    monkeypatch.setattr(assignments, "INSERTED_MAX", 2)
    monkeypatch.setattr(look_ups, "INSERTED_MAX", 2)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The look-ups that were made: the number of keys of each."""
    made: list[int] = []
    usual = assignments.assigned_codes

    async def counted(connection: Connection, keys: Any) -> Any:
        made.append(len(keys))
        return await usual(connection, keys)

    monkeypatch.setattr(look_ups, "assigned_codes", counted)
    return made


def requests(numbers: Iterable[int], *names: str) -> list[Request]:
    return [plain(message(*names or ("SPRING",), profile_id=f"p-{number}")) for number in numbers]


def new(batch: int) -> list[Request]:
    """Requests of as many new profiles."""
    return requests(range(batch * COUNT, (batch + 1) * COUNT))


def rows(claimed: ClaimResult, asked: Iterable[Request]) -> list[AnswerRow]:
    """All rows of these requests."""
    return [row for request in asked for row in claimed.rows_of(request.id) or []]


async def stock(connection: Connection, minters: Minters, codes: int = 1_000, **changed: Any) -> int:
    """The id of a program with codes in its pool, which gives profiles theirs again; nobody makes more of them."""
    made = await program(connection, minters, **{"reuse": "profile", **OFF, **changed})
    if codes:
        await generate(connection, minters, made.id, codes, None)
    return made.id


async def test_after_a_look_up_that_found_nothing_none_is_made(
    connection: Connection, claims: Claims, minters: Minters, looked: list[int]
) -> None:
    await stock(connection, minters)

    given = [rows(await claims.attach(asked), asked) for asked in map(new, range(3))]

    assert looked == [COUNT]
    assert len({row.code for batch in given for row in batch if not row.again}) == 3 * COUNT
    assert await connection.fetchval("SELECT count(*) FROM holding") == 3 * COUNT
    assert await audit(connection) == []


async def test_few_requests_are_always_looked_up(
    connection: Connection, claims: Claims, minters: Minters, looked: list[int]
) -> None:
    await stock(connection, minters)
    await claims.attach(new(0))

    await claims.attach(requests([8, 9]))

    assert looked == [COUNT, 2]


async def test_a_profile_with_a_code_gets_it_again_and_the_next_claims_look(
    connection: Connection, claims: Claims, minters: Minters, looked: list[int]
) -> None:
    await stock(connection, minters)
    first = new(0)
    codes = {row.profile_id: row.code for row in rows(await claims.attach(first), first)}
    mixed = requests([2, 21, 22, 23, 24])

    given = rows(await claims.attach(mixed), mixed)

    assert [(row.code == codes.get(row.profile_id), row.again) for row in given] == [(True, True)] + 4 * [
        (False, False)
    ]
    assert (await overview.stock(connection, "SPRING")).attached == COUNT + 4
    assert len(looked) == 2
    for batch in range(10, 14):
        await claims.attach(new(batch))
    # Two that find nothing end it.
    assert len(looked) == 4
    assert await audit(connection) == []


async def test_each_miss_doubles_the_look_ups_until_one_is_skipped(
    connection: Connection, claims: Claims, minters: Minters, looked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_ups, "_EMPTY_MAX", 8)
    await stock(connection, minters)
    batches = map(new, count(1))

    async def look_ups_of(*claimed: list[Request]) -> int:
        looked.clear()
        for batch in claimed:
            await claims.attach(batch)
        return len(looked)

    await claims.attach(requests([0]))
    for number in (1, 2, 4, 8, 8):
        assert await look_ups_of(*islice(batches, number)) == number
        # The claim that should have looked is made again.
        assert await look_ups_of([*next(batches), *requests([0])]) == 1
    # One that was skipped rightly makes it less.
    assert await look_ups_of(*islice(batches, 8 + 2)) == 8
    assert await look_ups_of([*next(batches), *requests([0])]) == 1
    assert await look_ups_of(*islice(batches, 20)) == 2


async def test_a_profile_gets_its_code_again_from_an_empty_pool(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await stock(connection, minters, codes=COUNT)
    first = new(0)
    codes = {row.profile_id: row.code for row in rows(await claims.attach(first), first)}
    mixed = requests([2, 3, 21, 22])

    claimed = await claims.attach(mixed)

    assert [row.code for row in rows(claimed, mixed)] == [codes["p-2"], codes["p-3"], None, None]
    assert "SPRING has no code left" in reasons(claimed.rows[mixed[2].id])


async def test_of_a_request_for_two_programs_that_one_refuses_nothing_is_given(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await stock(connection, minters)
    await program(connection, minters, "CLOSED", reuse="profile", active=False, **OFF)
    await claims.attach(new(0))
    asked = requests([1, 21, 22, 23], "SPRING", "CLOSED")

    claimed = await claims.attach(asked)

    assert [row.code for row in rows(claimed, asked)] == [None] * 4
    assert (await overview.stock(connection, "SPRING")).attached == COUNT


async def test_an_expired_code_is_replaced(
    connection: Connection, claims: Claims, minters: Minters, looked: list[int]
) -> None:
    await stock(connection, minters, ttl=timedelta(days=1))
    first = new(0)
    old = {row.code for row in rows(await claims.attach(first), first)}
    await connection.execute("UPDATE holding SET expires_at = now() WHERE profile_id <> 'p-1'")
    again = requests(range(COUNT))

    given = rows(await claims.attach(again), again)

    assert [row.again for row in given] == [False, True, False, False, False]
    assert len({row.code for row in given} - old) == COUNT - 1
    assert len(looked) == 2


async def test_two_workers_that_do_not_look_give_a_profile_one_code(
    connection: Connection, claims: Claims, others: Claims, minters: Minters, bystander: Connection, looked: list[int]
) -> None:
    id_ = await stock(connection, minters)
    await generate(connection, minters, id_, 1_000, None)
    for batch, worker in enumerate((claims, others)):
        await worker.attach(new(batch))
    ours, theirs = requests(range(20, 30)), requests(reversed(range(25, 35)))
    # Both wait for the same profile, which is the first of both in the order of keys.
    other = bystander.transaction()
    await other.start()
    await bystander.execute("INSERT INTO holding SELECT $1, unnest(ARRAY['p-20', 'p-25']), '', 0, 0, ''", id_)
    both = [asyncio.ensure_future(one) for one in (claims.attach(ours), others.attach(theirs))]
    await until_waiting(connection, 2)
    assert looked == [COUNT, COUNT]

    await other.rollback()
    one, two = await asyncio.gather(*both)

    mine, yours = ({row.profile_id: row.code for row in rows(*of)} for of in ((one, ours), (two, theirs)))
    shared = mine.keys() & yours.keys()
    assert len(shared) == 5
    assert [mine[profile_id] for profile_id in shared] == [yours[profile_id] for profile_id in shared]
    assert (await overview.stock(connection, "SPRING")).attached == 2 * COUNT + 15
    assert len(looked) == 3
    assert await audit(connection) == []


async def test_what_ends_before_its_commit_leaves_nothing(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stock(connection, minters)
    await claims.attach(new(0))
    asked = new(1)

    class Ended(Exception):
        """Instead of the end of the process."""

    def end(point: Failpoint) -> None:
        if point is Failpoint.CLAIMED:
            raise Ended

    with monkeypatch.context() as armed:
        armed.setattr(claim, "reach", end)
        with pytest.raises(Ended):
            await claims.attach(asked)

    assert await connection.fetchval("SELECT count(*) FROM holding") == COUNT
    given = rows(await claims.attach(asked), asked)
    assert sorted(row.position or 0 for row in given) == list(range(COUNT, 2 * COUNT))
    assert await audit(connection) == []


def key(reuse: str, request: Request) -> tuple[str, ...]:
    """Whose code a request gets, and where."""
    event: Any = request.event
    if reuse == "profile":
        return (event.profile_id,)
    if isinstance(event, PlainRender | MessageRender):
        return event.profile_id, event.campaign_id
    return event.profile_id, event.scenario_id, event.step_id if reuse == "step" else ""


@pytest.mark.parametrize("reuse", ["profile", "campaign", "step"])
async def test_batches_give_what_one_by_one_gives(
    connection: Connection, connections: Pool, minters: Minters, reuse: str, looked: list[int]
) -> None:
    chosen = seeded()
    await stock(connection, minters, codes=2_000, reuse=reuse, ttl=timedelta(days=1), codes_max=10_000)
    codes: dict[tuple[str, ...], str] = {}
    given: set[str] = set()
    workers = [Claims(connections, Minters(None)) for _ in range(2)]
    known = 0
    batches = 60
    for _ in range(batches):
        asked = []
        for _ in range(chosen.randint(1, 12)):
            # Most are new, so that claims do not look.
            if chosen.random() < 0.97 or not known:
                known += 1
                profile_id = f"p-{known}"
            else:
                profile_id = f"p-{chosen.randint(1, known)}"
            make: Any = chosen.choice([message, step])
            scope = {"step_id": chosen.choice("ab")} if make is step else {"campaign_id": chosen.choice("ab")}
            asked.append(make("SPRING", profile_id=profile_id, **scope))
        asked = [plain(one) if chosen.random() < 0.8 else one for one in asked]
        claimed = await chosen.choice(workers).attach(asked)
        found = [(request, row) for request in asked for row in claimed.rows_of(request.id) or []]
        assert len(found) == len(asked)
        for request, row in sorted(found, key=lambda one: (one[1].again, one[0].id)):
            assert row.code is not None
            of = key(reuse, request)
            assert (row.code, row.again) == (codes.get(of, row.code), of in codes)
            assert row.again or row.code not in given
            codes[of] = row.code
            given.add(row.code)
        match chosen.random():
            case number if number < 0.1:
                ended = f"p-{chosen.randint(1, known)}"
                await connection.execute("UPDATE holding SET expires_at = now() WHERE profile_id = $1", ended)
                codes = {of: code for of, code in codes.items() if of[0] != ended}
            case number if number < 0.2:
                forgotten = f"p-{chosen.randint(1, known)}"
                await forget(connection, forgotten)
                codes = {of: code for of, code in codes.items() if of[0] != forgotten}
    assert len(looked) < batches
    assert await audit(connection) == []
