"""A claim for many programs stores what it answers, and goes by the rules that hold when it is made."""

import asyncio
from datetime import timedelta

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing import claim_queries
from codewell.issuing.answer_runs import MixedRun, RefusedRun
from codewell.issuing.claim import Claims
from codewell.issuing.known_rules import KnownRules
from codewell.issuing.model import Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.usage.tally import UsageTally
from tests.support.factories import OFF, message, plain, program
from tests.support.stock import delete_codes, reasons

PROGRAMS = [f"P{number}" for number in range(30)]
EACH = 8


@pytest.fixture
async def many(connection: Connection, minters: Minters) -> None:
    for number, name in enumerate(PROGRAMS):
        own = {"ttl": timedelta(days=number), "ttl_from": "attachment"} if number % 3 else {}
        made = await program(connection, minters, name, **{**OFF, **own})
        await generate(connection, minters, made.id, 100, '{"discount": "10"}' if number % 2 else None)


def asked() -> list[Request]:
    """More than are stored as rows: each program for some profiles alone, and with the next one for others."""
    names = [(name,) if place % 4 else (name, PROGRAMS[number - 1])
             for place in range(EACH) for number, name in enumerate(PROGRAMS)]  # fmt: skip
    return [plain(message(*wanted, profile_id=f"p-{n}")) for n, wanted in enumerate(names)]


async def test_what_is_answered_is_stored(
    connection: Connection, connections: Pool, minters: Minters, many: None
) -> None:
    tally = UsageTally()
    requests = [*asked(), *(plain(message("NONE", "P1", profile_id=f"n-{number}")) for number in range(3))]

    claims = Claims(connections, minters, usage=tally)
    claimed = await claims.attach(requests)

    assert {type(run) for run, _ in claimed.given.values()} == {MixedRun, RefusedRun}
    rows = [row for request in sorted(requests, key=lambda one: one.id) for row in claimed.rows_of(request.id) or []]
    assert await claim_queries.stored_answers(connection, [one.id for one in requests]) == rows
    for request in requests[:-3]:
        given = claimed.rows_of(request.id) or []
        assert [claims.names[row.program_id or 0] for row in given] == list(request.names)
    assert len(rows) == len(PROGRAMS) * (EACH + 2) + 3
    assert sum(row.number for row in tally.take() if row.outcome == "attached") == len(rows) - 3
    assert await audit(connection) == []


async def test_only_what_changed_since_the_last_claim_is_read(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, many: None
) -> None:
    await generate(connection, minters, (await programs.get(connection, "P6")).id, 10, '{"discount": "5"}')
    for _ in range(2):
        await claims.attach(asked())
    known, wanted = claims._known, dict.fromkeys(PROGRAMS, 1)
    async with connections.acquire() as session:
        assert known.of(session.get_server_pid(), PROGRAMS).keys() == set(PROGRAMS)
        for name, change in (
            ("P3", 'UPDATE block SET fields = \'{"discount": "20"}\' WHERE program_id = $1'),
            ("P4", "UPDATE program SET codes_max = codes_max + 1 WHERE id = $1"),
            ("P5", "UPDATE block SET open = false WHERE program_id = $1"),
            # As another worker takes a code of its last block.
            ("P6", "UPDATE block SET next = 1, attached = 1 WHERE program_id = $1 AND size = 10"),
        ):
            await connection.execute(change, (await programs.get(connection, name)).id)
        async with session.transaction():
            read_anew = await claim_queries.lock_blocks(session, wanted, KnownRules())
            known_too = await claim_queries.lock_blocks(session, wanted, known)

    assert known_too._replace(now=read_anew.now) == read_anew
    before = known.of(known._session or 0, PROGRAMS)
    changed = {name for name, program in known_too.programs.items() if program is not before[name].program}
    assert changed == {"P0", "P3", "P4", "P5", "P6"}


async def test_codes_that_another_worker_gave_are_not_given_again(
    connection: Connection, claims: Claims, connections: Pool, minters: Minters, many: None
) -> None:
    other = Claims(connections, minters)
    requests = [asked() for _ in range(4)]

    for number, of_claim in enumerate(requests):
        await (claims, other)[number % 2].attach(of_claim)

    assert await connection.fetchval("SELECT count(DISTINCT (block_id, position)) FROM answer") == 4 * len(PROGRAMS) * (
        EACH + 2
    )
    assert await audit(connection) == []


async def test_a_known_block_is_not_taken_for_another_of_the_same_fill(
    connection: Connection, claims: Claims, minters: Minters, bystander: Connection
) -> None:
    ids = [(await program(connection, minters, name, **OFF)).id for name in ("SPRING", "SUMMER")]
    for id_ in ids:
        # Several blocks, which one transaction made: their rows have one version.
        await generate(connection, minters, id_, 2_000, None)
    await claims.attach([message("SPRING", "SUMMER", preview=True)])
    first = await connection.fetchval("SELECT min(id) FROM block WHERE program_id = $1", ids[1])
    wanted = plain(message("SPRING", "SUMMER"))

    async with bystander.transaction():
        await delete_codes(bystander, first, [0])
        claimed = await asyncio.wait_for(claims.attach([wanted]), 10)

    given = claimed.rows_of(wanted.id) or []
    assert len(given) == 2
    assert given[1].block_id != first
    assert await audit(connection) == []


async def test_a_known_block_with_too_few_codes_is_not_all(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, many: None
) -> None:
    await claims.attach(asked())
    await generate(connection, minters, (await programs.get(connection, "P2")).id, 100, '{"discount": "5"}')
    await claims.attach(asked())
    async with connections.acquire() as session, session.transaction():
        both = await claim_queries.lock_blocks(session, {"P1": 1, "P2": 4}, claims._known)

    assert len(both.blocks["P2"]) == 2
    claimed = await claims.attach([plain(message("P2", profile_id=f"p-{number}")) for number in range(150)])
    assert (len(claimed.given), claimed.waiting) == (150, [])
    assert await audit(connection) == []


async def test_a_claim_that_was_undone_leaves_what_was_known(
    connection: Connection, claims: Claims, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claims.attach(asked())
    with monkeypatch.context() as patched:
        patched.setattr("codewell.issuing.claim.reserved_queries.write", _fail)
        with pytest.raises(RuntimeError):
            await claims.attach(asked())

    await claims.attach(asked())

    assert await audit(connection) == []


async def _fail(*_: object) -> None:
    raise RuntimeError


async def test_rules_that_changed_are_read_anew(
    connection: Connection, claims: Claims, minters: Minters, many: None
) -> None:
    await claims.attach(asked())
    await programs.set_active(connection, "P1", active=False)
    requests = [message("P1"), message("P2")]

    claimed = await claims.attach(requests)

    assert '"program_inactive"' in reasons(claimed.rows_of(requests[0].id) or [])
    assert [row.refusals for row in claimed.rows_of(requests[1].id) or []] == [None]
    assert await audit(connection) == []
