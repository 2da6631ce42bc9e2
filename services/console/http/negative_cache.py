"""Texts that are none of a program's codes, known without asking the database while that is sound."""

import time
from typing import Final

from codewell.codes import possible_texts
from codewell.codes.possible_texts import REMEMBERED_S, TextBounds
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Pool
from codewell.pool.minter_cache import Minters

_REMEMBERED_MAX: Final = 10_000


class NegativeCache:
    """Remembers for a moment which texts can't be the programs' that are asked for."""

    def __init__(self, pool: Pool, minters: Minters) -> None:
        self._pool = pool
        self._minters = minters
        self._remembered: dict[int, tuple[float, TextBounds | None]] = {}

    async def know(self, program_id: int, text: str) -> bool:
        """Whether this text is none of the program's codes; where it says no, the database is to be asked.

        Raises what asyncpg raises.
        """
        # The time before the question counts: what is answered was so at some time behind it.
        now_s = time.monotonic()
        asked_s, limits = self._remembered.get(program_id, (-REMEMBERED_S, None))
        if now_s - asked_s >= REMEMBERED_S:
            async with self._pool.acquire() as connection:
                limits = await possible_texts.limits(ProgramCodes(connection, self._minters, program_id))
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[program_id] = (now_s, limits)
        return limits is not None and limits.exclude(text)
