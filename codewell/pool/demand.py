"""Pools below their mark: which ones, and when each is reported to the generator."""

import heapq
from collections.abc import Mapping
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.pool import fill
from codewell.pool.program_rules import ProgramRules

# A pool below this share of its mark is reported at once. One above it waits TOP_UP_DELAY_S, so that one fill makes up
# for many requests.
LOW_SHARE: Final = 0.5
TOP_UP_DELAY_S: Final = 1.0
# Above this many programs, the times of publication are dropped; some demands are then published early.
_PROGRAMS_MAX: Final = 100_000


class LowPool(NamedTuple):
    """A pool below its mark that generators fill: its codes left, and whether they are few."""

    pooled: int
    is_urgent: bool


def low_pool(program: ProgramRules, pooled: int) -> LowPool | None:
    """The pool if it is below its mark and generators fill it, else None. Codes on order count as pooled. Pure."""
    level = pooled + program.on_order
    if level >= program.pool_max or not program.is_filled:
        return None
    return LowPool(max(0, pooled), level < program.pool_max * LOW_SHARE)


async def read_low_pool(connection: Connection, program_id: int) -> LowPool | None:
    """As `low_pool`, for the program as it is in the database now; None also if there is no such program."""
    program = await fill.rules(connection, program_id)
    if program is None:
        return None
    _, pooled, _ = await fill.level(connection, program_id)
    return low_pool(program, pooled)


class DemandSchedule:
    """When to publish which pool's demand: each at most once an interval (s), with its latest level. Pure."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._published_at: dict[int, float] = {}
        self._pooled: dict[int, int] = {}
        self._due_at: dict[int, float] = {}
        # (due at, program id); entries that `_due_at` contradicts are obsolete.
        self._queue: list[tuple[float, int]] = []

    def add(self, low_pools: Mapping[int, LowPool], now: float) -> None:
        """Schedule these pools, by program id. `now` is a monotonic time (s)."""
        for program_id, pool in low_pools.items():
            self._pooled[program_id] = pool.pooled
            earliest = self._published_at.get(program_id, -self._interval_s) + self._interval_s
            due_at = max(earliest, now if pool.is_urgent else now + TOP_UP_DELAY_S)
            if due_at < self._due_at.get(program_id, float("inf")):
                self._due_at[program_id] = due_at
                heapq.heappush(self._queue, (due_at, program_id))

    def take_due(self, now: float) -> dict[int, int]:
        """Remove the pools that are due, and return their codes left by program id."""
        due: dict[int, int] = {}
        while self._queue and self._queue[0][0] <= now:
            due_at, program_id = heapq.heappop(self._queue)
            if self._due_at.get(program_id) == due_at:
                del self._due_at[program_id]
                due[program_id] = self._pooled.pop(program_id)
                self._published_at[program_id] = now
        if len(self._published_at) > _PROGRAMS_MAX:
            self._published_at.clear()
        return due

    def wait_s(self, now: float) -> float | None:
        """Seconds until a pool is due; None if none is scheduled."""
        return max(0.0, self._queue[0][0] - now) if self._queue else None
