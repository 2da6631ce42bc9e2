"""Rate limit on failed code look-ups for each token and context, shared by all consoles, against guessing.

Each look-up has two budgets: that of its context, which is what the caller says (calls that say nothing have one of
their own), and a larger one of its token for all contexts. So one who guesses through a shop uses up a context, and
contexts that change with each guess use up the token.

A look-up is counted before it is made, and given back when the code exists. So simultaneous look-ups of one console
never exceed a budget: those that could wait until others are done.

The counts are in the database. Each console flushes its own failures every FLUSH_INTERVAL_S and caches a token's counts
for CACHE_TTL_S: a guess costs no statement, and a budget can be exceeded only by what other consoles let pass in that
time, at most the budget for each console.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple

import structlog

from codewell.access import failed_lookups
from codewell.access.failed_lookups import Budget, FailedLookups
from codewell.errors import CodeUnknown
from codewell.infra.postgres.connection import Pool
from services.console.http.problems import AWAY, HttpProblem, try_later
from services.console.http.shared_reads import SharedReads

log = structlog.get_logger()

CACHE_TTL_S: Final = 1.0
FLUSH_INTERVAL_S: Final = 0.2
_CACHED_TOKENS_MAX: Final = 10_000
# The length of the budgets' window.
_MINUTE_S: Final = 60.0
_NEVER_S: Final = -math.inf


class _CachedCount(NamedTuple):
    failures: int
    at_s: float
    ends_s: float

    @classmethod
    def of(cls, found: FailedLookups) -> "_CachedCount":
        now_s = time.monotonic()
        return cls(found.failures, now_s, now_s + found.left_s)


_NONE: Final = _CachedCount(0, _NEVER_S, _NEVER_S)


class _TokenCounts(NamedTuple):
    read_at_s: float
    # Only those whose minute was not over; at most one for each failure.
    by_context: dict[bytes | None, _CachedCount]


class Lookup:
    """One look-up within its budgets."""

    def __init__(self) -> None:
        self.has_failed = False

    def fail(self) -> None:
        """Count it: the code is unknown."""
        self.has_failed = True


class FailedLookupLimiter:
    """Counts failed look-ups of contexts and tokens against their budgets for one minute.

    A token's budget is no smaller than a context's.
    """

    def __init__(self, pool: Pool, misses_per_minute: int, token_misses_per_minute: int) -> None:
        self._pool = pool
        self._context_max = misses_per_minute
        self._token_max = max(misses_per_minute, token_misses_per_minute)
        self._counts: dict[int, _TokenCounts] = {}
        self._reads = SharedReads[int, None](CACHE_TTL_S)
        # Failures that are not flushed yet, look-ups under way, and look-ups that wait for those.
        self._pending: Counter[Budget] = Counter()
        self._running: Counter[Budget] = Counter()
        self._waiting: dict[Budget, deque[asyncio.Future[None]]] = {}
        self._flush_task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def look_up(self, token_id: int, context: str | None = None) -> AsyncIterator[Lookup]:
        """Make one look-up in the block. It fails when the block raises CodeUnknown or calls `fail`.

        Raises HttpProblem (429) when the budget of the context or of the token is used up, and what asyncpg raises.
        """
        budgets = failed_lookups.budgets(token_id, context)
        await self._reserve(budgets)
        lookup = Lookup()
        try:
            yield lookup
        except CodeUnknown:
            lookup.fail()
            raise
        finally:
            for budget in budgets:
                self._running[budget] -= 1
                if not self._running[budget]:
                    del self._running[budget]
            if lookup.has_failed:
                self._count(budgets)
            self._wake(budgets)

    async def _reserve(self, budgets: Sequence[Budget]) -> None:
        try:
            while True:
                await self._refresh(budgets[0].token_id)
                # From here on nothing else runs until the look-up has its place or waits.
                self._refuse_if_used_up(budgets)
                full = next((one for one in budgets if self._left(one) <= self._running[one]), None)
                if full is None:
                    self._running.update(budgets)
                    return
                # It is full of look-ups under way, each of which wakes the next one of both its budgets.
                await self._wait(full)
        except BaseException:
            # It may have been woken for a place that it does not take, and what refused it refuses the next one too.
            self._wake(budgets)
            raise

    def _refuse_if_used_up(self, budgets: Sequence[Budget]) -> None:
        used_up = [one for one in budgets if self._left(one) <= 0]
        if not used_up:
            return
        ends_s = max(self._counted(one).ends_s for one in used_up)
        left_s = ends_s - time.monotonic()
        wait_s = max(1, math.ceil(left_s if left_s > 0 else _MINUTE_S))
        raise _used_up(used_up[0], wait_s)

    def _left(self, budget: Budget) -> int:
        """How much of a budget is left, if all look-ups under way find a code."""
        seen = self._counted(budget)
        counted = (seen.failures if seen.ends_s > time.monotonic() else 0) + self._pending[budget]
        return (self._token_max if budget.context is None else self._context_max) - counted

    def _counted(self, budget: Budget) -> _CachedCount:
        seen = self._counts.get(budget.token_id)
        return _NONE if seen is None else seen.by_context.get(budget.context, _NONE)

    async def _refresh(self, token_id: int) -> None:
        """Read a token's counts, unless they were read within CACHE_TTL_S."""
        seen = self._counts.get(token_id)
        if seen is None or time.monotonic() - seen.read_at_s > CACHE_TTL_S:
            await self._reads.read(token_id, partial(self._read, token_id))

    async def _read(self, token_id: int) -> None:
        began_s = time.monotonic()
        async with self._pool.acquire() as connection:
            found = await failed_lookups.recent(connection, token_id)
        counts = {context: _CachedCount.of(one) for context, one in found.items()}
        seen = self._counts.get(token_id)
        if seen is not None:
            # Something newer may have been flushed meanwhile.
            counts |= {context: one for context, one in seen.by_context.items() if one.at_s > began_s}
        self._remember(token_id, _TokenCounts(time.monotonic(), counts))

    def _remember(self, token_id: int, counts: _TokenCounts) -> None:
        if len(self._counts) >= _CACHED_TOKENS_MAX:
            self._counts.clear()
        self._counts[token_id] = counts

    async def _wait(self, budget: Budget) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(budget, deque()).append(woken)
        await woken

    def _wake(self, budgets: Sequence[Budget]) -> None:
        """Let the look-up that waits longest for each budget try again."""
        for budget in budgets:
            waiting = self._waiting.get(budget)
            while waiting:
                woken = waiting.popleft()
                if not woken.done():
                    woken.set_result(None)
                    break
            if not waiting:
                self._waiting.pop(budget, None)

    def _count(self, budgets: Sequence[Budget]) -> None:
        """Count a failed look-up. Other consoles see it after FLUSH_INTERVAL_S and CACHE_TTL_S at the latest."""
        self._pending.update(budgets)
        if self._flush_task is None or self._flush_task.done():
            self._flush_task = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._pending:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            written = Counter(self._pending)
            try:
                async with self._pool.acquire() as connection:
                    await failed_lookups.delete_old(connection)
                    # Those of contexts add up to those of tokens.
                    of_contexts = {one: number for one, number in written.items() if one.context is not None}
                    counted = await failed_lookups.add(connection, of_contexts)
            except AWAY as error:
                # The pending count still applies in this console.
                log.warning("failed_lookups_not_written", why=type(error).__name__)
                continue
            for budget, now in counted.items():
                if budget.token_id not in self._counts:
                    self._remember(budget.token_id, _TokenCounts(_NEVER_S, {}))
                self._counts[budget.token_id].by_context[budget.context] = _CachedCount.of(now)
            self._pending -= written


def _used_up(budget: Budget, wait_s: int) -> HttpProblem:
    where = " in this context" if budget.context else ""
    sentence = f"Too many look-ups of unknown codes{where}: try again in {wait_s} s."
    return try_later("lookups_exhausted", sentence, wait_s)
