"""Pages of one state: together they are all codes of that state, whatever is in the way."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from codewell.audit.promises import audit
from codewell.codes import activation, lifecycle, listing
from codewell.codes.lifecycle import CodeChange
from codewell.codes.listing import page
from codewell.codes.lookup import START, CodeFacts, CodePlace
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from schemas.program import State
from tests.support.factories import OFF, message, program
from tests.support.stock import list_block

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def all_of(
    connection: Connection, minters: Minters, program_id: int, limit: int, state: State | None
) -> list[CodeFacts]:
    found: list[CodeFacts] = []
    after: CodePlace | None = START
    while after is not None:
        some = await page(ProgramCodes(connection, minters, program_id), after, limit, state)
        assert len(some.codes) <= limit
        assert some.next is None or some.next > after
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
        await activation.activate(ProgramCodes(connection, minters, spring.id), code)
    for code in (*attached[1::6], pooled[0], pooled[5]):
        await lifecycle.delete(ProgramCodes(connection, minters, spring.id), code)
    await manual.attach_named(connection, minters, "SPRING", pooled[3], "p-x", message("SPRING").id)
    await lifecycle.detach(ProgramCodes(connection, minters, spring.id), attached[3])
    for code in (attached[2], pooled[7]):
        await lifecycle.change(ProgramCodes(connection, minters, spring.id), code, lambda _: CodeChange(LONG_AGO, None))

    everything = await all_of(connection, minters, spring.id, 50, None)
    assert {one.state for one in everything} == set(get_args(State))
    for state in get_args(State):
        found = await all_of(connection, minters, spring.id, limit, state)
        assert found == [one for one in everything if one.state == state]
    assert await audit(connection) == []
