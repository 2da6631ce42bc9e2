"""Rate limit on failed code look-ups for each token, shared by all consoles, against guessing.

The count is in the database. Each console flushes its own count every FLUSH_INTERVAL_S and caches the total for
CACHE_TTL_S: a guess costs no statement, and a token can exceed its budget by the look-ups of that time.
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

CACHE_TTL_S: Final = 1.0
FLUSH_INTERVAL_S: Final = 0.2
_CACHE_ENTRIES_MAX: Final = 10_000
# The length of the budget's window.
_MINUTE_S: Final = 60.0


class _CachedCount(NamedTuple):
    at_s: float
    failures: FailedLookups


class FailedLookupLimiter:
    """Counts failed look-ups of tokens against their budget for one minute."""

    def __init__(self, pool: Pool, misses_per_minute: int) -> None:
        self._pool = pool
        self._failures_max = misses_per_minute
        self._counts: dict[int, _CachedCount] = {}
        self._pending: Counter[int] = Counter()
        self._flush_task: asyncio.Task[None] | None = None

    async def refuse(self, token_id: int) -> None:
        """Raise HTTPException (429) when the token's budget is used up. Raises what asyncpg raises."""
        now_s = time.monotonic()
        seen = self._counts.get(token_id)
        if seen is None or now_s - seen.at_s > CACHE_TTL_S:
            async with self._pool.acquire() as connection:
                seen = self._remember(token_id, await failed_lookups.recent(connection, token_id))
        left_s = seen.at_s + seen.failures.left_s - time.monotonic()
        counted = seen.failures.failures if left_s > 0 else 0
        if counted + self._pending[token_id] >= self._failures_max:
            wait_s = max(1, math.ceil(left_s if left_s > 0 else _MINUTE_S))
            sentence = f"Too many look-ups of unknown codes: try again in {wait_s} s."
            raise try_later(429, sentence, wait_s)

    def count(self, token_id: int) -> None:
        """Count a failed look-up. Other consoles see it after FLUSH_INTERVAL_S and CACHE_TTL_S at the latest."""
        self._pending[token_id] += 1
        if self._flush_task is None or self._flush_task.done():
            self._flush_task = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._pending:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            told = Counter(self._pending)
            try:
                async with self._pool.acquire() as connection:
                    counted = await failed_lookups.add(connection, told)
            except AWAY as error:
                # The pending count still applies in this console.
                log.warning("misses_not_told", why=type(error).__name__)
                continue
            for token_id, now in counted.items():
                self._remember(token_id, now)
            self._pending -= told

    def _remember(self, token_id: int, found: FailedLookups) -> _CachedCount:
        if len(self._counts) >= _CACHE_ENTRIES_MAX:
            self._counts.clear()
        self._counts[token_id] = seen = _CachedCount(time.monotonic(), found)
        return seen
