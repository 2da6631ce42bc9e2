"""What was read a moment ago, so that each request need not ask the database again."""

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

ENTRIES_MAX: Final = 10_000

T = TypeVar("T")


class RecentCache(Generic[T]):
    """Keeps values by the hash of a secret for some time, at most ENTRIES_MAX of them."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, T]] = {}

    def get(self, key: bytes, lifetime_s: float) -> T | None:
        """The value that was put less than `lifetime_s` (s) ago, or None."""
        put_at, value = self._kept.get(key, (0.0, None))
        return value if value is not None and time.monotonic() - put_at < lifetime_s else None

    def put(self, key: bytes, value: T | None, read_at: float) -> None:
        """Keep what was read at `read_at` by the monotonic clock (s); None forgets the key."""
        self._kept.pop(key, None)
        if value is not None:
            if len(self._kept) >= ENTRIES_MAX:
                self._kept.clear()
            self._kept[key] = (read_at, value)

    def forget(self, is_one: Callable[[T], bool]) -> None:
        """Drop values."""
        self._kept = {key: kept for key, kept in self._kept.items() if not is_one(kept[1])}
