"""Changes of many codes: exactly their effect, in chunks, whoever does them, and back again."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from codewell.audit.audit_log import Actor
from codewell.audit.promises import audit
from codewell.codes import bulk, bulk_apply, bulk_undo, lifecycle, listing, prefix_search
from codewell.codes.bulk import NewChange
from codewell.codes.code_filter import CodeFilter
from codewell.codes.export import ExportOptions, export, of_one_moment
from codewell.codes.lookup import find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ChangeUnknown, ProgramRefused
from codewell.imports.undo import undo
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import overview, programs
from codewell.redemption import till
from codewell.reservations import reservations
from schemas.changes import BulkChange, BulkCounts, ChangeFilter
from schemas.reservations import ReservationRequest
from tests.support.factories import OFF, message, program
from tests.support.import_runs import Files
from tests.support.stock import after_billions, list_block, until_waiting

PERSON = Actor("token", "marketing")
LATER = datetime(2090, 1, 1, tzinfo=UTC)
EXTEND = NewChange(void=False, expires_at=LATER)
VOID = NewChange(void=True, expires_at=None)
ALL = ChangeFilter()


async def stocked(connection: Connection, minters: Minters, *counts: int, **changed: Any) -> ProgramCodes:
    made = await program(connection, minters, **{**OFF, **changed})
    for count in counts:
        await generate(connection, minters, made.id, count, None)
    return ProgramCodes(connection, minters, made.id)


async def given(claims: Claims, count: int) -> list[str]:
    requests = sorted((message("SPRING", profile_id=f"p-{n}") for n in range(count)), key=lambda one: one.id)
    rows = (await claims.attach(requests)).rows
    return [rows[one.id][0].code or "" for one in requests]


async def begin(codes: ProgramCodes, change: NewChange, wanted: ChangeFilter = ALL) -> UUID:
    async with codes.connection.transaction():
        begun = await bulk.start(codes.connection, uuid7(), codes.program_id, "SPRING", wanted, change, PERSON)
    return begun.id


async def finish(connection: Connection, change_id: UUID) -> BulkChange:
    while (await bulk_apply.advance(connection, change_id)).more:
        pass
    return await bulk.get(connection, change_id)


async def done(codes: ProgramCodes, change: NewChange, wanted: ChangeFilter = ALL) -> BulkChange:
    return await finish(codes.connection, await begin(codes, change, wanted))


async def undone(codes: ProgramCodes, change: BulkChange) -> BulkChange:
    await bulk.undo(codes.connection, change.id, PERSON)
    return await finish(codes.connection, change.id)


async def everything(codes: ProgramCodes) -> dict[str, tuple[str, datetime | None]]:
    """State and expiry of each code, by its text."""
    found: dict[str, tuple[str, datetime | None]] = {}
    wanted = CodeFilter()
    place = wanted.start
    while True:
        page = await listing.page(codes, place, 500, wanted)
        found |= {one.code: (one.state, one.expires_at) for one in page.codes}
        if page.next is None:
            return found
        place = page.next


async def stock(connection: Connection) -> tuple[int, int, int]:
    now = await overview.stock(connection, "SPRING")
    return now.pooled, now.attached, now.deleted


async def test_all_codes_get_another_expiry_and_their_own_again(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 20, 30, reuse="campaign")
    held = await given(claims, 5)
    await till.activate(codes, held[0])
    await lifecycle.detach(codes, held[1])
    await list_block(connection, codes.program_id, ["X-1", "X-2"], lives=timedelta(days=1))
    before = await everything(codes)

    change = await done(codes, EXTEND)

    assert (change.state, change.changed, change.done) == ("done", 51, change.total)
    after = await everything(codes)
    assert {code for code, (_, expires_at) in after.items() if expires_at == LATER} == before.keys() - {held[0]}
    assert {code: state for code, (state, _) in after.items()} == {code: state for code, (state, _) in before.items()}
    # Profiles get the same codes again, and the one that lost its code a new one, which stays as it was given.
    assert len(set(await given(claims, 5)) & set(held)) == 4
    assert await audit(connection) == []

    restored = await undone(codes, change)

    assert (restored.state, restored.restored) == ("undone", 50)
    now = await everything(codes)
    assert {code: now[code] for code in before if before[code][0] == "pooled" and now[code][0] == "pooled"} == {
        code: facts for code, facts in before.items() if facts[0] == "pooled" and now[code][0] == "pooled"
    }
    assert all(now[code] == before[code] for code in held if code != held[1])
    assert await audit(connection) == []


async def test_all_codes_are_deleted_and_come_back(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes = await stocked(connection, minters, 20, 30, reuse="campaign")
    held = await given(claims, 5)
    await till.activate(codes, held[0])
    # Taken out of turn: holes that a block's deleted codes must not count.
    pooled = (await minters.get(connection, codes.program_id, 1)).mint(40, 2)
    await lifecycle.delete(codes, pooled[0])
    await lifecycle.change(codes, pooled[1], lambda _: lifecycle.CodeChange(LATER, None))
    before = await everything(codes)

    change = await done(codes, VOID)

    assert (change.changed, await stock(connection)) == (48, (0, 1, 49))
    assert {code for code, (state, _) in (await everything(codes)).items() if state != "deleted"} == {held[0]}
    assert await audit(connection) == []
    facts = await find(codes, pooled[1])
    assert facts is not None
    with pytest.raises(ProgramRefused, match="is deleted"):
        await lifecycle.delete(codes, facts.code)
    listed = await listing.page(codes, CodeFilter(state="deleted").start, 100, CodeFilter(state="deleted"))
    assert len(listed.codes) == 49

    restored = await undone(codes, change)

    assert restored.restored == 48
    assert await everything(codes) == before
    assert await given(claims, 5) == held
    assert await audit(connection) == []


async def exported(pool: Pool, codes: ProgramCodes, state: Any) -> list[str]:
    lines: list[bytes] = []

    async def write(some: bytes) -> None:
        lines.append(some)

    found = await programs.get(codes.connection, "SPRING")
    async with pool.acquire() as connection, of_one_moment(connection) as same:
        await export(same, codes.minters, found, ExportOptions(state=state), write)
    return b"".join(lines).decode().splitlines()[1:]


async def test_an_export_says_which_codes_a_change_deleted(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 20)
    await list_block(connection, codes.program_id, ["X-1", "X-2"])
    await given(claims, 3)
    await done(codes, VOID, ChangeFilter(state="pooled"))

    assert await exported(connections, codes, "pooled") == []
    deleted = await exported(connections, codes, "deleted")
    assert len(deleted) == 19
    assert all(line.split(",")[1] == "deleted" and line.split(",")[6] for line in deleted)
    assert len(await exported(connections, codes, None)) == 22


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        ({"state": "pooled"}, 9),
        ({"state": "attached"}, 3),
        ({"state": "expired"}, 2),
        ({"profile_id": "p-1"}, 1),
        ({"expires_from": "2080-01-01", "expires_until": "2081-01-01"}, 3),
        ({"state": "pooled", "expires_until": "2081-01-01"}, 2),
    ],
)
async def test_a_filter_finds_what_it_says(
    connection: Connection, claims: Claims, minters: Minters, wanted: dict[str, Any], changed: int
) -> None:
    codes = await stocked(connection, minters, 10)
    held = await given(claims, 3)
    await lifecycle.change(codes, held[2], lambda _: lifecycle.CodeChange(datetime(2080, 5, 1, tzinfo=UTC), None))
    block = await list_block(connection, codes.program_id, ["X-1", "X-2"])
    await connection.execute("UPDATE block SET expires_at = '2080-06-01' WHERE id = $1", block)
    await list_block(connection, codes.program_id, ["Y-1", "Y-2"], lives=-timedelta(days=1))

    dry = await bulk.counts(connection, codes.program_id, ChangeFilter(**wanted))
    change = await done(codes, EXTEND, ChangeFilter(**wanted))

    assert change.changed == changed
    assert change.total == dry.pooled + dry.expired + dry.attached >= changed
    assert dry.exact == (dry.attached == 0)
    assert await audit(connection) == []


async def test_expired_codes_of_a_closed_block_live_again(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters)
    block = await list_block(connection, codes.program_id, ["Y-1", "Y-2"], lives=-timedelta(days=1))
    await connection.execute("UPDATE block SET open = false WHERE id = $1", block)

    await done(codes, EXTEND, ChangeFilter(state="expired"))

    assert set(await given(claims, 2)) == {"Y-1", "Y-2"}
    assert await audit(connection) == []


async def test_chunks_resume_where_they_ended_and_nothing_is_done_twice(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_apply, "CODES_MAX", 3)
    monkeypatch.setattr(bulk_apply, "BLOCKS_MAX", 2)
    codes = await stocked(connection, minters, 5, 5, 5, 5)
    await given(claims, 13)
    change_id = await begin(codes, VOID)
    chunks = 0
    while True:
        # A crash before the commit leaves no trace of a chunk.
        transaction = bystander.transaction()
        await transaction.start()
        await bulk_apply.advance(bystander, change_id)
        await transaction.rollback()
        if not (await bulk_apply.advance(connection, change_id)).more:
            break
        chunks += 1
        assert await audit(connection) == []

    change = await bulk.get(connection, change_id)
    assert chunks > 4
    assert (change.state, change.changed, await stock(connection)) == ("done", 20, (0, 0, 20))
    monkeypatch.setattr("codewell.codes.bulk_undo.ITEMS_MAX", 3)
    assert (await undone(codes, change)).restored == 20
    assert await stock(connection) == (7, 13, 0)
    assert await audit(connection) == []


async def test_a_chunk_and_its_place_are_stored_together(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = await stocked(connection, minters, 5)
    await given(claims, 2)
    change_id = await begin(codes, VOID)
    for module, before in ((bulk_apply, (3, 2, 0)), (bulk_undo, (0, 0, 5))):
        with monkeypatch.context() as patched:
            # As a process that dies just before it stores its place.
            patched.setattr(module, "_ADVANCE", "SELECT 1 / 0 WHERE $1::text || $2 || $3 || $4 || $5 <> ''")
            async with connections.acquire() as own:
                with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                    await bulk_apply.advance(own, change_id)
        assert await stock(connection) == before
        assert await audit(connection) == []
        done = await finish(connection, change_id)
        assert await audit(connection) == []
        if done.state == "done":
            await bulk.undo(connection, change_id, PERSON)
    assert await stock(connection) == (3, 2, 0)


async def test_a_code_that_is_used_meanwhile_is_left_and_listed(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 5)
    held = await given(claims, 3)
    change_id = await begin(codes, VOID, ChangeFilter(state="attached"))
    await till.activate(codes, held[1])

    change = await finish(connection, change_id)

    assert (change.changed, change.skipped) == (2, {"activated": 1})
    lines = [line async for line in bulk.items_csv(connections.acquire, change_id)]
    assert sorted(line.split(",")[2] for line in "".join(lines).splitlines()[1:]) == ["activated", "changed", "changed"]
    assert await audit(connection) == []


async def test_what_changed_since_stays_as_it_is(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes = await stocked(connection, minters, 5, reuse="campaign")
    held = await given(claims, 5)
    change = await done(codes, EXTEND)
    await till.activate(codes, held[0])
    await till.hold(codes, held[4], "o-1")
    own = LATER + timedelta(days=1)
    await lifecycle.change(codes, held[1], lambda _: lifecycle.CodeChange(own, None))
    await lifecycle.delete(codes, held[2])

    restored = await undone(codes, change)

    now = await everything(codes)
    assert [now[code] for code in held] == [("activated", LATER), ("attached", own), ("deleted", LATER),
                                            ("attached", None), ("held", LATER)]  # fmt: skip
    assert restored.restored == 1


@pytest.mark.parametrize("when", ["before", "meanwhile", "while its file is refused"])
async def test_codes_of_an_import_that_was_taken_back_stay_away(
    connections: Pool, connection: Connection, bystander: Connection, minters: Minters, tmp_path: Path, when: str
) -> None:
    codes = await stocked(connection, minters, source={"kind": "import"})
    files = Files(connection, minters, tmp_path)
    gone = await files.bring_in("A\nB\nC\n", column="1", header=False)
    await files.bring_in("D\nE\n", column="1", header=False)
    change = await done(codes, VOID)
    if when != "meanwhile":
        await undo(connection, gone.id)
        if when != "before":
            await connection.execute("UPDATE import SET state = 'running', error = 'No file' WHERE id = $1", gone.id)
        back = await undone(codes, change)
    else:
        async with connections.acquire() as one:
            async with bystander.transaction():
                await undo(bystander, gone.id)
                restoring = asyncio.ensure_future(undone(codes._replace(connection=one), change))
                await until_waiting(connection)
            back = await restoring

    assert (back.state, back.changed, back.restored) == ("undone", 5, 2)
    assert await stock(connection) == (2, 0, 3)
    assert await audit(connection) == []


async def test_a_block_that_was_split_since_is_restored_whole(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 10)
    change = await done(codes, EXTEND)
    await connection.execute(
        """
        WITH cut AS (UPDATE block SET size = 4 RETURNING *)
        INSERT INTO block (program_id, kind, version, first, size, expires_at, origin, created_at)
        SELECT program_id, kind, version, first + 4, 6, expires_at, origin, created_at FROM cut
        """
    )

    assert (await undone(codes, change)).restored == 10

    assert {expires_at for _, expires_at in (await everything(codes)).values()} == {None}
    assert await audit(connection) == []


async def test_a_list_block_that_reservations_have_split_since_is_restored_whole(
    connection: Connection, minters: Minters
) -> None:
    codes = await stocked(connection, minters, codes_max=10, pool_max=10)
    first = await list_block(connection, codes.program_id, [f"A-{n}" for n in range(6)], lives=timedelta(days=9))
    await list_block(connection, codes.program_id, [f"B-{n}" for n in range(4)], lives=timedelta(days=5))
    # A part that was split off before the change has a row of its own in the list.
    await reserved_and_released(codes, 7)
    await connection.execute("UPDATE block SET expires_at = expires_at + interval '1 day' WHERE split_from = $1", first)
    before = await everything(codes)
    change = await done(codes, EXTEND)

    await reserved_and_released(codes, 1)
    await reserved_and_released(codes, 2)

    assert await connection.fetchval("SELECT count(*) FROM block WHERE split_from IS NOT NULL") > 1
    assert (await undone(codes, change)).restored == 10
    assert await everything(codes) == before
    assert await audit(connection) == []


async def test_what_a_split_makes_while_an_undo_waits_is_reserved_or_restored(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 2, 10, codes_max=12, pool_max=12)
    change = await done(codes, EXTEND)
    await given(claims, 2)
    await bulk.undo(connection, change.id, PERSON)
    async with connections.acquire() as own, connections.acquire() as other:
        await bystander.execute("BEGIN; SELECT FROM block WHERE size = 2 FOR NO KEY UPDATE")
        undoing = asyncio.ensure_future(finish(own, change.id))
        await until_waiting(connection)
        await reserved_and_released(codes, 5)
        await given(claims, 5)
        async with other.transaction():
            wanted = ReservationRequest(campaign_id="spring", count=5, until=datetime.now(UTC) + timedelta(days=1))
            await reservations.reserve(other, minters, codes.program_id, wanted)
            await bystander.execute("COMMIT")
            await until_waiting(connection)
        await undoing

    blocks = await connection.fetch("SELECT open, reserved_open, expires_at FROM block ORDER BY id")
    assert [tuple(row) for row in blocks] == [(False, False, None), (False, False, None), (False, True, LATER)]
    assert await audit(connection) == []


async def reserved_and_released(codes: ProgramCodes, count: int) -> None:
    wanted = ReservationRequest(campaign_id="spring", count=count, until=datetime.now(UTC) + timedelta(days=1))
    made = await reservations.reserve(codes.connection, codes.minters, codes.program_id, wanted)
    await reservations.release(codes.connection, codes.program_id, made.id)


async def test_stop_and_undo_of_what_is_done_so_far(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_apply, "BLOCKS_MAX", 1)
    codes = await stocked(connection, minters, 5, 5, 5)
    change_id = await begin(codes, VOID)
    with pytest.raises(ProgramRefused) as busy:
        await begin(codes, EXTEND)
    assert busy.value.reason == "change_busy"
    await bulk_apply.advance(connection, change_id)

    stopped = await bulk.stop(connection, change_id, PERSON)

    assert (stopped.state, stopped.changed) == ("stopped", 5)
    assert await bulk.stop(connection, change_id, PERSON) == stopped
    assert await bulk_apply.advance(connection, change_id) == bulk_apply.Done()
    first = await undone(codes, stopped)
    assert (first.state, first.restored, await stock(connection)) == ("undone", 5, (15, 0, 0))
    assert await bulk.undo(connection, change_id, PERSON) == first
    with pytest.raises(ProgramRefused) as ended:
        await bulk.stop(connection, change_id, PERSON)
    assert ended.value.reason == "change_ended"
    verbs = await connection.fetch("SELECT verb FROM audit_entry ORDER BY id")
    assert [row["verb"] for row in verbs] == ["change.begin", "change.stop", "change.undo"]


async def test_what_is_refused(connection: Connection, minters: Minters) -> None:
    codes = await stocked(connection, minters, 5)
    for wanted, change, reason in (
        (ChangeFilter(state="attached"), VOID, "filter_finds_nothing"),
        (ChangeFilter(import_id=uuid7()), VOID, "filter_finds_nothing"),
        (ALL, NewChange(void=False, expires_at=datetime(2020, 1, 1, tzinfo=UTC)), "expiry_passed"),
    ):
        with pytest.raises(ProgramRefused) as refused:
            await begin(codes, change, wanted)
        assert refused.value.reason == reason
    with pytest.raises(ChangeUnknown):
        await bulk.undo(connection, uuid7(), PERSON)
    assert await connection.fetchval("SELECT count(*) FROM bulk_change") == 0


async def test_codes_that_are_made_meanwhile_are_none_of_it(connection: Connection, minters: Minters) -> None:
    codes = await stocked(connection, minters, 5)
    change_id = await begin(codes, VOID)
    await generate(connection, minters, codes.program_id, 7, None)

    await finish(connection, change_id)

    assert await stock(connection) == (7, 0, 5)


async def test_a_change_beside_claims_and_steps_deadlocks_with_none(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_apply, "CODES_MAX", 7)
    codes = await stocked(connection, minters, 40, 40, 40, campaign_can_create=True)
    held = await given(claims, 60)
    change_id = await begin(codes, VOID)

    async def steps() -> None:
        async with connections.acquire() as own:
            for code in held[::3]:
                try:
                    await till.activate(codes._replace(connection=own), code)
                except ProgramRefused as error:
                    assert error.reason == "code_deleted"  # noqa: PT017

    async def claim() -> None:
        for _ in range(10):
            await given(claims, 5)

    async with connections.acquire() as own:
        await asyncio.gather(finish(own, change_id), steps(), claim())

    change = await bulk.get(connection, change_id)
    assert change.state == "done"
    assert await audit(connection) == []


@pytest.mark.parametrize("change", [EXTEND, VOID])
async def test_codes_that_are_given_while_a_chunk_waits_for_their_block_are_changed(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters,
    change: NewChange,
) -> None:  # fmt: skip
    codes = await stocked(connection, minters, 10, 5, 5)
    await given(claims, 3)
    change_id = await begin(codes, change)
    async with connections.acquire() as own:
        # As a claim that is being decided.
        await bystander.execute("BEGIN")
        await bystander.execute("SELECT FROM block FOR NO KEY UPDATE")
        changing = asyncio.ensure_future(finish(own, change_id))
        await until_waiting(connection)
        await bystander.execute("""
            WITH taken AS (
                UPDATE block SET next = next + 2, attached = attached + 2
                WHERE size = 10 OR first = (SELECT max(first) FROM block) RETURNING id, next
            )
            INSERT INTO answer (request_id, ordinal, program_id, block_id, position, profile_id, code, answered_at)
            SELECT gen_random_uuid(), 0, $1, t.id, t.next - n, 'p-9', 'C-' || t.id || n, now()
            FROM taken t, generate_series(1, 2) n
            """, codes.program_id)  # fmt: skip
        await bystander.execute("COMMIT")
        done = await changing

    assert (done.changed, done.done) == (20, 20)
    if change.void:
        assert await stock(connection) == (0, 0, 20)
    else:
        assert {expires_at for _, expires_at in (await everything(codes)).values()} == {LATER}
    assert (await undone(codes, done)).restored == 20
    assert await audit(connection) == []


@pytest.mark.parametrize("state", ["pooled", None])
async def test_codes_that_a_split_moves_while_a_chunk_waits_for_their_block_are_changed(
    connections: Pool, connection: Connection, bystander: Connection, minters: Minters, state: Any
) -> None:
    codes = await stocked(connection, minters, 10, 5)
    change_id = await begin(codes, VOID, ChangeFilter(state=state))
    async with connections.acquire() as own:
        await bystander.execute("BEGIN")
        await bystander.execute("SELECT FROM block FOR NO KEY UPDATE")
        changing = asyncio.ensure_future(finish(own, change_id))
        await until_waiting(connection)
        await bystander.execute(
            """
            WITH cut AS (UPDATE block SET size = size - 2 RETURNING *)
            INSERT INTO block (program_id, kind, version, first, size, expires_at, origin, created_at)
            SELECT program_id, kind, version, first + size, 2, expires_at, origin, created_at FROM cut
            """
        )
        await bystander.execute("COMMIT")
        done = await changing

    assert (done.changed, await stock(connection)) == (15, (0, 0, 15))
    assert (await undone(codes, done)).restored == 15
    assert await audit(connection) == []


async def test_a_shared_code_is_found_by_each_profile_that_got_it(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 3, shared=True, reuse="profile")
    [first] = set(await given(claims, 3))
    # Once more to each of them.
    await given(claims, 3)
    later = ChangeFilter(profile_id="p-2")
    assert (await bulk.counts(connection, codes.program_id, later)).attached == 1
    change = await done(codes, EXTEND, later)
    assert (change.total, change.done, change.changed) == (1, 1, 1)
    assert await bulk.counts(connection, codes.program_id, ChangeFilter(profile_id="p-9")) == BulkCounts(
        pooled=0, expired=0, attached=0, exact=True
    )
    # Browse finds it by each of them too, with any other part of the filter.
    for profile, there in (("p-0", [first]), ("p-2", [first]), ("p-9", [])):
        wanted = CodeFilter(profile_id=profile, expires_from=LATER)
        page = await listing.page(codes, wanted.start, 10, wanted)
        assert [one.code for one in page.codes] == there
        found = await prefix_search.search(codes, first[:3], prefix_search.SEARCH_START, 100, profile)
        assert [one.code for one in found.codes] == there
    assert (await undone(codes, change)).restored == 1
    assert await audit(connection) == []


async def test_a_forgotten_profile_is_in_no_filter(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes = await stocked(connection, minters, 5)
    await given(claims, 2)
    change_id = await begin(codes, EXTEND, ChangeFilter(profile_id="p-1"))

    await forget(connection, "p-1")

    change = await finish(connection, change_id)
    assert change.filter.profile_id != "p-1"
    assert change.changed == 1
    details = await connection.fetchval("SELECT details FROM audit_entry WHERE verb = 'change.begin'")
    assert "p-1" not in json.dumps(details)


async def test_codes_after_billions_of_others_are_changed(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await after_billions(connection, minters, 7)
    await given(claims, 3)
    changed = await done(ProgramCodes(connection, minters, spring.id), EXTEND)
    assert (changed.state, changed.changed) == ("done", 7)
