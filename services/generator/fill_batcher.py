"""Batches concurrent fills into one transaction."""

import asyncio
from collections.abc import Sequence
from typing import Final

from codewell.infra.process.coalescer import Coalescer
from codewell.pool.fill_many import PROGRAMS_MAX
from services.generator.filler import Filler

# Concurrent fills of pools that can't be part of a batch.
SINGLE_FILLS_MAX: Final = 4


class FillBatcher:
    """Fills the pools requested during the previous batch as the next batch; the rest one by one."""

    def __init__(self, filler: Filler) -> None:
        self._filler = filler
        self._coalescer: Coalescer[None, int, bool] = Coalescer(self._fill, PROGRAMS_MAX)
        self._slots = asyncio.Semaphore(SINGLE_FILLS_MAX)

    async def fill(self, program_id: int) -> None:
        """Fill one pool up to its mark. Raises nothing."""
        if await self._coalescer.submit(None, program_id):
            return
        # Outside the batch, so that a slow fill delays no other pool.
        async with self._slots:
            await self._filler.fill(program_id)

    async def _fill(self, _: None, program_ids: Sequence[int]) -> list[bool]:
        """Fill a batch; says for each program whether it is filled."""
        left = set(await self._filler.fill_batch(sorted(set(program_ids))))
        return [program_id not in left for program_id in program_ids]
