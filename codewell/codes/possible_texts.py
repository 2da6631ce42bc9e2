"""Texts that can't be a program's, told from memory: whoever guesses codes costs no statement.

Number n of a template is one text, and a program has had no number from some limit on: that limit, its templates, and
that it never took a text in, are what may be remembered for REMEMBERED_S. Numbers below the limit are asked for in
the database, so that minting changes nothing that is remembered. Little does: a higher maximum, a new template, the
first text from outside. Who does one of these says so first (`changing`), which nobody remembers anything behind, and
waits until what was remembered before is forgotten: a code is known everywhere from the moment it is there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter

REMEMBERED_S: Final = 0.25
# Clocks of two machines don't run alike to the last digit.
_WAIT_S: Final = 1.2 * REMEMBERED_S

# Of one template a program makes `codes_max` numbers at most, and leaves out at most as many as older ones made.
_LIMITS: Final = """
    SELECT v.version, 2 * p.codes_max + v.skipped AS numbers_max
    FROM program p JOIN template_version v ON v.program_id = p.id
    WHERE p.id = $1 AND p.changing IS NULL AND p.imported = 0 AND p.source->>'kind' = 'template'
    """


_MARK: Final = "UPDATE program SET changing = coalesce(changing, $2) WHERE id = $1 RETURNING changing"
# Of such a program nothing is remembered, so that nobody has to wait.
_IS_OPEN: Final = "SELECT imported > 0 OR source->>'kind' <> 'template' FROM program WHERE id = $1"
_MAY_TAKE_IN: Final = """
    SELECT imported > 0 OR source->>'kind' <> 'template' OR coalesce(changing = $2, false) FROM program WHERE id = $1
    """


class TextBounds(NamedTuple):
    """Which texts may be a program's: of each template, those of the numbers below a limit."""

    templates: tuple[tuple[Minter, int], ...]

    def exclude(self, text: str) -> bool:
        """Whether this is none of the program's codes. Where it says no, the database knows."""
        if not text.isprintable():
            return True
        for minter, numbers_max in self.templates:
            [number] = minter.find_numbers([text])
            if number is not None and number < numbers_max:
                return False
        return True


async def limits(codes: ProgramCodes) -> TextBounds | None:
    """What may be remembered for REMEMBERED_S from before this call; None for a program of which nothing may be."""
    rows = await codes.connection.fetch(_LIMITS, codes.program_id)
    if not rows:
        return None
    return TextBounds(tuple([(await codes.minter(row[0]), row[1]) for row in rows]))


@asynccontextmanager
async def changing(connection: Connection, program_id: int) -> AsyncIterator[UUID]:
    """While the block runs, nobody remembers which texts can't be the program's, nor does from before.

    The block makes its change in a transaction which has locked the program's row and found it marked with what is
    given here (`is_mine`). Those who do this side by side have one mark, which the first to end takes away; so does one
    who comes behind a crash. Not to be called in a transaction.
    """
    mark = await connection.fetchval(_MARK, program_id, uuid4())
    await asyncio.sleep(_WAIT_S)
    try:
        yield mark
    finally:
        await connection.execute("UPDATE program SET changing = NULL WHERE id = $1 AND changing = $2", program_id, mark)


@asynccontextmanager
async def taking_in(connection: Connection, program_id: int) -> AsyncIterator[UUID | None]:
    """As `changing`, for whoever takes texts in from outside; it does nothing where the program has such texts.

    The block asks `may_take_in` behind the lock of the program's row. Not to be called in a transaction.
    """
    if await connection.fetchval(_IS_OPEN, program_id):
        yield None
    else:
        async with changing(connection, program_id) as mark:
            yield mark


async def may_take_in(connection: Connection, program_id: int, mark: UUID | None) -> bool:
    """Whether the locked program may take texts in under this mark; if not, begin anew with `taking_in`."""
    return bool(await connection.fetchval(_MAY_TAKE_IN, program_id, mark))


async def is_mine(connection: Connection, program_id: int, mark: UUID) -> bool:
    """Whether the locked program is still marked."""
    return bool(await connection.fetchval("SELECT changing = $2 FROM program WHERE id = $1", program_id, mark))
