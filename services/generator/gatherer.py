"""Fills together the pools that many events ask for at the same time."""

import asyncio
from typing import Final, NamedTuple

from services.generator.filler import Filler
from services.store.filling_together import TOGETHER_MAX

# Pools that can't be filled with others, side by side.
ALONE_MAX: Final = 4


class _Asked(NamedTuple):
    program_id: int
    done: asyncio.Future[None]


class Gatherer:
    """Fills what was asked for while others were being filled in one go, and the rest of it one by one."""

    def __init__(self, filler: Filler) -> None:
        self._filler = filler
        self._asked: asyncio.Queue[_Asked] = asyncio.Queue()
        self._slots = asyncio.Semaphore(ALONE_MAX)

    async def fill(self, program_id: int) -> None:
        """Bring one pool up to its mark, as the filler does. Waits while `run` does not. Raises nothing."""
        asked = _Asked(program_id, asyncio.get_running_loop().create_future())
        self._asked.put_nowait(asked)
        await asked.done

    async def run(self) -> None:
        """Fill what is asked for, until cancelled. What can't be filled with others holds up nothing else."""
        async with asyncio.TaskGroup() as alone:
            while True:
                batch = [await self._asked.get()]
                while len(batch) < TOGETHER_MAX and not self._asked.empty():
                    batch.append(self._asked.get_nowait())
                left = set(await self._filler.fill_together(sorted({asked.program_id for asked in batch})))
                for asked in batch:
                    if asked.program_id in left:
                        alone.create_task(self._fill_alone(asked))
                    else:
                        _finish(asked)

    async def _fill_alone(self, asked: _Asked) -> None:
        async with self._slots:
            await self._filler.fill(asked.program_id)
        _finish(asked)


def _finish(asked: _Asked) -> None:
    # Who asked may have been cancelled meanwhile.
    if not asked.done.done():
        asked.done.set_result(None)
