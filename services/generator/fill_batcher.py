"""Fills together the pools that many events ask for at the same time."""

import asyncio
from collections.abc import Sequence
from typing import Final

from codewell.infra.process.coalescer import Coalescer
from codewell.pool.fill_many import PROGRAMS_MAX
from services.generator.filler import Filler

# Pools that can't be filled with others, side by side.
ALONE_MAX: Final = 4


class FillBatcher:
    """Fills what was asked for while others were being filled in one go, and the rest of it one by one."""

    def __init__(self, filler: Filler) -> None:
        self._filler = filler
        self._coalescer: Coalescer[None, int, bool] = Coalescer(self._fill, PROGRAMS_MAX)
        self._slots = asyncio.Semaphore(ALONE_MAX)

    async def fill(self, program_id: int) -> None:
        """Bring one pool up to its mark, as the filler does. Raises nothing."""
        if await self._coalescer.submit(None, program_id):
            return
        # It holds up nothing else.
        async with self._slots:
            await self._filler.fill(program_id)

    async def _fill(self, _: None, program_ids: Sequence[int]) -> list[bool]:
        """Whether each was filled with the others."""
        left = set(await self._filler.fill_batch(sorted(set(program_ids))))
        return [program_id not in left for program_id in program_ids]
