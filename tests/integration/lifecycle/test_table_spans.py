"""What the tables say about each place, after all kinds of changes."""

from collections import Counter
from datetime import UTC, datetime

from codewell.codes import bulk, bulk_apply, lifecycle
from codewell.codes.bulk import NewChange
from codewell.codes.lifecycle import CodeChange
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.lifecycle import table_spans
from codewell.lifecycle.spans import CodeSpan, PlaceState, overlaid
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.redemption import till
from schemas.changes import ChangeFilter
from tests.integration.codes.test_bulk import PERSON, given
from tests.support.factories import OFF, program

LATER = datetime(2090, 1, 1, tzinfo=UTC)
LATER_US = int(LATER.timestamp()) * 1_000_000


async def spans_of(connection: Connection) -> list[CodeSpan]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return list(overlaid([one async for one in table_spans.read(connection)]))


async def test_each_code_has_one_state_wherever_it_went(
    connection: Connection, minters: Minters, claims: Claims
) -> None:
    made = await program(connection, minters, **OFF)
    codes = ProgramCodes(connection, minters, made.id)
    await generate(connection, minters, made.id, 10, None)
    texts = await given(claims, 6)
    await till.activate(codes, texts[0])
    await lifecycle.detach(codes, texts[1])
    await lifecycle.delete(codes, texts[2])
    await lifecycle.change(codes, texts[3], lambda _: CodeChange(LATER, None))
    await till.hold(codes, texts[4], "o-1")
    found = await spans_of(connection)
    by_state = {one.state.state: one for one in found if one.listed == 0}
    assert Counter({one.state.state: one.end - one.first for one in found if one.listed == 1}) == {"pooled": 1}
    assert by_state["activated"].state.uses == 1
    assert by_state["moved"].state == PlaceState("moved")
    assert by_state["deleted_attached"].state == PlaceState("deleted_attached")
    changed, held, plain = (one for one in found if one.state.state == "attached")
    assert changed.state == PlaceState("attached", LATER_US)
    assert held.state.held_until is not None
    assert plain.state == PlaceState("attached", held_until=None, expires_at=held.state.expires_at)
    assert [(one.first, one.end) for one in found if one.listed == 0 and one.state.state == "pooled"] == [(6, 10)]

    change_id = uuid7()
    async with connection.transaction():
        await bulk.start(
            connection, change_id, made.id, "SPRING", ChangeFilter(state="pooled"),
            NewChange(void=True, expires_at=None), PERSON,
        )  # fmt: skip
    await bulk_apply.carry_out(connection, change_id, lambda _: None)
    voided = await spans_of(connection)
    assert [(one.listed, one.first, one.end) for one in voided if one not in found] == [(0, 6, 10), (1, 0, 1)]
    assert {one.state for one in voided if one not in found} == {PlaceState("deleted")}
