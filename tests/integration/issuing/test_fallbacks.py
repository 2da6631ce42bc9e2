"""Fallbacks in claims: what is given, stored and read again, for all programs of a request or for none."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.codes import history, lookup
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, RequestTaken
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.issuing.reply import answer_event
from codewell.pool import fill
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview, programs
from codewell.usage.tally import UsageTally
from tests.support import usage_counts
from tests.support.factories import OFF, message, program, step
from tests.support.remote_programs import codes, remote, store, taken
from tests.support.stock import list_block, reasons

FIXED: dict[str, Any] = {
    "source": {"kind": "template", "template": "SPRING-FOR-ALL"}, "shared": True, "codes_max": 1, "pool_max": 1,
    "allow_guessable": False,
}  # fmt: skip


def links(*names: str) -> list[dict[str, str]]:
    return [{"program": name} for name in names]


@pytest.fixture
async def chain(connection: Connection, minters: Minters) -> dict[str, int]:
    """SPRING with two codes, FILE with three, and FIXED, which all may have; their ids."""
    fixed = await program(connection, minters, "FIXED", **FIXED)
    file = await program(connection, minters, "FILE", source={"kind": "import"})
    await list_block(connection, file.id, ["F-1", "F-2", "F-3"])
    spring = await program(connection, minters, **OFF, fallback=links("FILE", "FIXED"))
    await generate(connection, minters, spring.id, 2, None)
    return {"SPRING": spring.id, "FILE": file.id, "FIXED": fixed.id}


async def test_a_batch_takes_what_each_program_has_and_a_replay_the_same(
    connection: Connection, claims: Claims, others: Claims, minters: Minters, chain: dict[str, int]
) -> None:
    template = "{loyalty.SPRING.promocode}"
    requests = [message("SPRING", profile_id=f"p-{n}", template=template) for n in range(9)]

    first = await claims.attach(requests)

    given = [row for request in requests for row in first.rows[request.id]]
    assert [row.link for row in given] == [None] * 2 + [1] * 3 + [2] * 4
    assert [row.program_id for row in given] == [chain["SPRING"]] * 2 + [chain["FILE"]] * 3 + [chain["FIXED"]] * 4
    assert {row.code for row in given[2:]} == {"F-1", "F-2", "F-3", "SPRING-FOR-ALL"}
    # Another worker, which has never heard of the programs, answers with the same bytes.
    again = await others.attach(requests)
    for request in requests:
        told = answer_event(request, first.rows[request.id], claims.names)
        assert told == answer_event(request, again.rows[request.id], others.names)
        assert json.loads(told[1])["codes"][0]["program"] == "SPRING"
        assert json.loads(told[1])["rendered"] == first.rows[request.id][0].code
    stock = [await overview.stock(connection, name) for name in chain]
    assert [(one.attached, one.pooled) for one in stock] == [(2, 0), (3, 0), (1, 0)]
    assert await audit(connection) == []
    codes = ProgramCodes(connection, minters, chain["FILE"])
    facts = await lookup.find(codes, "F-1")
    assert facts is not None
    events = (await history.read(codes, "FILE", facts)).events
    assert [(one.asked, one.link) for one in events if one.kind == "attached"] == [("SPRING", 1)]


async def test_all_or_nothing_over_the_fallbacks(
    connection: Connection, claims: Claims, minters: Minters, chain: dict[str, int]
) -> None:
    gift = await program(connection, minters, "GIFT", **OFF)
    await generate(connection, minters, gift.id, 1, None)
    requests = [message("SPRING", "GIFT", profile_id=f"p-{n}") for n in range(4)]
    await claims.attach([message("SPRING") for _ in range(2)])
    rows = (await claims.attach(requests)).rows
    assert [(row.ordinal, row.link) for row in rows[requests[0].id]] == [(0, 1), (1, None)]
    for request in requests[1:]:
        assert '"reason":"pool_empty"' in reasons(rows[request.id])
        assert [one["program"] for one in json.loads(rows[request.id][0].refusals or "[]")] == ["GIFT"]
    # Nobody took a code of FILE for nothing.
    assert (await overview.stock(connection, "FILE")).pooled == 2
    assert await audit(connection) == []


async def test_the_links_own_rules_apply(connection: Connection, claims: Claims, minters: Minters) -> None:
    """Its codes are made on demand where it may, and its profile keeps one where it says so."""
    await program(connection, minters, "KEPT", reuse="profile")
    await program(connection, minters, **OFF, fallback=links("KEPT"))
    requests = [step("SPRING", step_id=f"s-{n}") for n in range(2)] + [message("KEPT")]
    rows = [(await claims.attach([request])).rows[request.id][0] for request in requests]
    assert len({row.code for row in rows}) == 1
    assert [(row.again, row.link) for row in rows] == [(False, 1), (True, 1), (True, None)]
    assert await audit(connection) == []


@pytest.mark.parametrize("pooled", [0, 1])
async def test_two_programs_with_one_fallback_get_the_codes_that_it_lacks(
    connection: Connection, claims: Claims, minters: Minters, pooled: int
) -> None:
    fallback = await program(connection, minters, "F", pool_max=1)
    if pooled:
        await generate(connection, minters, fallback.id, pooled, None)
    for name in ("A", "B"):
        await program(connection, minters, name, **OFF, fallback=links("F"))
    requests = [message("A", "B", profile_id=f"p-{n}") for n in range(2)]

    rows = (await claims.attach(requests)).rows

    given = [row for request in requests for row in rows[request.id]]
    assert [(row.ordinal, row.program_id) for row in given] == [(0, fallback.id), (1, fallback.id)] * 2
    assert len({row.code for row in given}) == 4
    assert await audit(connection) == []


async def test_a_fallback_that_is_asked_early_does_not_end_the_wait_for_another_program(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    fallback = await program(connection, minters, "F")
    await remote(connection, minters, "A", fallback=links("F"), fallback_after=timedelta(seconds=1))
    slow = await remote(connection, minters, "B")
    deadline = datetime.now(UTC) + timedelta(hours=1)
    asked = message("A", "B", deadline=deadline)
    before = await connection.fetchval("SELECT clock_timestamp()")
    [waiting] = (await claims.attach([asked])).waiting
    assert waiting.wait is not None
    assert (waiting.wait.until, waiting._replace(wait=None)) == (deadline, asked)
    assert waiting.wait.since is not None
    assert before < waiting.wait.since

    # As the retry topic brings it again, two seconds after it began to wait.
    again = waiting._replace(wait=waiting.wait._replace(since=waiting.wait.since - timedelta(seconds=2)))
    assert (await claims.attach([again])).waiting == [again]
    await fill.top_up(connection, minters, slow.id)
    await store(connection, await taken(connection), codes(1))
    rows = (await claims.attach([again])).rows[asked.id]

    assert [(row.program_id, row.link) for row in rows] == [(fallback.id, 1), (slow.id, None)]
    assert await audit(connection) == []


async def test_who_gave_and_who_refused_is_counted(
    connection: Connection, connections: Any, minters: Minters, chain: dict[str, int]
) -> None:
    tally = UsageTally()
    claims = Claims(connections, minters, usage=tally)
    await programs.update(connection, minters, "SPRING", {"fallback": links("FILE")}, 10)
    for n in range(7):
        await claims.attach([message("SPRING", profile_id=f"p-{n}")])
    spring, file = chain["SPRING"], chain["FILE"]
    assert usage_counts.taken(tally) == {
        (spring, "campaign", "attached"): 2,
        (spring, "campaign", "fallback_first"): 3,
        (spring, "campaign", "pool_empty"): 2,
        (file, "campaign", "attached"): 3,
    }


async def test_by_hand_the_answer_names_the_program_that_was_asked(
    connection: Connection, claims: Claims, minters: Minters, chain: dict[str, int]
) -> None:
    ids = [uuid7() for _ in range(4)]
    rows = [await manual.attach(claims, "SPRING", f"p-{n}", id_) for n, id_ in enumerate(ids)]
    assert [row.link for row in rows] == [None, None, 1, 1]
    assert await manual.attach(claims, "SPRING", "p-3", ids[3]) == rows[3]
    with pytest.raises(RequestTaken):
        await manual.attach(claims, "FILE", "p-3", ids[3])
    # A named code is the program's own, or none.
    with pytest.raises(ProgramRefused):
        await manual.attach_named(connection, minters, "SPRING", rows[0].code or "", "p-9", uuid7())


async def test_a_switched_off_fallback_is_passed_over(
    connection: Connection, claims: Claims, minters: Minters, chain: dict[str, int]
) -> None:
    await programs.set_active(connection, "FILE", False)
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(3)]
    rows = (await claims.attach(requests)).rows
    assert [rows[request.id][0].link for request in requests] == [None, None, 2]
    await programs.set_active(connection, "FIXED", False)
    refused = message("SPRING")
    [row] = (await claims.attach([refused])).rows[refused.id]
    assert '"reason":"pool_empty"' in reasons([row])
    assert "Its fallbacks gave no code either: FILE, FIXED." in (row.refusals or "")
    assert await audit(connection) == []
