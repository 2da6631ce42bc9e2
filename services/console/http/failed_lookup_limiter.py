"""Who asks for codes that don't exist is slowed down, in whichever consoles it asks.

The count is in the database, one for all consoles. What is counted here goes there some times a second, and what is
there is looked at once a second while a token asks: so a token that guesses costs no statement for each guess, and can
go over its budget by what it asks for within that second.
"""

import asyncio
import math
import time
from collections import Counter
from typing import Final, NamedTuple

import structlog

from codewell.access import failed_lookups
from codewell.access.failed_lookups import FailedLookups
from codewell.infra.postgres.connection import Pool
from services.console.http.problems import AWAY, try_later

log = structlog.get_logger()

REMEMBERED_S: Final = 1.0
TOLD_AFTER_S: Final = 0.2
_REMEMBERED_MAX: Final = 10_000
# A minute that begins now.
_MINUTE_S: Final = 60.0


class _Seen(NamedTuple):
    at_s: float
    misses: FailedLookups


class FailedLookupLimiter:
    """Counts the misses of tokens against their budget of a minute."""

    def __init__(self, pool: Pool, misses_per_minute: int) -> None:
        self._pool = pool
        self._misses_max = misses_per_minute
        self._seen: dict[int, _Seen] = {}
        self._untold: Counter[int] = Counter()
        self._telling: asyncio.Task[None] | None = None

    async def refuse(self, token_id: int) -> None:
        """Raise 429 when the token has asked for too many codes that don't exist. Raises what asyncpg raises."""
        now_s = time.monotonic()
        seen = self._seen.get(token_id)
        if seen is None or now_s - seen.at_s > REMEMBERED_S:
            async with self._pool.acquire() as connection:
                seen = self._remember(token_id, await failed_lookups.of(connection, token_id))
        left_s = seen.at_s + seen.misses.left_s - time.monotonic()
        counted = seen.misses.had if left_s > 0 else 0
        if counted + self._untold[token_id] >= self._misses_max:
            wait_s = max(1, math.ceil(left_s if left_s > 0 else _MINUTE_S))
            sentence = f"Too many look-ups of unknown codes: try again in {wait_s} s."
            raise try_later(429, sentence, wait_s)

    def count(self, token_id: int) -> None:
        """Note that a token asked for a code that doesn't exist. The other consoles hear of it soon."""
        self._untold[token_id] += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._untold:
            await asyncio.sleep(TOLD_AFTER_S)
            told = Counter(self._untold)
            try:
                async with self._pool.acquire() as connection:
                    counted = await failed_lookups.count(connection, told)
            except AWAY as error:
                # They count here meanwhile.
                log.warning("misses_not_told", why=type(error).__name__)
                continue
            for token_id, now in counted.items():
                self._remember(token_id, now)
            self._untold -= told

    def _remember(self, token_id: int, found: FailedLookups) -> _Seen:
        if len(self._seen) >= _REMEMBERED_MAX:
            self._seen.clear()
        self._seen[token_id] = seen = _Seen(time.monotonic(), found)
        return seen
