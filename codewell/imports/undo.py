"""Undoes an import: its pooled codes leave the program, and their texts may be imported again; attached ones stay."""

from typing import Final
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import ImportUnknown
from codewell.imports import imports, uploads
from codewell.infra.postgres.connection import Connection
from codewell.pool import folded_texts
from codewell.pool.block_rules import POOLED
from codewell.reservations.reserved_codes import refuse_reserved_import
from schemas.imports import Import

# Each transaction of an import locks its row, and the import stops once the state is not `running`.
_UNDO: Final = """
    UPDATE import SET state = 'undone', ended_at = coalesce(ended_at, now()) WHERE id = $1
    """
_SET_ERROR: Final = "UPDATE import SET error = $2 WHERE id = $1 AND state = 'running'"
_REFUSE: Final = "UPDATE import SET state = 'refused', ended_at = now() WHERE id = $1 AND state = 'running'"
_BLOCKS: Final = f"SELECT id FROM block WHERE import_id = $1 AND {POOLED} > 0 ORDER BY id"  # noqa: S608  a constant
# Imports insert texts, and wait for deletions of the same ones, under these two locks: take them before the block's.
_LOCK_IMPORT: Final = "SELECT program_id FROM import WHERE id = $1 FOR NO KEY UPDATE"
_LOCK_PROGRAM: Final = "SELECT id, match = 'fold' AS folds FROM program WHERE id = $1 FOR NO KEY UPDATE"
_LOCK_BLOCK: Final = f"SELECT next, {POOLED} AS pooled FROM block WHERE id = $1 FOR NO KEY UPDATE"  # noqa: S608  a constant
_DELETE_TEXTS: Final = """
    DELETE FROM code c WHERE block_id = $1 AND position >= $2 AND NOT EXISTS (
        SELECT FROM code_state s WHERE s.block_id = c.block_id AND s.position = c.position AND s.hole)
    """
_DELETE_AND_TELL: Final = f"{_DELETE_TEXTS} RETURNING text"
_TAKE_POSITIONS: Final = "UPDATE block SET next = size, holes = 0, undone = undone + $2, open = false WHERE id = $1"
_COUNT: Final = f"""
    WITH program AS (
        UPDATE program SET imported = imported - $2, {folded_texts.COUNT_FOLDED.format(number="-$2")}
        WHERE id = (SELECT program_id FROM import WHERE id = $1)
    )
    UPDATE import SET taken_back = taken_back + $2 WHERE id = $1
    """  # noqa: S608  a constant


async def undo(connection: Connection, import_id: UUID, actor: Actor | None = None) -> Import:
    """Delete an import's pooled codes, and end the import if it is still running.

    Codes that were attached, deleted or changed stay. Runs one transaction a block, so that others wait only briefly;
    after a crash, call it again. Records `actor`, if given, in the audit log at the start. Raises ImportUnknown, and
    ProgramRefused while codes of the import are reserved.
    """
    async with connection.transaction():
        # Reservations lock the program: each has its codes by now, or finds none of an import that is undone.
        if await _lock(connection, import_id) is None:
            raise ImportUnknown(import_id)
        await refuse_reserved_import(connection, import_id)
        await connection.execute(_UNDO, import_id)
        await uploads.forget(connection, import_id)
        found = await imports.get(connection, import_id)
        if actor is not None:
            await audit_log.record(connection, actor, "import.undo", found.program, id=str(import_id))
    await _undo_blocks(connection, import_id)
    return await imports.get(connection, import_id)


async def refuse(connection: Connection, import_id: UUID, error: str) -> None:
    """Delete the pooled codes of an import whose file is invalid, and end the import if it is still running.

    The caller holds the import's lock. The state stays `running` until all are deleted, so that a process resumes the
    deletion after a crash.
    """
    await connection.execute(_SET_ERROR, import_id, error)
    await _undo_blocks(connection, import_id)
    async with connection.transaction():
        await connection.execute(_REFUSE, import_id)
        await uploads.forget(connection, import_id)


async def _undo_blocks(connection: Connection, import_id: UUID) -> None:
    # A reservation may split a block meanwhile.
    while blocks := await connection.fetch(_BLOCKS, import_id):
        for block in blocks:
            async with connection.transaction():
                await _undo_block(connection, import_id, block["id"])


async def _lock(connection: Connection, import_id: UUID) -> asyncpg.Record | None:
    """Lock an import and its program, and return the program's facts; None if there is no such import."""
    program_id = await connection.fetchval(_LOCK_IMPORT, import_id)
    return None if program_id is None else await connection.fetchrow(_LOCK_PROGRAM, program_id)


async def _undo_block(connection: Connection, import_id: UUID, block_id: int) -> None:
    """A claim that locked the block first has advanced it, so read the positions after locking the block."""
    program = await _lock(connection, import_id)
    assert program is not None  # noqa: S101  imports stay
    block = await connection.fetchrow(_LOCK_BLOCK, block_id)
    if block["pooled"]:
        if program["folds"]:
            gone = await connection.fetch(_DELETE_AND_TELL, block_id, block["next"])
            await folded_texts.remove(connection, program["id"], [row["text"] for row in gone])
        else:
            await connection.execute(_DELETE_TEXTS, block_id, block["next"])
        await connection.execute(_TAKE_POSITIONS, block_id, block["pooled"])
        await connection.execute(_COUNT, import_id, block["pooled"])
