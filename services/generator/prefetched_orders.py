"""Orders that are leased before there is a slot for them, so that an answer's slot gets the next one at once.

Only for services that answer quickly: an order that waits is one that no other generator may send.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from codewell.remote.order_leases import Order

# A service that takes longer gains little by it (s).
QUICK_S: Final = 0.5
# Orders that have waited for longer are returned (s): the lease has to last for the exchange as well.
PREFETCHED_MAX_S: Final = 2.0


class PrefetchedOrders:
    """The orders of each program that wait for a slot, at most `per_program_max`."""

    def __init__(self, per_program_max: int) -> None:
        self._per_program_max = per_program_max
        self._waiting: dict[int, deque[tuple[float, Order]]] = {}
        self._quick: set[int] = set()

    def answered(self, program_id: int, seconds: float) -> None:
        """Note how long the program's service took for a good answer (s)."""
        if seconds <= QUICK_S:
            self._quick.add(program_id)
        else:
            self._quick.discard(program_id)

    def room(self, running: Mapping[int, int]) -> dict[int, int]:
        """How many more orders may wait, by the id of each program with running exchanges, once half of them are sent.

        Not at each answer, as leasing several costs as much as leasing one.
        """
        counts = {one: len(self._waiting.get(one, ())) for one in running if one in self._quick}
        return {
            one: self._per_program_max - count for one, count in counts.items() if count <= self._per_program_max // 2
        }

    def add(self, order: Order) -> None:
        """Let an order wait that was leased just now."""
        self._waiting.setdefault(order.program_id, deque()).append((time.monotonic(), order))

    def take(self, running: Mapping[int, int]) -> Order | None:
        """The next order to send: of the program with the fewest running exchanges, if that may have one more."""
        oldest = time.monotonic() - PREFETCHED_MAX_S
        ready = [
            one
            for one, waiting in self._waiting.items()
            if waiting and waiting[0][0] > oldest and running.get(one, 0) < self._per_program_max
        ]
        if not ready:
            return None
        return self._waiting[min(ready, key=lambda one: running.get(one, 0))].popleft()[1]

    def drop(self, program_id: int) -> list[Order]:
        """Forget a program whose service failed; returns its orders that were waiting."""
        self._quick.discard(program_id)
        return [order for _, order in self._waiting.pop(program_id, ())]

    def drop_old(self) -> list[Order]:
        """Forget orders that have waited for too long, and return them."""
        oldest = time.monotonic() - PREFETCHED_MAX_S
        old = []
        for waiting in self._waiting.values():
            while waiting and waiting[0][0] <= oldest:
                old.append(waiting.popleft()[1])
        return old

    def drop_all(self) -> list[Order]:
        """Forget all orders, and return them."""
        return [order for program_id in list(self._waiting) for order in self.drop(program_id)]
