"""Chunks whose texts are copied before their turn: the result is that of one chunk after the other."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.imports import chunk_writer, chunks, placing, run
from codewell.imports.candidates import Chunk
from codewell.imports.chunk_writer import ChunkWriter
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.pool import fill
from codewell.reservations import reservations
from tests.integration.imports.test_imports import IMPORT, files, small_chunks, stock
from tests.integration.reservations.test_claims import wanted
from tests.support.factories import OFF, program
from tests.support.import_runs import Files, before_chunks, lines
from tests.support.stock import until_waiting

__all__ = ["files", "small_chunks"]

TEXTS = [f"C-{n}" for n in range(40)]


class Turns:
    """What happens to the chunks of imports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored: list[bool] = []
        """Of each chunk that was copied ahead, whether it was stored so."""
        self.copied = {first: asyncio.Event() for first in range(0, 400, 10)}
        """Set once the texts after this row are copied for the first time."""
        self.before_copy: dict[int, Callable[[], Awaitable[Any]]] = {}
        """Called before the texts after this row are copied for the first time."""
        self.before_turn = before_chunks(monkeypatch)
        store, copy = ChunkWriter.store_copied, placing.copy_texts

        async def store_copied(writer: ChunkWriter, copied: Any) -> bool:
            self.stored.append(await store(writer, copied))
            return self.stored[-1]

        async def copy_texts(connection: Connection, program_id: int, runs: Sequence[placing.BlockRun]) -> None:
            after = runs[0].candidates[0].row - 1
            if after in self.before_copy:
                await self.before_copy.pop(after)()
            await copy(connection, program_id, runs)
            self.copied[after].set()

        monkeypatch.setattr(ChunkWriter, "store_copied", store_copied)
        monkeypatch.setattr(chunk_writer, "copy_texts", copy_texts)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    return Turns(monkeypatch)


async def test_all_are_copied_ahead_also_those_that_begin_a_block(
    files: Files, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "BLOCK_CODES_MAX", 30)
    await program(files.connection, files.minters, **IMPORT)
    texts = [f"C-{n}" for n in range(55)]
    assert (await files.bring_in(lines(texts))).imported == 55
    assert turns.stored == [True] * 5
    assert await files.texts() == texts
    assert [row["size"] for row in await files.connection.fetch("SELECT size FROM block ORDER BY id")] == [30, 25]
    assert await audit(files.connection) == []


async def test_a_chunk_that_begins_several_blocks_waits_for_its_turn(files: Files, turns: Turns) -> None:
    await program(files.connection, files.minters, **IMPORT)
    texts = [f"C-{n}" for n in range(50)]
    rows = [f"{text},{2098 if n < 30 else 2099 + n % 2}-01-01" for n, text in enumerate(texts)]
    done = await files.bring_in(lines(rows), column="1", expiry_column="2", header=False)
    assert done.imported == 50
    # The fourth and none else.
    assert turns.stored == [True, True, True]
    assert [row["size"] for row in await files.connection.fetch("SELECT size FROM block ORDER BY id")] == [30, 10, 10]
    assert await audit(files.connection) == []


@pytest.mark.parametrize("first", [10, 20])
async def test_the_same_text_in_two_chunks_at_once_is_that_of_the_earlier_row(
    files: Files, turns: Turns, first: int
) -> None:
    """Whichever of the two reaches the database first."""
    await program(files.connection, files.minters, **IMPORT)
    texts = [f"C-{n}" for n in range(40)]
    texts[25] = "C-12"
    turns.before_copy[30 - first] = turns.copied[first].wait
    done = await files.bring_in(lines(texts))
    assert (done.imported, done.bad) == (39, {"twice_in_file": 1})
    assert [row for row, *_ in await files.bad(done)] == [26]
    assert await files.texts() == [*texts[:25], *texts[26:]]
    assert await audit(files.connection) == []


async def test_who_waits_for_a_copied_text_with_the_program_locked_gets_it(
    files: Files, turns: Turns, bystander: Connection, connections: Pool
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    attaching: list[asyncio.Future[Any]] = []

    async def attach(_: Connection) -> None:
        await turns.copied[20].wait()
        attaching.append(
            asyncio.ensure_future(manual.attach_named(bystander, files.minters, "SPRING", "C-25", "p-1", uuid7()))
        )
        async with connections.acquire() as watching:
            await until_waiting(watching)

    turns.before_turn[10] = attach
    done = await files.bring_in(lines(TEXTS))
    assert (await attaching[0]).code == "C-25"
    assert (done.imported, done.bad) == (39, {"already_in_program": 1})
    assert turns.stored[0] is False
    assert await audit(files.connection) == []


async def test_a_text_that_is_minted_before_the_turn_of_its_chunk_is_known(
    files: Files, turns: Turns, bystander: Connection
) -> None:
    spring = await program(files.connection, files.minters, codes_max=1_000, **OFF)
    await fill.generate(files.connection, files.minters, spring.id, 5, None)
    [later] = (await files.minters.get(files.connection, spring.id, 1)).mint(5, 1)
    await files.bring_in(lines(["OLD-1"]))

    async def generate(_: Connection) -> None:
        await fill.generate(bystander, files.minters, spring.id, 5, None)

    turns.before_turn[10] = generate
    texts = [f"C-{n}" for n in range(40)]
    texts[15] = later
    done = await files.bring_in(lines(texts))
    assert (done.imported, done.bad) == (39, {"already_in_program": 1})
    assert await audit(files.connection) == []


async def test_i5_no_copied_row_comes_in_over_the_maximum(files: Files, turns: Turns) -> None:
    await program(files.connection, files.minters, codes_max=25, pool_max=1, **IMPORT)
    done = await files.bring_in(lines(TEXTS))
    assert (done.imported, done.bad) == (25, {"over_maximum": 15})
    assert False in turns.stored
    assert await files.texts() == TEXTS[:25]
    assert await audit(files.connection) == []


@pytest.mark.parametrize("is_copied", [True, False])
async def test_a_block_out_of_which_codes_were_reserved_meanwhile_is_left(
    files: Files, turns: Turns, bystander: Connection, is_copied: bool
) -> None:
    spring = await program(files.connection, files.minters, **IMPORT)
    if not is_copied:
        files.connect = None

    async def reserve(_: Connection) -> None:
        mine = await reservations.reserve(bystander, files.minters, spring.id, wanted(5))
        await reservations.release(bystander, spring.id, mine.id)

    turns.before_turn[20] = reserve
    assert (await files.bring_in(lines(TEXTS))).imported == 40
    assert await stock(files.connection) == (40, 40, 0)
    assert sorted(await files.texts()) == sorted(TEXTS)
    assert await audit(files.connection) == []


async def test_a_claim_that_holds_the_block_for_long_ends_no_import(
    files: Files, turns: Turns, bystander: Connection
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    claim = bystander.transaction()

    async def hold(_: Connection) -> None:
        await claim.start()
        await bystander.execute("SELECT FROM block FOR NO KEY UPDATE")
        turns.before_turn[10] = give_up

    async def give_up(_: Connection) -> None:
        await claim.rollback()

    turns.before_turn[10] = hold
    assert (await files.bring_in(lines(TEXTS))).imported == 40
    assert turns.stored[0] is False
    assert await files.texts() == TEXTS
    assert await audit(files.connection) == []


async def test_a_file_that_is_read_slowly_leaves_no_transaction_open(
    files: Files, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    texts = [f"C-{n}" for n in range(300)]
    begun = await files.begin(lines(texts))
    is_stored = threading.Event()
    real_store = ChunkWriter.store_copied

    def slow(*given: Any) -> Iterator[Chunk]:
        for chunk in chunks.chunks(*given):
            if chunk.after == 150:
                assert is_stored.wait(10)
            yield chunk

    async def store(writer: ChunkWriter, copied: Any) -> bool:
        done = await real_store(writer, copied)
        if copied.chunk.after == 140:
            is_stored.set()
        return done

    monkeypatch.setattr(run, "chunks", slow)
    monkeypatch.setattr(ChunkWriter, "store_copied", store)
    assert (await files.go_on(begun)).imported == 300
    assert turns.stored == [True] * 29
    assert await files.texts() == texts


async def test_two_imports_of_the_same_texts_at_once_bring_each_in_once(
    files: Files, turns: Turns, bystander: Connection, database_url: str, tmp_path: Path
) -> None:
    """In opposite orders, so that each of them has texts for which the other one waits."""
    await program(files.connection, files.minters, **IMPORT)
    (tmp_path / "other").mkdir()
    other = Files(bystander, files.minters, tmp_path / "other", database_url)
    texts = [f"C-{n}" for n in range(300)]
    done = await asyncio.gather(files.bring_in(lines(texts)), other.bring_in(lines(["C-300", *reversed(texts)])))
    assert sum(one.imported for one in done) == 301
    assert all(one.imported + one.bad.get("already_in_program", 0) >= 300 for one in done)
    assert sorted(await files.texts()) == sorted(["C-300", *texts])
    assert await audit(files.connection) == []


@pytest.mark.parametrize("after", [0, 10])
async def test_a_deadlock_ends_no_import(files: Files, turns: Turns, after: int) -> None:
    """Postgres has ended the transaction of a chunk for that of another process."""
    await program(files.connection, files.minters, **IMPORT)

    async def fail() -> None:
        raise asyncpg.DeadlockDetectedError

    turns.before_copy[after] = fail
    assert (await files.bring_in(lines(TEXTS))).imported == 40
    assert await files.texts() == TEXTS


@pytest.mark.parametrize("after", [10, 20])
async def test_a_lost_connection_loses_and_doubles_nothing(
    files: Files, turns: Turns, bystander: Connection, database_url: str, after: int
) -> None:
    """Either of the two."""
    await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin(lines(TEXTS))

    async def terminate(connection: Connection) -> None:
        await bystander.execute("SELECT pg_terminate_backend($1, 10_000)", connection.get_server_pid())

    turns.before_turn[after] = terminate
    with pytest.raises((*UNAVAILABLE_ERRORS, asyncpg.PostgresError)):
        await files.go_on(begun)
    files.connection = bystander
    assert await stock(bystander) == (after, after, 0)
    done = await files.go_on(await files.begin(lines(TEXTS)))
    assert (done.id, done.imported, done.bad) == (begun.id, 40, {})
    assert await files.texts() == TEXTS
    assert await audit(bystander) == []


@pytest.mark.parametrize("after", [10, 20])
async def test_who_cancels_an_import_gets_its_connection_back_clean(files: Files, turns: Turns, after: int) -> None:
    await program(files.connection, files.minters, **IMPORT)
    running = asyncio.ensure_future(files.go_on(await files.begin(lines(TEXTS))))

    async def cancel(_: Connection) -> None:
        running.cancel()

    turns.before_turn[after] = cancel
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not files.connection.is_in_transaction()
    assert (await files.bring_in(lines(TEXTS))).imported == 40
    assert await files.texts() == TEXTS
    assert await audit(files.connection) == []
