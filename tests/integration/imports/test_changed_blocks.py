"""Changes of many codes beside an import: they are for the codes that were there, and not for those that come later."""

import asyncio

import pytest

from codewell.audit.promises import audit
from codewell.codes import bulk_apply
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from tests.integration.codes.test_bulk import EXTEND, begin
from tests.integration.imports.test_early_copies import TEXTS, Turns, turns
from tests.integration.imports.test_imports import IMPORT, files, small_chunks
from tests.support.factories import program
from tests.support.import_runs import Files, lines
from tests.support.stock import until_waiting

__all__ = ["files", "small_chunks", "turns"]


@pytest.mark.parametrize("is_copied", [True, False])
async def test_a_block_whose_expiry_is_being_changed_gets_no_more_codes(
    files: Files, turns: Turns, connection: Connection, bystander: Connection, is_copied: bool
) -> None:
    spring = await program(files.connection, files.minters, **IMPORT)
    if not is_copied:
        files.connect = None
    committing: list[asyncio.Task[None]] = []
    changing = bystander.transaction()

    async def commit() -> None:
        await until_waiting(bystander)
        await changing.commit()

    async def change(_: Connection) -> None:
        change_id = await begin(ProgramCodes(bystander, files.minters, spring.id), EXTEND)
        await changing.start()
        assert (await bulk_apply.advance(bystander, change_id)).changed == 20
        committing.append(asyncio.create_task(commit()))

    turns.before_turn[20] = change
    assert (await files.bring_in(lines(TEXTS))).imported == 40
    await committing[0]

    blocks = await bystander.fetch("SELECT size, expires_at FROM block ORDER BY id")
    assert [tuple(row) for row in blocks] == [(20, EXTEND.expires_at), (20, None)]
    assert await files.texts() == TEXTS
    assert await audit(bystander) == []
