"""Pages of one state: together they are all codes of that state, whatever is in the way."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from codewell.audit.promises import audit
from codewell.codes import lifecycle, listing
from codewell.codes.code_filter import CodeFilter
from codewell.codes.lifecycle import CodeChange
from codewell.codes.listing import page
from codewell.codes.lookup import CodeFacts, CodePlace
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool.batch import Batch
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.redemption import till
from schemas.program import State
from tests.support.factories import OFF, message, program
from tests.support.stock import after_billions, hold_code, list_block

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def all_of(
    connection: Connection, minters: Minters, program_id: int, limit: int, state: State | None
) -> list[CodeFacts]:
    """All codes of a state, oldest first; checks that the pages from the newest on are the same in reverse."""
    found = await walked(connection, minters, program_id, limit, CodeFilter(state))
    newest = await walked(connection, minters, program_id, limit, CodeFilter(state, newest_first=True))
    assert newest == found[::-1]
    return found


async def walked(
    connection: Connection, minters: Minters, program_id: int, limit: int, wanted: CodeFilter
) -> list[CodeFacts]:
    found: list[CodeFacts] = []
    after: CodePlace | None = wanted.start
    while after is not None:
        some = await page(ProgramCodes(connection, minters, program_id), after, limit, wanted)
        assert len(some.codes) <= limit
        assert some.next is None or (some.next < after if wanted.newest_first else some.next > after)
        found += some.codes
        after = some.next
    return found


@pytest.mark.parametrize("ttl_from", ["creation", "attachment"])
@pytest.mark.parametrize(
    ("limit", "scanned_max", "run_max"), [(1, 1, 1), (3, 7, 2), (10, 10_000, 2_500), (1_000, 150, 4)]
)
async def test_pages_of_a_state_are_all_of_its_codes(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch, ttl_from: str,
    limit: int, scanned_max: int, run_max: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(listing, "SCANNED_MAX", scanned_max)
    monkeypatch.setattr(listing, "_RUN_MAX", run_max)
    spring = await program(connection, minters, ttl="P1D", ttl_from=ttl_from, **OFF)
    for count in (12, 9, 11):
        await generate(connection, minters, spring.id, count, None)
    await list_block(connection, spring.id, ["DEAD-1", "DEAD-2"], lives=timedelta(seconds=-1))
    claimed = await claims.attach([message("SPRING", profile_id=f"p-{number}") for number in range(20)])
    attached = [row.code or "" for rows in claimed.rows.values() for row in rows]
    pooled = [one.code for one in await all_of(connection, minters, spring.id, 50, "pooled")]
    for code in attached[::6]:
        await till.activate(ProgramCodes(connection, minters, spring.id), code)
    for code in (*attached[1::6], pooled[0], pooled[5]):
        await lifecycle.delete(ProgramCodes(connection, minters, spring.id), code)
    await manual.attach_named(connection, minters, "SPRING", pooled[3], "p-x", message("SPRING").id)
    await lifecycle.detach(ProgramCodes(connection, minters, spring.id), attached[3])
    for code in (attached[2], pooled[7]):
        await lifecycle.change(ProgramCodes(connection, minters, spring.id), code, lambda _: CodeChange(LONG_AGO, None))

    await hold_code(connection, spring.id, attached[4])
    assert await audit(connection) == []
    # A code that was given with a life of its own, which is over.
    await connection.execute("UPDATE answer SET expires_at = $2 WHERE code = $1", attached[9], LONG_AGO)

    everything = await all_of(connection, minters, spring.id, 50, None)
    assert {one.state for one in everything} == set(get_args(State))
    for state in get_args(State):
        found = await all_of(connection, minters, spring.id, limit, state)
        assert found == [one for one in everything if one.state == state]


async def test_a_batch_is_all_codes_that_were_generated_together(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    batches = [await generate(connection, minters, spring.id, count, None) for count in (5, 7, 3)]
    batch = batches[1]
    assert batch is not None
    assert Batch.parse(str(batch)) == batch
    everything = [one.code for one in await all_of(connection, minters, spring.id, 4, None)]
    for limit in (3, 7, 100):
        for newest in (False, True):
            wanted = CodeFilter(batch=batch, newest_first=newest)
            found = [one.code for one in await walked(connection, minters, spring.id, limit, wanted)]
            assert (found[::-1] if newest else found) == everything[5:12]
    await claims.attach([message("SPRING", profile_id=f"p-{number}") for number in range(6)])
    attached = await walked(connection, minters, spring.id, 2, CodeFilter("attached", batch=batch))
    assert [one.code for one in attached] == everything[5:6]


def test_what_is_no_id_of_a_batch_is_refused() -> None:
    for text in ("", "1", "1-2", "a-b-c", "1-2-3-4", "-1-2-3", "01-2-3", f"1-2-{10**30}", f"{2**31}-0-1", "1-2-\u0663",
                 f"1-{10**19}-2"):  # fmt: skip
        assert Batch.parse(text) is None


async def test_a_code_keeps_the_time_it_was_made_at(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 1, None)
    made_at = await connection.fetchval("UPDATE block SET created_at = now() - interval '3 days' RETURNING created_at")
    request = message("SPRING")
    [row] = (await claims.attach([request])).rows[request.id]
    returned = await lifecycle.detach(ProgramCodes(connection, minters, spring.id), row.code or "")
    assert (returned.state, returned.created_at) == ("pooled", made_at)


@pytest.mark.parametrize("state", [None, "pooled"])
async def test_codes_after_billions_of_others_are_listed(
    connection: Connection, minters: Minters, state: State | None
) -> None:
    spring = await after_billions(connection, minters, 7)
    found = await all_of(connection, minters, spring.id, 2, state)
    assert [one.place.minor - 2**31 for one in found] == [-2, -1, 0, 1, 2, 3, 4]
