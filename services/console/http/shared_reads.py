"""Reads that concurrent requests share, so that they do not all make the same one when a cached value expires."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")


class SharedReads(Generic[Key, T]):
    """Makes one read for all that ask for a key while it runs."""

    def __init__(self, lifetime_s: float) -> None:
        """A read that began `lifetime_s` (s) ago is shared no more, as its result would be cached no longer."""
        self._lifetime_s = lifetime_s
        self._running: dict[Key, tuple[float, asyncio.Task[T]]] = {}

    async def read(self, key: Key, read: Callable[[], Awaitable[T]]) -> T:
        """Return what the running read of this key returns, or else a new one. Raises what it raises, to all."""
        now = time.monotonic()
        running = self._running.get(key)
        if running is None or now - running[0] >= self._lifetime_s:
            running = self._running[key] = now, asyncio.create_task(self._run(key, now, read))
        # Shielded, as a caller that is cancelled leaves the read to the others.
        return await asyncio.shield(running[1])

    async def _run(self, key: Key, began: float, read: Callable[[], Awaitable[T]]) -> T:
        try:
            return await read()
        finally:
            running = self._running.get(key)
            if running is not None and running[0] == began:
                del self._running[key]
