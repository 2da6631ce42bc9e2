"""An import is taken back: what nobody has goes, what somebody has stays, and the file may come again."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from codewell.audit.promises import audit
from codewell.codes import lifecycle, listing, lookup
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown, ImportUnknown, ProgramRefused
from codewell.imports import imports, run
from codewell.imports import undo as undoing
from codewell.imports.undo import undo
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from codewell.reservations import reservations
from schemas.reservations import Reservation, ReservationRequest
from tests.integration.imports.test_imports import IMPORT, files, stock
from tests.support.factories import message, program
from tests.support.import_runs import Files, before_chunks, lines
from tests.support.stock import until_waiting

__all__ = ["files"]

TEXTS = [f"C-{n}" for n in range(40)]


async def test_what_nobody_has_leaves_the_program_and_may_come_again(files: Files, claims: Claims) -> None:
    spring = await program(files.connection, files.minters, codes_max=40, pool_max=1, **IMPORT)
    done = await files.bring_in(lines(TEXTS))
    await claims.attach([message("SPRING") for _ in range(5)])
    # Out of their turn: attached by name, deleted, returned, changed.
    await manual.attach_named(files.connection, files.minters, "SPRING", "C-30", "p-1", uuid7())
    await lifecycle.delete(ProgramCodes(files.connection, files.minters, spring.id), "C-20")
    await manual.attach_named(files.connection, files.minters, "SPRING", "C-25", "p-1", uuid7())
    await lifecycle.detach(ProgramCodes(files.connection, files.minters, spring.id), "C-25")

    undone = await undo(files.connection, done.id)

    assert (undone.state, undone.taken_back) == ("undone", 32)
    # Five and one are attached, one is deleted, and one is in the pool again.
    assert await stock(files.connection) == (8, 1, 6)
    assert await audit(files.connection) == []
    page = await listing.page(ProgramCodes(files.connection, files.minters, spring.id), lookup.START, 100)
    kept = {"C-0", "C-1", "C-2", "C-3", "C-4", "C-20", "C-25", "C-30"}
    assert {one.code for one in page.codes} == kept
    assert await lookup.find(ProgramCodes(files.connection, files.minters, spring.id), "C-10") is None
    again = await files.bring_in(lines(TEXTS))
    assert (again.imported, again.bad) == (32, {"already_in_program": 7, "deleted_in_program": 1})
    assert (await undo(files.connection, again.id)).taken_back == 32
    assert (await undo(files.connection, again.id)).taken_back == 32
    assert await audit(files.connection) == []


async def test_nothing_is_given_out_of_what_was_taken_back(files: Files, claims: Claims) -> None:
    await program(files.connection, files.minters, **IMPORT)
    await undo(files.connection, (await files.bring_in(lines(TEXTS))).id)
    request = message("SPRING")
    assert (await claims.attach([request])).rows[request.id][0].refusals is not None


async def test_attached_rows_stay(files: Files) -> None:
    await program(files.connection, files.minters, **IMPORT)
    done = await files.bring_in("code,who\nA,p-1\nB,\n", profile_column="who")
    assert (await undo(files.connection, done.id)).taken_back == 1
    assert await stock(files.connection) == (1, 0, 1)
    assert await audit(files.connection) == []


async def test_an_import_that_runs_is_ended(
    files: Files, bystander: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CHUNK_ROWS", 10)
    await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin(lines(TEXTS))
    before_chunks(monkeypatch)[20] = lambda _: undo(bystander, begun.id)
    ended = await files.go_on(begun)
    assert (ended.state, ended.imported, ended.taken_back) == ("undone", 20, 20)
    assert await files.texts() == []
    assert await audit(files.connection) == []


async def test_i1_a_claim_and_an_undo_share_no_code(
    files: Files, claims: Claims, bystander: Connection, connections: object
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    done = await files.bring_in(lines(TEXTS))
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block FOR NO KEY UPDATE")
        undoing = asyncio.ensure_future(undo(files.connection, done.id))
        await until_waiting(bystander)
        await bystander.execute("UPDATE block SET next = 1, attached = 1")
        await bystander.execute(
            "INSERT INTO answer (request_id, ordinal, program_id, block_id, position, profile_id, code) "
            "SELECT gen_random_uuid(), 0, program_id, id, 0, 'p-1', 'C-0' FROM block"
        )
    assert (await undoing).taken_back == 39
    assert await files.texts() == ["C-0"]
    assert await audit(files.connection) == []


async def test_who_waits_for_a_code_that_is_taken_back_is_told_that_there_is_none(
    files: Files, bystander: Connection, minters: Minters
) -> None:
    spring = await program(files.connection, files.minters, **IMPORT)
    done = await files.bring_in(lines(TEXTS))
    async with bystander.transaction():
        await undo(bystander, done.id)
        deleting = asyncio.ensure_future(lifecycle.delete(ProgramCodes(files.connection, minters, spring.id), "C-7"))
        await until_waiting(bystander)
    with pytest.raises(CodeUnknown):
        await deleting
    assert await audit(files.connection) == []


async def reserve(connection: Connection, minters: Minters, program_id: int) -> Reservation:
    until = await connection.fetchval("SELECT now() + interval '1 h'")
    wanted = ReservationRequest(campaign_id="spring", count=5, until=until)
    return await reservations.reserve(connection, minters, program_id, wanted)


async def test_what_is_reserved_first_is_not_taken_back(
    files: Files, bystander: Connection, connections: Pool, claims: Claims
) -> None:
    spring = await program(files.connection, files.minters, **IMPORT)
    brought = await files.bring_in(lines(TEXTS))
    async with connections.acquire() as one, connections.acquire() as other:
        async with bystander.transaction():
            await bystander.execute("SELECT FROM program FOR NO KEY UPDATE")
            reserving = asyncio.ensure_future(reserve(one, files.minters, spring.id))
            await until_waiting(files.connection)
            undoing = asyncio.ensure_future(undo(other, brought.id))
            await until_waiting(files.connection, 2)
        reserved = await reserving
        with pytest.raises(ProgramRefused, match="reserved"):
            await undoing
    assert await imports.get(files.connection, brought.id) == brought
    assert await stock(files.connection) == (40, 40, 0)
    await reservations.release(files.connection, spring.id, reserved.id)
    assert (await undo(files.connection, brought.id)).taken_back == 40
    assert await audit(files.connection) == []


async def test_what_is_being_taken_back_is_not_reserved(
    files: Files, bystander: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    spring = await program(files.connection, files.minters, **IMPORT)
    brought = await files.bring_in(lines(TEXTS))
    await files.bring_in(lines([f"D-{n}" for n in range(5)]))
    undo_block = undoing._undo_block
    reserved: list[Reservation] = []

    async def after_an_attempt(connection: Connection, import_id: UUID, block_id: int) -> None:
        assert (await reservations.availability(bystander, spring.id, 6, None)).reserved == 5
        reserved.append(await reserve(bystander, files.minters, spring.id))
        await undo_block(connection, import_id, block_id)

    monkeypatch.setattr(undoing, "_undo_block", after_an_attempt)
    assert (await undo(files.connection, brought.id)).taken_back == 40
    [one] = reserved
    assert (await reservations.get(files.connection, spring.id, one.id)).left == 5
    assert await audit(files.connection) == []


async def test_a_block_that_is_split_meanwhile_is_refused_whole(
    files: Files, bystander: Connection, connections: Pool
) -> None:
    spring = await program(files.connection, files.minters, **IMPORT)
    brought = await files.bring_in(lines(TEXTS))
    await files.connection.execute("UPDATE import SET state = 'running', ended_at = NULL")
    async with connections.acquire() as one:
        async with bystander.transaction():
            await reserve(bystander, files.minters, spring.id)
            refusing = asyncio.ensure_future(undoing.refuse(one, brought.id, "It is no file of codes."))
            await until_waiting(files.connection)
        await refusing
    assert await files.texts() == []
    assert await audit(files.connection) == []


async def test_one_that_is_not_there(connection: Connection) -> None:
    with pytest.raises(ImportUnknown):
        await undo(connection, uuid7())
    with pytest.raises(ImportUnknown):
        await imports.get(connection, uuid7())


async def test_the_path_of_a_file_is_not_kept(files: Files, tmp_path: Path) -> None:
    await program(files.connection, files.minters, **IMPORT)
    assert str(tmp_path) not in (await files.bring_in("A\n")).file


async def test_texts_that_are_taken_back_may_be_taken_in_meanwhile(
    files: Files, bystander: Connection, connections: Pool
) -> None:
    """Each of the two has what the other one needs, unless both begin with the program."""
    spring = await program(files.connection, files.minters, **IMPORT)
    first = await files.bring_in(lines(["A", "B"]))
    second = await files.begin(lines(["B", "C"]))
    async with connections.acquire() as one, connections.acquire() as other:
        busy = bystander.transaction()
        await busy.start()
        await bystander.execute("SELECT FROM program WHERE id = $1 FOR NO KEY UPDATE", spring.id)
        bringing = asyncio.ensure_future(files.go_on(second, one))
        await until_waiting(files.connection)
        undoing = asyncio.ensure_future(undo(other, first.id))
        await until_waiting(files.connection, 2)
        await busy.rollback()

        brought, undone = await asyncio.gather(bringing, undoing)

    # Whether B was still there when the second file came is up to chance.
    assert brought.imported + brought.bad.get("already_in_program", 0) == 2
    assert undone.taken_back == 2
    assert await audit(files.connection) == []
