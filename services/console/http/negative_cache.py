"""Negative cache: rejects texts that can't be codes of a program, without a query."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from codewell.codes import possible_texts
from codewell.codes.possible_texts import REMEMBERED_S, TextBounds
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Pool
from codewell.infra.process.coalescer import Coalescer
from codewell.pool.minter_cache import Minters
from services.console.http.shared_reads import SharedReads

_CACHE_ENTRIES_MAX: Final = 10_000


class NegativeCache:
    """Caches for each program the bounds outside of which no text is one of its codes."""

    def __init__(self, pool: Pool, minters: Minters) -> None:
        self._pool = pool
        self._minters = minters
        self._cache: dict[int, tuple[float, TextBounds | None]] = {}
        self._reads = SharedReads[int, TextBounds | None](REMEMBERED_S)
        # Many texts cost hardly more than one. No pause: no transaction is saved, and none waits for another's.
        self._excluding = Coalescer[TextBounds, str, bool](self._exclude, pause_s=0)

    async def know(self, program_id: int, text: str) -> bool:
        """Whether this text is certainly none of the program's codes. Where False, query the database.

        Raises what asyncpg raises.
        """
        asked_s, limits = self._cache.get(program_id, (-REMEMBERED_S, None))
        if time.monotonic() - asked_s >= REMEMBERED_S:
            limits = await self._reads.read(program_id, partial(self._read, program_id))
        return limits is not None and await self._excluding.submit(limits, text)

    async def _exclude(self, limits: TextBounds, texts: Sequence[str]) -> list[bool]:
        return limits.exclude_all(texts)

    async def _read(self, program_id: int) -> TextBounds | None:
        # Aged from before the query, as its result may be as old as that.
        now_s = time.monotonic()
        async with self._pool.acquire() as connection:
            limits = await possible_texts.limits(ProgramCodes(connection, self._minters, program_id))
        if len(self._cache) >= _CACHE_ENTRIES_MAX:
            self._cache.clear()
        self._cache[program_id] = (now_s, limits)
        return limits
