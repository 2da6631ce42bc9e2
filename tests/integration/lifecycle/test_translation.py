"""I11: what the log says of codes, folded, is what the tables say, whatever was done to them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from codewell.audit.audit_log import Actor
from codewell.codes import bulk, bulk_apply, lifecycle, possible_texts
from codewell.codes.bulk import NewChange
from codewell.codes.lifecycle import CodeChange
from codewell.codes.program_codes import ProgramCodes
from codewell.imports import undo
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual, reissue
from codewell.issuing.claim import Claims
from codewell.issuing.reissue import ReissueWanted
from codewell.pool import fill
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import programs
from codewell.redemption import orders, till
from codewell.redemption.orders import OrderEvent
from codewell.reservations import reservations
from codewell.returns.settle import Receipt, Returns
from schemas.changes import ChangeFilter
from schemas.reservations import ReservationRequest
from tests.support.factories import OFF, message, program
from tests.support.import_runs import Files
from tests.support.stock import list_block
from tests.support.stream_fold import Told, comparable, events_of, folded, truth
from tests.support.stream_log import StreamLog

PERSON = Actor("token", "marketing")
LATER = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture
async def log(connection: Connection) -> StreamLog:
    return await StreamLog.begin(connection)


async def given(claims: Claims, count: int, *names: str, first: int = 0) -> list[Any]:
    requests = [message(*(names or ("SPRING",)), profile_id=f"p-{first + n}") for n in range(count)]
    rows = (await claims.attach(requests)).rows
    return [row for one in requests for row in rows[one.id]]


async def stocked(connection: Connection, minters: Minters, count: int, **changed: Any) -> ProgramCodes:
    made = await program(connection, minters, **{**OFF, **changed})
    if count:
        await generate(connection, minters, made.id, count, '{"discount": "5"}')
    return ProgramCodes(connection, minters, made.id)


async def change(codes: ProgramCodes, what: NewChange) -> Any:
    async with codes.connection.transaction():
        begun = await bulk.start(codes.connection, uuid7(), codes.program_id, "SPRING", ChangeFilter(), what, PERSON)
    while (await bulk_apply.advance(codes.connection, begun.id)).more:
        pass
    return begun.id


async def undone(codes: ProgramCodes, change_id: Any) -> None:
    await bulk.undo(codes.connection, change_id, PERSON)
    while (await bulk_apply.advance(codes.connection, change_id)).more:
        pass


async def agree(log: StreamLog, connection: Connection) -> list[Told]:
    events = await events_of(log, connection)
    assert comparable(folded(events)) == comparable(await truth(connection))
    return events


def kinds(events: list[Told]) -> list[str]:
    return [one.kind for one in events]


async def test_i11_codes_are_made_given_returned_changed_deleted_and_replaced(
    connection: Connection, claims: Claims, minters: Minters, log: StreamLog
) -> None:
    codes = await stocked(connection, minters, 30, codes_max=1_000)
    rows = await given(claims, 12)
    texts = [row.code for row in rows]
    await Returns(share_max=1).settle(
        connection, [Receipt(row.request_id, row.profile_id, "before_handoff") for row in rows[:3]]
    )
    await lifecycle.detach(codes, texts[3])
    await lifecycle.change(codes, texts[4], lambda _: CodeChange(LATER, None))
    await lifecycle.delete(codes, texts[5])
    await reissue.reissue(codes, ReissueWanted(texts[6], None, "lost", "same"), uuid7(), PERSON, is_last=True)
    pooled = await connection.fetchval(
        "SELECT c.text FROM code c JOIN block b ON b.id = c.block_id WHERE b.open LIMIT 1"
    )
    await lifecycle.change(codes, pooled, lambda _: CodeChange(LATER, '{"discount": "9"}'))
    await manual.attach_named(connection, minters, "SPRING", pooled, "p-90", uuid7())
    await manual.attach_named(connection, minters, "SPRING", "NEW-TEXT", "p-91", uuid7())

    events = await agree(log, connection)

    made, *_ = [one for one in events if one.kind == "codes-made"]
    assert (made.data["count"], made.data["origin"], made.data["fields"]) == (30, "generate", {"discount": "5"})
    attached = [one.data for one in events if one.kind == "code-attached"]
    assert [one["request_id"] for one in attached[:12]] == [str(row.request_id) for row in rows]
    assert [one["profile"] for one in attached[:12]] == [f"p-{n}" for n in range(12)]
    returned = [one.data for one in events if one.kind == "code-returned"]
    assert len(returned) == 4
    assert len({one["new_place"] for one in returned}) == 4
    assert set(kinds(events)) == {
        "program-changed", "codes-made", "code-attached", "code-returned", "code-changed", "code-deleted",
        "code-reissued", "codes-imported",
    }  # fmt: skip


async def test_a_program_has_changed_where_its_settings_have(
    connection: Connection, minters: Minters, log: StreamLog
) -> None:
    codes = await stocked(connection, minters, 5)
    # A text from outside and a higher maximum mark the program for a moment.
    await manual.attach_named(connection, minters, "SPRING", "NEW-TEXT", "p-1", uuid7())
    assert kinds(await agree(log, connection)).count("program-changed") == 1
    await programs.update(connection, minters, "SPRING", {"codes_max": 20_000}, 10)
    assert kinds(await agree(log, connection)).count("program-changed") == 2
    async with possible_texts.changing(connection, codes.program_id):
        pass
    assert kinds(await agree(log, connection)).count("program-changed") == 2


async def test_i11_the_till(connection: Connection, claims: Claims, minters: Minters, log: StreamLog) -> None:
    codes = await stocked(connection, minters, 5, uses={"per_code": 2, "per_profile": None})
    [one, other, *_] = [row.code for row in await given(claims, 3)]
    await till.hold(codes, one, "o-1", profile_id="p-0")
    await till.hold(codes, one, "o-1", ttl=timedelta(hours=5))
    await till.activate(codes, one, order_id="o-1")
    await till.hold(codes, one, "o-2")
    await till.release(codes, one, "o-2")
    await till.activate(codes, one, order_id="o-3")
    await till.deactivate(codes, one, "o-1")
    await till.activate(codes, other)
    await programs.update(connection, minters, "SPRING", {"uses": {"per_code": 1, "per_profile": None}}, 10)

    events = await agree(log, connection)

    told = [(event.kind, event.data["order_id"], event.data["uses"]) for event in events if "order_id" in event.data]
    assert told == [
        ("code-held", "o-1", 0), ("code-held", "o-1", 0), ("code-activated", "o-1", 1), ("code-held", "o-2", 1),
        ("code-released", "o-2", 1), ("code-activated", "o-3", 2), ("code-deactivated", "o-1", 1),
        ("code-activated", None, 1), ("code-activated", None, 1), ("code-activated", None, 1),
    ]  # fmt: skip


async def test_i11_what_orders_had_of_deleted_codes_ends(
    connection: Connection, claims: Claims, minters: Minters, log: StreamLog, tmp_path: Path
) -> None:
    codes = await stocked(connection, minters, 5, uses={"per_code": 2, "per_profile": None})
    [used, held, *_] = [row.code for row in await given(claims, 3)]
    await till.activate(codes, used, order_id="o-1")
    await till.hold(codes, held, "o-2", ttl=timedelta(milliseconds=1))
    await connection.execute("SELECT pg_sleep(0.01)")
    for code in (used, held):
        await lifecycle.delete(codes, code)
    for order_id in ("o-1", "o-2"):
        await orders.settle(connection, minters, [OrderEvent(order_id, "cancelled", None)])

    assert [kind for kind in kinds(await agree(log, connection)) if kind in {"code-deactivated", "code-released"}] == [
        "code-deactivated", "code-released",
    ]  # fmt: skip
    assert await log.differences(connection, tmp_path) == []


async def test_i11_blocks_are_changed_voided_and_restored_whole(
    connection: Connection, claims: Claims, minters: Minters, log: StreamLog
) -> None:
    codes = await stocked(connection, minters, 20)
    texts = [row.code for row in await given(claims, 8)]
    await till.activate(codes, texts[0])
    extended = await change(codes, NewChange(void=False, expires_at=LATER))
    await agree(log, connection)
    await undone(codes, extended)
    await agree(log, connection)
    voided = await change(codes, NewChange(void=True, expires_at=None))
    events = await agree(log, connection)
    await undone(codes, voided)
    await given(claims, 3, first=20)

    restored = await agree(log, connection)

    assert kinds(events).count("codes-deleted") == 1
    assert kinds(restored).count("codes-restored") == 1
    assert kinds(restored).count("code-restored") == 7


async def test_i11_reservations_split_blocks_and_fills_let_them_grow(
    connection: Connection, claims: Claims, minters: Minters, log: StreamLog
) -> None:
    codes = await stocked(connection, minters, 10, codes_max=16, pool_max=10)
    await list_block(connection, codes.program_id, [f"A-{n}" for n in range(6)], lives=timedelta(days=9))
    wanted = ReservationRequest(campaign_id="spring", count=3, until=datetime.now(UTC) + timedelta(days=1))
    made = await reservations.reserve(connection, minters, codes.program_id, wanted)
    await given(claims, 2)
    await given(claims, 6, first=50)
    await reservations.release(connection, codes.program_id, made.id)
    await reservations.reserve(connection, minters, codes.program_id, wanted.model_copy(update={"count": 7}))
    await programs.update(
        connection, minters, "SPRING", {"campaign_can_create": True, "codes_max": 5_000, "pool_max": 40}, 10
    )
    await fill.top_up(connection, minters, codes.program_id)
    await given(claims, 5, first=70)
    await fill.top_up(connection, minters, codes.program_id)
    await fill.announce_worker(connection)
    await fill.top_up(connection, minters, codes.program_id)
    await given(claims, 20, first=100)

    events = await agree(log, connection)

    assert "codes-moved" in kinds(events)
    assert await connection.fetchval("SELECT count(*) FROM block WHERE split_from IS NOT NULL") > 0


async def test_i11_an_import_and_its_undo(
    connection: Connection, claims: Claims, minters: Minters, log: StreamLog, tmp_path: Path
) -> None:
    await stocked(connection, minters, 0, codes_max=1_000)
    files = Files(connection, minters, tmp_path)
    await files.bring_in(
        "code,profile\n" + "".join(f"C-{n},p-{n}\n" for n in range(3)), column="code", profile_column="profile"
    )
    brought = await files.bring_in("code\n" + "".join(f"D-{n}\n" for n in range(9)), column="code")
    await given(claims, 4, first=20)
    codes = ProgramCodes(connection, minters, (await programs.get(connection, "SPRING")).id)
    await lifecycle.delete(codes, "D-8")
    await undo.undo(connection, brought.id)
    await files.bring_in("code\nD-7\nE-1\n", column="code")

    events = await agree(log, connection)

    imported = [one.data for one in events if one.kind == "codes-imported"]
    assert sum(one["count"] for one in imported) == 14
    assert kinds(events).count("codes-withdrawn") == 1


async def test_i11_expired_pools_shared_codes_and_fallbacks(
    connection: Connection, claims: Claims, minters: Minters, log: StreamLog
) -> None:
    codes = await stocked(connection, minters, 0, codes_max=1_000)
    block = await list_block(connection, codes.program_id, ["X-1", "X-2"], lives=-timedelta(days=1))
    await fill.top_up(connection, minters, codes.program_id)
    shared = await program(connection, minters, "SHARED", **{**OFF, "shared": True})
    await generate(connection, minters, shared.id, 1, None)
    await given(claims, 3, "SHARED")
    await program(connection, minters, "FIRST", **{**OFF, "fallback": [{"program": "SHARED"}]})
    await given(claims, 1, "FIRST", first=10)
    await forget(connection, "p-1")

    events = await agree(log, connection)

    [expired] = [one.data for one in events if one.kind == "codes-expired"]
    assert (expired["run"], expired["first"], expired["count"]) == (f"1:{block}", 0, 2)
    attached = [one.data for one in events if one.kind == "code-attached"]
    assert [(one["profile"], one["again"], one["asked_program"], one["fallback"]) for one in attached] == [
        ("p-0", False, None, None), ("p-1", True, None, None), ("p-2", True, None, None), ("p-10", True, "FIRST", 1),
    ]  # fmt: skip
    assert kinds(events).count("program-changed") == 3
