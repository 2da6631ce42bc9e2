"""Imports beside others at the worst moment, and processes that end at the worst moment."""

import asyncio
import threading
from itertools import count
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.errors import FileRefused
from codewell.files import lines as file_lines
from codewell.files.limits import FileLimits
from codewell.files.lines import TextLines
from codewell.imports import chunk_writer, imports, placing, run, undo
from codewell.infra.postgres.connection import Connection, Pool
from codewell.profiles.deciding_lock import DECIDING_LOCK
from schemas.imports import Import
from tests.integration.imports.test_imports import IMPORT, Crash, files, stock
from tests.support.factories import program
from tests.support.import_runs import Files, lines
from tests.support.stock import until_waiting

__all__ = ["files"]

TEXTS = [f"C-{n}" for n in range(40)]


async def test_an_undo_and_another_import_of_the_same_texts_wait_for_each_other_in_one_order(
    files: Files, bystander: Connection, connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    first = await files.bring_in(lines(TEXTS))
    second = await files.begin(lines([*TEXTS, "NEW"]))
    real = chunk_writer.ChunkWriter._store
    undoing: list[asyncio.Future[Import]] = []

    async def store(self: chunk_writer.ChunkWriter, *given: Any) -> Any:
        # The program's row is locked here, and the texts are not stored.
        if not undoing:
            undoing.append(asyncio.ensure_future(undo.undo(bystander, first.id)))
            async with connections.acquire() as watching:
                await until_waiting(watching)
        return await real(self, *given)

    monkeypatch.setattr(chunk_writer.ChunkWriter, "_store", store)
    done = await files.go_on(second)
    assert (await undoing[0]).taken_back == 40
    assert done.imported + done.bad.get("already_in_program", 0) == 41
    assert await audit(files.connection) == []


@pytest.mark.parametrize("number", range(3))
async def test_after_a_crash_a_refused_file_is_taken_back_to_its_end(
    files: Files, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(run, "CHUNK_ROWS", 10)
    monkeypatch.setattr(placing, "BLOCK_CODES_MAX", 10)
    await program(files.connection, files.minters, **IMPORT)
    broken = lines([f"C-{n}" for n in range(200)]) + '"' + "x" * 40_000 + "\n"
    begun = await files.begin(broken)
    real, calls = undo._undo_block, iter(range(100))

    async def crash(*given: Any) -> None:
        if next(calls) == number:
            raise Crash
        await real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(undo, "_undo_block", crash)
        with pytest.raises(Crash):
            await files.go_on(begun)
    left = await imports.get(files.connection, begun.id)
    assert (left.state, left.taken_back) == ("running", 10 * number)
    # A console goes on without beginning it anew.
    with pytest.raises(FileRefused, match="unclosed quote"):
        await files.go_on(left)
    assert await files.texts() == []
    assert await stock(files.connection) == (0, 0, 0)
    assert (await imports.get(files.connection, begun.id)).state == "refused"
    assert await audit(files.connection) == []


async def test_what_was_half_taken_back_never_ends_as_done(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that the file was refused by is raised in between."""
    monkeypatch.setattr(run, "CHUNK_ROWS", 10)
    monkeypatch.setattr(placing, "BLOCK_CODES_MAX", 10)
    await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin(lines(TEXTS))
    real, calls = undo._undo_block, iter(range(100))

    async def crash(*given: Any) -> None:
        if next(calls):
            raise Crash
        await real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(undo, "_undo_block", crash)
        with pytest.raises(Crash):
            await files.go_on(begun, limits=FileLimits(rows_max=30))
    again = await files.begin(lines(TEXTS))
    assert again.id == begun.id
    with pytest.raises(FileRefused, match="were deleted"):
        await files.go_on(again)
    done = await files.bring_in(lines(TEXTS))
    assert (done.state, done.imported) == ("done", 40)
    assert await audit(files.connection) == []


async def test_an_undone_import_stays_undone_when_its_file_is_refused_then(
    files: Files, bystander: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin(lines(TEXTS))
    await undo.undo(bystander, begun.id)
    with pytest.raises(FileRefused, match="more than 15 rows"):
        await files.go_on(begun, limits=FileLimits(rows_max=15))
    assert (await imports.get(files.connection, begun.id)).state == "undone"


async def test_requests_are_decided_while_a_file_is_being_uploaded(files: Files, bystander: Connection) -> None:
    """Who forgets a profile waits for those who decide, and these wait behind it."""
    await program(files.connection, files.minters, **IMPORT)
    async with files.connection.transaction():
        await files.begin(lines(TEXTS))
        assert await bystander.fetchval("SELECT pg_try_advisory_xact_lock($1, $2)", *DECIDING_LOCK)


async def test_columns_with_endless_names_are_refused_in_words(files: Files) -> None:
    await program(files.connection, files.minters, **IMPORT)
    names = ["".join(chr(0x4E00 + n * 7 % 20_000 + place) for n in range(1_000)) for place in range(3)]
    content = ",".join(names) + "\nA,,\n"
    with pytest.raises(FileRefused, match="by number"):
        await files.begin(content, column=names[0], profile_column=names[1], expiry_column=names[2])
    assert (await files.bring_in(content, column="1", header=True)).imported == 1


async def test_a_command_that_is_stopped_while_it_reads_stops(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is not closed under the thread that reads it."""
    await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin(lines([f"C-{n}" for n in range(500)]))
    reading, go_on, pieces = threading.Event(), threading.Event(), count()
    real = TextLines._piece

    def bounded(opened: TextLines) -> str:
        # The third: the first one is read to detect how the file is written.
        if next(pieces) == 2:
            reading.set()
            assert go_on.wait(10)
        return real(opened)

    monkeypatch.setattr(file_lines, "_PIECE_CHARS", 1_000)
    monkeypatch.setattr(TextLines, "_piece", bounded)
    running = asyncio.ensure_future(files.go_on(begun))
    await asyncio.to_thread(reading.wait, 10)
    running.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not files.connection.is_in_transaction()
    assert (await imports.get(files.connection, begun.id)).state == "running"
