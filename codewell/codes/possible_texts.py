"""Cached bounds that exclude texts which can't be a program's codes, so that guesses cost no SQL statement.

Number n of a template is one text, and a program has no numbers above some limit. Processes may cache that limit, the
program's templates, and the fact that it has no texts from outside, for REMEMBERED_S. The database decides about
numbers below the limit, so minting never invalidates the cache. Few changes do: a higher maximum, a new template, the
first text from outside, folding switched on. Such a change first marks the program (`changing`), which prevents new
cache entries, and then waits until the old ones have expired. So every process finds a new code as soon as it exists.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from codewell.codes.program_codes import ProgramCodes
from codewell.codes.typed import readings
from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter

REMEMBERED_S: Final = 0.25
# A margin, because clocks of two machines run at slightly different rates.
_WAIT_S: Final = 1.2 * REMEMBERED_S

# A program makes at most `codes_max` numbers of a template, and skips at most as many as its older templates made.
_LIMITS: Final = """
    SELECT v.version, least(2 * p.codes_max::numeric + v.skipped, 9223372036854775807)::bigint AS numbers_max,
           p.match = 'fold' AS folds
    FROM program p JOIN template_version v ON v.program_id = p.id
    WHERE p.id = $1 AND p.changing IS NULL AND p.imported = 0 AND p.source->>'kind' = 'template'
    """


_MARK: Final = "UPDATE program SET changing = coalesce(changing, $2) WHERE id = $1 RETURNING changing"
# The bounds of such a program are never cached, so a change need not wait.
_IS_OPEN: Final = "SELECT imported > 0 OR source->>'kind' <> 'template' FROM program WHERE id = $1"
_MAY_TAKE_IN: Final = """
    SELECT imported > 0 OR source->>'kind' <> 'template' OR coalesce(changing = $2, false) FROM program WHERE id = $1
    """


class TextBounds(NamedTuple):
    """Bounds of a program's texts: each template's minter with the exclusive limit of its numbers."""

    templates: tuple[tuple[Minter, int], ...]
    folds: bool = False
    """Whether texts also stand for codes that are alike to them."""

    def exclude_all(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text certainly stands for no code of the program. If False, only the database can decide."""
        read = [(place, one) for place, text in enumerate(texts) for one in readings(text)
                if one.isprintable() or self.folds]  # fmt: skip
        excluded = [True] * len(texts)
        for minter, numbers_max in self.templates:
            written = [(minter.folding.unfold(one) or "") if self.folds else one for _, one in read]
            for (place, _), number in zip(read, minter.find_numbers(written), strict=True):
                if number is not None and number < numbers_max:
                    excluded[place] = False
        return excluded


async def limits(codes: ProgramCodes) -> TextBounds | None:
    """Bounds that may be cached for REMEMBERED_S, counted from before this call; None if they must not be cached.

    Raises StackUnavailable as `Minters.get` does.
    """
    rows = await codes.connection.fetch(_LIMITS, codes.program_id)
    if not rows:
        return None
    templates = [(await codes.minter(row["version"]), row["numbers_max"]) for row in rows]
    return TextBounds(tuple(templates), rows[0]["folds"])


@asynccontextmanager
async def changing(connection: Connection, program_id: int) -> AsyncIterator[UUID]:
    """Mark the program as changing: while the with-block runs, no process has cached bounds of the program.

    The with-block makes its change in a transaction that has locked the program's row and checked the yielded mark
    (`is_mine`). Concurrent callers share one mark, and the first one to finish clears it. A mark left by a crash is
    reused and cleared in the same way. Waits for 1.2 * REMEMBERED_S first. Don't call it in a transaction.
    """
    mark = await connection.fetchval(_MARK, program_id, uuid4())
    await asyncio.sleep(_WAIT_S)
    try:
        yield mark
    finally:
        await connection.execute("UPDATE program SET changing = NULL WHERE id = $1 AND changing = $2", program_id, mark)


@asynccontextmanager
async def taking_in(connection: Connection, program_id: int) -> AsyncIterator[UUID | None]:
    """As `changing`, for adding texts from outside. Does nothing, and yields None, if the bounds are never cached.

    That is so for programs with such texts and for those without a template. The with-block checks `may_take_in` after
    it has locked the program's row. Don't call it in a transaction.
    """
    if await connection.fetchval(_IS_OPEN, program_id):
        yield None
    else:
        async with changing(connection, program_id) as mark:
            yield mark


async def may_take_in(connection: Connection, program_id: int, mark: UUID | None) -> bool:
    """Whether texts may be added to the locked program under this mark. If not, start again with `taking_in`."""
    return bool(await connection.fetchval(_MAY_TAKE_IN, program_id, mark))


async def is_mine(connection: Connection, program_id: int, mark: UUID) -> bool:
    """Whether the locked program still has this mark."""
    return bool(await connection.fetchval("SELECT changing = $2 FROM program WHERE id = $1", program_id, mark))
